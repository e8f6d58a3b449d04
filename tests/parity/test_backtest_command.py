"""`bnml-backtest` is the bot itself: the journal of its replay, the same bytes each time, models of their date only."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from bn_ml.config import plain_value
from bn_ml.domain.market import Symbol, from_iso, from_ms, iso, to_ms
from bn_ml.journal import export_journal
from data_manager.history import HistoryStore
from ml_engine.bundle_store import BundleStore
from scripts import run_backtest
from scripts.backtest_plan import make_plan
from scripts.backtest_run import run_backtest as run_plan
from tests.checker.book_checker import check_book
from tests.checker.findings import Limits
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, walk
from tests.fakes.trading_world import REPLAYED, WARM, fitted_on, market_bars, run_replay, store_market, trading_settings

BEGIN = iso(from_ms(MONDAY_MS + WARM * STEP_MS))
END = iso(from_ms(MONDAY_MS + (WARM + REPLAYED) * STEP_MS))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    bars = market_bars()
    store_market(folder, bars, fitted_on(bars[1]))
    settings = trading_settings(folder, folder / "bot" / "bn_ml.db")
    (folder / "bot.yaml").write_text(yaml.safe_dump(plain_value(settings)), encoding="utf-8")
    return folder


def run(world: Path, out: Path, *flags: str) -> int:
    fixed = ("--config", str(world / "bot.yaml"), "--no-walk-forward", "--out-dir", str(out))
    span = ("--from", BEGIN, "--to", END)
    return run_backtest.main([*fixed, *span, *flags])


@pytest.fixture(scope="module")
def backtest(world: Path) -> Path:
    out = world / "backtest"
    assert run(world, out) == 0
    return out


def test_the_journal_is_that_of_the_bot_replaying_the_same_bars(world: Path, backtest: Path, tmp_path: Path) -> None:
    book = world / "bot" / "bn_ml.db"
    run_replay(trading_settings(world, book))
    mine, bots = tmp_path / "mine.jsonl", tmp_path / "bots.jsonl"
    assert export_journal(backtest / "book.db", mine) == export_journal(book, bots)
    assert mine.read_bytes() == bots.read_bytes()


def test_the_book_balances_and_breaks_no_limit(world: Path, backtest: Path) -> None:
    findings = check_book(backtest / "book.db", Limits.of(world / "bot.yaml"))
    assert not findings.violations
    assert findings.closed_positions > 10


def test_the_same_run_again_writes_the_same_bytes(world: Path, backtest: Path) -> None:
    again = world / "again"
    assert run(world, again) == 0
    names = ("backtest_summary.csv", "backtest_summary.json", "trades.csv", "equity.csv")
    names += ("run.json", "proof.json", "report.json", "report.html")
    assert [digest(again / name) for name in names] == [digest(backtest / name) for name in names]
    before = [digest(again / name) for name in names]
    assert run(world, again) == 0
    assert [digest(again / name) for name in names] == before


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_summary_trades_and_report_tell_the_same_figures(backtest: Path) -> None:
    summary = json.loads((backtest / "backtest_summary.json").read_text())
    report = json.loads((backtest / "report.json").read_text())
    with (backtest / "trades.csv").open() as rows:
        trades = list(csv.DictReader(rows))
    assert report["headline"] == summary
    assert summary["trade_count"] == len(trades) > 10
    last = (backtest / "equity.csv").read_text().splitlines()[-1].split(",")[1]
    assert summary["total_return"] == pytest.approx(float(last) / 1000 - 1, abs=1e-12)


def test_twice_the_fee_costs_what_it_says(world: Path, backtest: Path, tmp_path: Path) -> None:
    assert run(world, tmp_path / "dear", "--fee", "0.002") == 0
    cheap, dear = (json.loads((path / "run.json").read_text()) for path in (backtest, tmp_path / "dear"))
    assert (cheap["fees_frac"], dear["fees_frac"]) == (0.001, 0.002)
    assert cheap["config_sha256"] != dear["config_sha256"]
    assert cheap["data_sha256"] == dear["data_sha256"]


def test_decisions_a_bar_late_are_those_of_the_bar_before(world: Path, backtest: Path, tmp_path: Path) -> None:
    plain = yaml.safe_load((world / "bot.yaml").read_text(encoding="utf-8"))
    plain["backtest"]["latency_bars"] = 1
    (tmp_path / "bot.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    late = tmp_path / "late"
    flags = ("--config", str(tmp_path / "bot.yaml"), "--no-walk-forward", "--out-dir", str(late))
    assert run_backtest.main([*flags, "--from", BEGIN, "--to", END]) == 0
    on_time, a_bar_late = decisions(backtest / "book.telemetry.db"), decisions(late / "book.telemetry.db")
    assert a_bar_late == on_time[: len(a_bar_late)]
    assert len(on_time) - len(a_bar_late) <= 3
    assert digest(late / "trades.csv") != digest(backtest / "trades.csv")


def decisions(path: Path) -> list[tuple[object, ...]]:
    """What was said of each bar, the benchmark's last bars aside."""
    query = "SELECT symbol, close_ms, sell, hold, buy FROM predictions WHERE close_ms > ? ORDER BY close_ms, symbol"
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.execute(query, (to_ms(from_iso(BEGIN)),)))


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--from", END, "--to", BEGIN), 2, "must lie before --to"),
        (("--from", "2019-01-01"), 2, "is not stored"),
        (("--from", "soon"), 2, "--from soon"),
        (("--symbol", "ZZZ/USDC"), 1, "ZZZ/USDC: no 15m bars stored"),
        (("--data-dir", "nowhere"), 1, "no bars in nowhere"),
        (("--fee", "1.5"), 2, "risk.fees_pct"),
    ],
)
def test_bad_use_is_told_with_its_value(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], code: int, words: str
) -> None:
    assert run(world, tmp_path / "out", *flags) == code
    assert words in capsys.readouterr().err


