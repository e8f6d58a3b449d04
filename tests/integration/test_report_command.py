"""`bnml-report` on books on disk: a real one, made ones, and places that hold none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from bn_ml.domain.market import iso, to_ms
from data_manager.history import HistoryStore
from evidence.run_card import RunCard, write_run
from scripts import report
from tests.fakes.bar_builders import some_bars
from tests.fakes.finished_books import BAR, BEGIN, SOL, Story, a_deal, write_book
from tests.fakes.money_world import AAA, MoneyWorld

MANY = tuple(a_deal(f"p-{k}", BEGIN + 12 * k * BAR, net="-1.5") for k in range(40))
WEEK = Story(closed=MANY, cycles=600)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bot.yaml"
    places = {"history_dir": str(tmp_path / "history"), "replay_dir": str(tmp_path / "replay")}
    content = {"data": places, "storage": {"sqlite_path": str(tmp_path / "bn_ml.db")}}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run(config: Path, *flags: str) -> int:
    return report.main(["--config", str(config), "--out", str(config.parent / "out.html"), *flags])


def twin(config: Path) -> dict[str, object]:
    content = json.loads((config.parent / "out.json").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_a_book_the_bot_has_written_is_reported(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = MoneyWorld(tmp_path)
    world.start()
    world.buy(AAA)
    world.move("97")
    world.cycle()
    world.close()
    assert run(config, "--from-db") == 0
    head, trades = twin(config)["headline"], twin(config)["trades"]
    assert isinstance(head, dict)
    assert isinstance(trades, dict)
    assert head["trade_count"] == len(trades["rows"]) == 1
    assert trades["rows"][0]["symbol"] == AAA
    assert "too few to judge" in capsys.readouterr().out
    assert "AAA/USDC" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_the_same_book_gives_the_same_bytes(config: Path, tmp_path: Path) -> None:
    write_book(tmp_path / "bn_ml.db", WEEK)
    assert run(config, "--from-db") == 0
    first = [(tmp_path / name).read_bytes() for name in ("out.html", "out.json")]
    assert run(config) == 0
    assert [(tmp_path / name).read_bytes() for name in ("out.html", "out.json")] == first


def test_json_tells_where_the_report_is_and_its_verdict(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = write_book(tmp_path / "may.db", WEEK)
    assert run(config, "--from-db", str(book), "--mode", "paper", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"]["code"], told["headline"]["trade_count"]) == ("loss", 40)
    assert told["report"] == str(tmp_path / "out.html")
    assert twin(config)["no_proof"] == f"{tmp_path / 'history'} holds no 15m bars of the period (bnml-data download)"


def test_stored_bars_bring_the_control_and_excursions(config: Path, tmp_path: Path) -> None:
    write_book(tmp_path / "bn_ml.db", WEEK)
    HistoryStore(tmp_path / "history").write(some_bars(1200, symbol=SOL, start_ms=to_ms(BEGIN - 200 * BAR)))
    assert run(config, "--from-db") == 0
    proof, trades = twin(config)["proof"], twin(config)["trades"]
    assert isinstance(proof, dict)
    assert isinstance(trades, dict)
    assert proof["random_entry"]["trades"] == trades["excursions"]["trades"] == 40


def test_a_part_of_the_period_is_reported_alone(config: Path, tmp_path: Path) -> None:
    write_book(tmp_path / "bn_ml.db", WEEK)
    assert run(config, "--from", "2023-06-02", "--to", "2023-06-03") == 0
    card, head = twin(config)["run"], twin(config)["headline"]
    assert isinstance(card, dict)
    assert isinstance(head, dict)
    assert (card["begin"], card["cycles"], head["trade_count"]) == ("2023-06-02T00:00:00.000Z", 96, 8)
    funnel = twin(config)["funnel"]
    assert isinstance(funnel, list)
    assert funnel[0] == {"reason": "proba_below_min", "count": 864, "share": 0.9}


def a_backtest(folder: Path, story: Story = WEEK, *, kept: Sequence[float] = ()) -> Path:
    folder.mkdir()
    write_book(folder / "book.db", story)
    end = BEGIN + story.cycles * BAR
    write_run(folder, RunCard("backtest", BEGIN, end, "USDC", (SOL,), "fixed bundles", 0.001, 0.0005, "c" * 64, seed=3))
    if kept:
        proof = {"random_entry": {"p_value": 0.01, "strict_p_value": kept[0]}, "seed": 3}
        (folder / "proof.json").write_text(json.dumps(proof), encoding="utf-8")
    return folder


def test_a_backtest_is_reported_with_the_statistics_it_kept(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_backtest(tmp_path / "run", kept=(0.43,))
    assert run(config, "--from-backtest", str(folder)) == 0
    assert "Lost 6.0 % after costs; no better than random entries (p = 0.43)" in capsys.readouterr().out
    card = twin(config)["run"]
    assert isinstance(card, dict)
    assert (card["kind"], card["seed"], card["models"]) == ("backtest", 3, "fixed bundles")


def test_a_paper_book_is_compared_with_a_backtest(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = MANY[5].opened_at
    paper = write_book(tmp_path / "paper.db", WEEK)
    other = Story(closed=[deal for deal in MANY if deal.opened_at != at], refused=[(at, SOL, "spread")], cycles=600)
    folder = a_backtest(tmp_path / "run", other)
    assert run(config, "--compare", str(paper), str(folder), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"paired": 39, "equal": 39, "differ": 0, "only_a": 1, "only_b": 0}
    assert told["causes"] == [{"where": "a", "cause": "spread", "trades": 1, "net_difference": -1.5}]
    (divergence,) = twin(config)["divergences"]  # type: ignore[misc]
    assert divergence["opened_at"] == iso(at)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--from", "2023-06-03", "--to", "2023-06-02"), ("--from 2023-06-03", "must lie before --to 2023-06-02")),
        (("--from", "yesterday"), ("--from yesterday", "give a date such as 2023-01-01")),
        (("--mode", "live", "--compare", "a", "b"), ("--mode live", "not to --compare")),
        (("--out", "{tmp}"), ("--out", "is a folder; name the file to write")),
        (("--out", "{tmp}/report.pdf"), ("report.pdf", "must end in .html")),
    ],
)
def test_wrong_flags_are_named_with_the_fix(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: Sequence[str], words: Sequence[str]
) -> None:
    write_book(tmp_path / "bn_ml.db", WEEK)
    assert run(config, *(flag.replace("{tmp}", str(tmp_path)) for flag in flags)) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--from-db", "{tmp}/absent.db"), ("absent.db", "no database yet; start the bot (bnml-bot)")),
        (("--from-db", "{tmp}/notes.txt"), ("notes.txt", "it is no SQLite file")),
        (("--from-db", "{tmp}/foreign.db"), ("foreign.db",)),
        (("--from-db", "{tmp}/empty.db"), ("empty.db", "no finished cycle; run the bot first")),
        (("--from-db", "{tmp}/bn_ml.db", "--mode", "live"), ("bn_ml.db", "holds a paper book, --mode live was given")),
        (("--from", "2024-01-01"), ("no cycle from 2024-01-01", "this book holds 2023-06-01")),
        (("--from-backtest", "{tmp}/nowhere"), ("nowhere", "no such folder")),
        (("--from-backtest", "{tmp}/begun"), ("begun", "no run.json", "unfinished run, start the same bnml-backtest")),
        (("--compare", "{tmp}/bn_ml.db", "{tmp}/absent.db"), ("absent.db", "no database yet")),
    ],
)
def test_what_cannot_be_reported_is_named_with_the_fix(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: Sequence[str], words: Sequence[str]
) -> None:
    write_book(tmp_path / "bn_ml.db", WEEK)
    write_book(tmp_path / "empty.db", Story(cycles=0))
    (tmp_path / "notes.txt").write_text("these are only notes " * 100, encoding="utf-8")
    sqlite3.connect(tmp_path / "foreign.db").execute("CREATE TABLE notes(text)").connection.close()
    (tmp_path / "begun").mkdir()
    write_book(tmp_path / "begun" / "book.db", Story())
    assert run(config, *(flag.replace("{tmp}", str(tmp_path)) for flag in flags)) == 1
    told = capsys.readouterr().err
    assert all(word in told for word in words), told
    assert not (tmp_path / "out.html").exists()


def test_sources_exclude_each_other(config: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(config, "--from-backtest", "x", "--compare", "a", "b")
    assert ended.value.code == 2
