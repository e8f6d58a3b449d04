"""The mood inside the bot: kept over restarts, journaled when it changes, harmless when it cannot be had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from bn_ml.domain.events import MoodChanged
from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.domain.signals import MarketRegime
from bn_ml.errors import MarketDataError
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from data_manager.bars import Bars
from monitoring.mood_exports import COLUMNS, MoodExports
from scripts.market_mood import BookKeeper, FileKeeper, ScanMood, open_mood
from tests.fakes.bar_builders import some_bars
from tests.fakes.mood_builders import START, STEP, a_scan

RISKY = {"atr": 0.02}


class Bench:
    """A market of one symbol that can fail."""

    def __init__(self) -> None:
        self.fails = False

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int) -> Bars:
        if self.fails:
            raise MarketDataError("the venue does not answer")
        return some_bars(count, symbol=symbol, timeframe=timeframe)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "book.db")
    yield opened
    opened.close()


def a_mood(store: StateStore, tmp_path: Path, *, source: str = "synthetic", bench: Bench | None = None) -> ScanMood:
    settings = Settings.from_mapping({"santrade_intelligence": {"state_path": str(tmp_path / "mood.joblib")}})
    return open_mood(settings, store, bench or Bench(), MoodExports(tmp_path, each_cycle=True), source=source)


def moods(mood: ScanMood, count: int, first: int = 0) -> list[object]:
    return [mood.mood(a_scan(at=START + number * STEP)) for number in range(first, first + count)]


@pytest.mark.parametrize("source", ["synthetic", "binance"])
def test_a_restart_goes_on_where_it_stood(store: StateStore, tmp_path: Path, source: str) -> None:
    whole_store = StateStore(tmp_path / "whole.db")
    whole = moods(a_mood(whole_store, tmp_path / "whole", source=source), 40)
    whole_store.close()
    first = moods(a_mood(store, tmp_path, source=source), 25)
    rest = moods(a_mood(store, tmp_path, source=source), 15, first=25)
    assert first + rest == whole
    assert (tmp_path / "mood.joblib").exists() == (source == "binance")


def test_a_scan_repeated_after_a_crash_is_not_counted_twice(store: StateStore, tmp_path: Path) -> None:
    moods(a_mood(store, tmp_path), 5)
    again = a_mood(store, tmp_path)
    before = again.intelligence.state.updates
    moods(again, 1, first=4)
    assert again.intelligence.state.updates == before


def test_changes_are_journaled_once_and_shown_to_readers(store: StateStore, tmp_path: Path) -> None:
    mood = a_mood(store, tmp_path)
    mood.mood(a_scan())
    mood.mood(a_scan(at=START + STEP))
    mood.mood(a_scan(at=START + 2 * STEP, **RISKY))
    told = [event for event in mood.collect(START) if isinstance(event, MoodChanged)]
    assert [event.regime for event in told] == ["neutral", "risk_off"]
    assert mood.collect(START) == ()
    shown = store.get("santrade_intelligence")
    assert isinstance(shown, dict)
    assert shown["market_regime"] == MarketRegime.RISK_OFF.value
    assert json.loads((tmp_path / "latest_market_intelligence.json").read_text()) == shown
    rows = (tmp_path / "latest_market_intelligence.csv").read_text().splitlines()
    assert len(rows) == 4
    assert rows[0] == ",".join(COLUMNS)


def test_the_history_outlives_the_process_and_a_foreign_file_does_not_harm(store: StateStore, tmp_path: Path) -> None:
    moods(a_mood(store, tmp_path), 3)
    moods(a_mood(store, tmp_path), 2, first=3)
    path = tmp_path / "latest_market_intelligence.csv"
    assert len(path.read_text().splitlines()) == 6
    path.write_bytes(b"\xff\xfe\x00other")
    moods(a_mood(store, tmp_path), 1, first=5)
    assert len(path.read_text().splitlines()) == 2


def test_without_the_benchmark_the_rule_still_speaks(
    store: StateStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.fails = True
    mood = a_mood(store, tmp_path, bench=bench)
    moods(mood, 3)
    assert mood.intelligence.state.last is not None
    assert mood.intelligence.state.last.benchmark_price is None
    assert sum("without its benchmark" in message for message in caplog.messages) == 1


def test_an_unreadable_file_is_set_aside_and_begun_anew(
    store: StateStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mood.joblib").write_bytes(b"broken")
    mood = a_mood(store, tmp_path, source="binance")
    assert mood.intelligence.state.updates == 0
    assert (tmp_path / "mood.joblib.unreadable").read_bytes() == b"broken"
    assert "begins anew" in caplog.text


def test_a_state_that_cannot_be_written_is_told_once(
    store: StateStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    keeper = FileKeeper(tmp_path / "file" / "mood.joblib", every=1)
    shown: list[object] = []
    mood = ScanMood(Settings.from_mapping({}), Bench(), keeper, publish=shown.append, source="binance")
    moods(mood, 3)
    assert len(shown) == 3
    assert sum("not written" in message for message in caplog.messages) == 1


def test_the_file_is_written_at_every_so_many_updates(tmp_path: Path) -> None:
    keeper = FileKeeper(tmp_path / "mood.joblib", every=3)
    mood = ScanMood(Settings.from_mapping({}), Bench(), keeper, publish=lambda _: None, source="binance")
    moods(mood, 2)
    assert not (tmp_path / "mood.joblib").exists()
    moods(mood, 1, first=2)
    assert (tmp_path / "mood.joblib").exists()


def test_a_book_record_that_cannot_be_read_is_begun_anew(store: StateStore, tmp_path: Path) -> None:
    moods(a_mood(store, tmp_path), 2)
    at: datetime = START
    store.put("santrade_learned", {"model": "nonsense"}, at)
    assert a_mood(store, tmp_path).intelligence.state.updates == 0
    store.put("santrade_state", None, at)
    assert BookKeeper(store).load(0.0005) is None