def test_a_symbol_without_bars_is_left_out_and_named(world: Path, tmp_path: Path) -> None:
    assert run(world, tmp_path / "out", "--symbol", "AAA/USDC", "--symbol", "ZZZ/USDC") == 0
    card = json.loads((tmp_path / "out" / "run.json").read_text())
    assert card["symbols"] == ["AAA/USDC"]
    assert card["left_out"] == [{"reason": "no 15m bars stored", "symbol": "ZZZ/USDC"}]


def test_a_book_no_backtest_wrote_is_left_alone(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.db").write_bytes(b"mine")
    assert run(world, tmp_path) == 1
    assert "give another --out-dir" in capsys.readouterr().err
    assert (tmp_path / "book.db").read_bytes() == b"mine"


WALK_FORWARD = """
base_quote: USDC
universe: {{training_symbols: [AAA/USDC]}}
data: {{replay_dir: {folder}}}
model:
  training_window_days: 45
  train_ohlcv_limit: 3600
  min_train_rows: 500
  drift: {{benchmark_symbol: AAA/USDC}}
  multi_timeframe: {{timeframes: [1h]}}
santrade_intelligence: {{benchmark_symbol: AAA/USDC}}
risk: {{circuit_breakers: {{volatility_benchmark_symbol: AAA/USDC}}}}
"""


class StopsAtFirstWord(io.StringIO):
    """A terminal whose user presses Ctrl-C as soon as something is told."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    def flush(self) -> None:
        self.stop.set()


def test_models_are_trained_as_of_each_date_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    HistoryStore(tmp_path).write(walk("AAA/USDC", bars=8_400))
    config, out = tmp_path / "bot.yaml", tmp_path / "out"
    config.write_text(WALK_FORWARD.format(folder=tmp_path))
    flags = ["--config", str(config), "--from", "2023-03-18", "--to", "2023-03-27", "--no-hpo", "--out-dir", str(out)]
    stop = threading.Event()
    assert run_plan(make_plan(run_backtest.parser().parse_args(flags)), stop, StopsAtFirstWord(stop)) is None
    assert list(json.loads((out / "trainings.json").read_text())["results"]) == ["2023-03-18T00:00:00.000Z AAA/USDC"]
    first_trained = (out / "models" / "AAA_USDC" / "metadata.json").stat().st_mtime_ns
    assert run_backtest.main(flags) == 0
    assert first_trained in {path.stat().st_mtime_ns for path in (out / "models").rglob("metadata.json")}
    trained = json.loads((out / "trainings.json").read_text())["results"]
    assert list(trained) == ["2023-03-18T00:00:00.000Z AAA/USDC", "2023-03-25T00:00:00.000Z AAA/USDC"]
    store = BundleStore(out / "models")
    dates = [fact.valid_from for fact in store.versions(Symbol("AAA/USDC"))]
    assert dates == [from_iso("2023-03-18"), from_iso("2023-03-25")][: len(dates)]
    assert store.as_of(Symbol("AAA/USDC"), from_iso("2023-03-24")).version == 1
    before = digest(out / "trainings.json"), (out / "models" / "AAA_USDC" / "metadata.json").stat().st_mtime_ns
    first = digest(out / "report.html")
    assert run_backtest.main(flags) == 0
    after = digest(out / "trainings.json"), (out / "models" / "AAA_USDC" / "metadata.json").stat().st_mtime_ns
    assert after == before
    assert digest(out / "report.html") == first
    assert "Do not trade this with money" in capsys.readouterr().out
