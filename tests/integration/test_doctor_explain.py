"""`bnml-doctor explain` beside a book: the logged decision, or the same worked out again, and clear refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from bn_ml.domain.events import CycleStarted, EntryApproved, RiskRefused
from bn_ml.domain.market import Symbol, from_ms, iso
from bn_ml.domain.signals import Action, GateVerdict, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.prediction_log import PredictionLog, log_beside
from bn_ml.state_store import StateStore
from data_manager.feature_engineer import FeatureEngineer
from data_manager.history import HistoryStore
from ml_engine.bundle_store import BundleStore
from scripts import doctor
from tests.fakes.bundle_builders import a_bundle
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, walk

ROOT = Path(__file__).resolve().parents[2]
BTC = Symbol("BTC/USDC")
CLOSE = datetime(2024, 3, 4, 12, 15, tzinfo=timezone.utc)
ENGINEER = FeatureEngineer()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a paper bot on generated prices, with state and bundles in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bot.yaml"
    path.write_text(
        "data: {paper_market_data_mode: synthetic}\n"
        "universe: {training_symbols: [BTC/USDC]}\n"
        f"model: {{models_dir: {tmp_path / 'models'}}}\n"
        f"storage: {{sqlite_path: {tmp_path / 'state' / 'bot.db'}}}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def book(tmp_path: Path, config: Path) -> Iterator[StateStore]:
    """A book whose newest fact is a cycle a minute after the bar, and a bundle trained the day before."""
    trained = CLOSE - timedelta(days=1)
    bundle = a_bundle(
        feature_columns=ENGINEER.columns[:6],
        optional_columns=(),
        feature_hash=ENGINEER.feature_hash,
        trained_at=trained,
        valid_from=trained,
        label_end=trained - timedelta(hours=1),
    )
    BundleStore(tmp_path / "models", feature_hash=ENGINEER.feature_hash).save(bundle)
    (tmp_path / "state").mkdir()
    store = StateStore(tmp_path / "state" / "bot.db")
    store.add_event(CycleStarted(CLOSE + timedelta(minutes=1), 1), 1)
    yield store
    store.close()


def a_signal(at: datetime, buy: float = 0.4) -> Signal:
    gates = (
        GateVerdict("bundle_stale", 24.0, 336.0, True),
        GateVerdict("proba_below_min", buy, 0.42, False),
        GateVerdict("not_top_class", -0.05, 0.0, False),
    )
    return Signal(
        symbol=BTC,
        action=Action.HOLD,
        probabilities=Probabilities(0.2, 0.8 - buy, buy),
        at=at,
        reason="proba_below_min",
        members={"rf": Probabilities(0.2, 0.8 - buy, buy)},
        bundle_version=1,
        data_source="synthetic",
        gates=gates,
    )


def logged(store: StateStore, *signals: Signal) -> None:
    log = PredictionLog(log_beside(Path(store.path)))
    for signal in signals:
        log.record(ScanReport(at=signal.at, opportunities=(), refused=(Opportunity(signal, None),)))
    log.close()


def explained(config: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, object]:
    assert doctor.main(["explain", "BTC/USDC", "--config", str(config), "--json", *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


def test_the_last_logged_decision_is_explained_while_the_book_is_open(
    config: Path, book: StateStore, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(book, a_signal(CLOSE - timedelta(minutes=15), 0.3), a_signal(CLOSE, 0.4))
    told = explained(config, capsys)
    assert (told["at"], told["reason"], told["first_refusal"]) == (
        "2024-03-04T12:15:00.000Z",
        "proba_below_min",
        "proba_below_min",
    )
    assert told["source"] == "prediction log, prices synthetic, bundle version 1"
    assert told["probas"] == {"SELL": 0.2, "HOLD": pytest.approx(0.4), "BUY": 0.4}
    assert told["bundle"]["version"] == 1  # type: ignore[index]


def test_an_earlier_instant_gives_the_decision_in_force_then(
    config: Path, book: StateStore, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(book, a_signal(CLOSE - timedelta(minutes=15), 0.3), a_signal(CLOSE, 0.4))
    told = explained(config, capsys, "--at", "2024-03-04T12:14:59")
    assert told["at"] == "2024-03-04T12:00:00.000Z"
    assert told["probas"]["BUY"] == 0.3  # type: ignore[index]


def test_without_a_logged_line_the_decision_is_worked_out_again_and_said_to_be(
    config: Path, book: StateStore, capsys: pytest.CaptureFixture[str]
) -> None:
    told = explained(config, capsys, "--at", "2024-03-04T12:20")
    assert str(told["source"]).startswith("worked out again as of 2024-03-04T12:20:00.000Z from synthetic")
    assert told["at"] == "2024-03-04T12:15:00.000Z"
    gates = [gate["reason"] for gate in told["gates"]]  # type: ignore[attr-defined]
    assert gates[:5] == ["no_bundle", "bundle_stale", "data_stale", "nan_feature", "outlier"]
    assert told["reason"] == told["first_refusal"]


def test_before_the_first_bundle_there_is_none_to_blame(
    config: Path, book: StateStore, capsys: pytest.CaptureFixture[str]
) -> None:
    told = explained(config, capsys, "--at", "2024-03-01")
    assert told["reason"] == "no_bundle"
    assert "no bundle valid at 2024-03-01" in str(told["bundle_problem"])
    assert "bnml-trainer --symbol BTC/USDC" in str(told["advice"])


def test_what_risk_said_of_the_last_entry_is_found_in_the_journal(
    config: Path, book: StateStore, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(book, a_signal(CLOSE))
    other = Symbol("ETH/USDC")
    for minutes, event in enumerate(
        [
            EntryApproved(CLOSE - timedelta(minutes=9), BTC, 25, "risk_per_trade", 0.5, 7.0),  # type: ignore[arg-type]
            RiskRefused(CLOSE - timedelta(minutes=5), BTC, "max_exposure", 0.52, 0.5),
            RiskRefused(CLOSE - timedelta(minutes=1), other, "cooldown", 1.0, 2.0),
        ]
    ):
        book.add_event(event, minutes)
    told = explained(config, capsys)
    assert told["risk"] == {
        "at": "2024-03-04T12:10:00.000Z",
        "verdict": "refused",
        "detail": "rule max_exposure: 0.52 against 0.5",
    }
    earlier = explained(config, capsys, "--at", "2024-03-04T12:09")
    assert earlier["risk"]["verdict"] == "approved"  # type: ignore[index]


def test_without_a_book_the_last_decision_is_unknown_and_the_message_says_what_to_do(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["explain", "BTC/USDC", "--config", str(config)]) == 1
    said = capsys.readouterr()
    assert "no database yet; start the bot (bnml-bot) or correct storage.sqlite_path" in said.err
    assert said.out == ""


def test_without_a_book_a_given_instant_is_still_worked_out(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = explained(config, capsys, "--at", "2024-03-04T12:20")
    assert told["reason"] == "no_bundle"
    assert "no database yet" in str(told["risk_problem"])


def test_a_word_that_is_no_symbol_exits_with_2(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["explain", "BTC", "--config", str(config)]) == 2
    assert "must look like BTC/USDC" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["explain"], ["explain", "BTC/USDC", "--at", "soon"], ["mend"], ["backups", "burn"]])
def test_what_cannot_be_parsed_exits_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        doctor.main(argv)
    assert exit_.value.code == 2


@pytest.mark.parametrize("argv", [["--help"], ["explain", "--help"]])
def test_help_loads_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys\nfrom scripts import doctor\n"
        f"try:\n    doctor.main({argv!r})\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'pydantic', 'pyarrow', 'sklearn', 'ccxt', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "explain" in done.stdout


def test_reading_changes_nothing(config: Path, book: StateStore, capsys: pytest.CaptureFixture[str]) -> None:
    logged(book, a_signal(CLOSE))
    book.close()
    folder = config.parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "-shm" not in path.name}
    explained(config, capsys)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "-shm" not in path.name}
    assert {path: data for path, data in after.items() if data} == {path: data for path, data in before.items() if data}


def test_an_exchange_is_not_asked_again_but_stored_bars_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "bot.yaml"
    config.write_text(
        f"data: {{paper_market_data_mode: live, history_dir: {tmp_path / 'history'}}}\n"
        f"model: {{models_dir: {tmp_path / 'models'}}}\nstorage: {{sqlite_path: {tmp_path / 'bot.db'}}}\n",
        encoding="utf-8",
    )
    at = ["--at", iso(from_ms(MONDAY_MS + 3_000 * STEP_MS + 60_000))]
    told = explained(config, capsys, *at)
    assert told["reason"] == "data_unavailable"
    assert "fetch them with: bnml-data download" in str(told["notes"])
    HistoryStore(tmp_path / "history").merge(walk("BTC/USDC", bars=3_000))
    told = explained(config, capsys, *at)
    assert told["reason"] == "no_bundle"
    assert "bars stored in" in str(told["source"])
