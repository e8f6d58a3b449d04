"""Drift in whole replays: the same alarms live and ahead, over restarts once, and no entries while one stands."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol
from bn_ml.journal import export_journal
from bn_ml.prediction_log import PredictionLog, log_beside
from bn_ml.settings import Settings
from data_manager.bars import FloatArray
from data_manager.data_manager import BinanceDataManager
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import FeatureFeed, LiveFeatureFeed
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.bundle_store import BundleStore
from ml_engine.drift_reference import LIMIT_DAYS
from scripts import wiring
from scripts.worlds import World
from tests.fakes.feature_market import MONDAY_MS, STEP_MS
from tests.fakes.trading_world import (
    NAMES,
    REPLAYED,
    WARM,
    fitted_on,
    market_bars,
    run_replay,
    store_market,
    trading_settings,
)

TOUCHY = NAMES[1]
STORY = (
    "SELECT * FROM fills ORDER BY id",
    "SELECT * FROM ledger ORDER BY id",
    "SELECT kind, at_ms, payload FROM journal WHERE kind = 'DriftDetected' ORDER BY id",
)
Row = tuple[object, ...]


def reference(limit: float) -> dict[str, FloatArray]:
    """A chart of loss that goes beyond its limit after a few outcomes, whatever they are."""
    return {"drift_loss": np.array([-0.5, 0.5]), "drift_loss_limits": np.full(len(LIMIT_DAYS), limit)}


def watched(world: Path, limits: Mapping[Symbol, float]) -> None:
    """Publish every bundle of a world anew, with a reference for the charts of some."""
    feature_hash = FeatureEngineer().feature_hash
    store = BundleStore(world / "models", feature_hash=feature_hash)
    for symbol in NAMES:
        bundle = store.load(symbol)
        arrays = dict(bundle.reference) | (reference(limits[symbol]) if symbol in limits else {})
        fields = bundle.metadata.model_dump() | {"version": 0}
        store.save(replace(bundle, metadata=BundleMetadata.model_validate(fields), reference=arrays), {})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drifting")
    bars = market_bars()
    store_market(folder, bars, fitted_on(bars[1]))
    watched(folder, {TOUCHY: 6.0})
    return folder


@pytest.fixture(scope="module")
def backtest(world: Path) -> Path:
    book = world / "backtest" / "bn_ml.db"
    run_replay(trading_settings(world, book))
    return book


def rows(book: Path, query: str) -> list[Row]:
    with closing(sqlite3.connect(book)) as connection:
        return [tuple(row) for row in connection.execute(query)]


def status(book: Path) -> dict[str, object]:
    ((text,),) = rows(book, "SELECT value_json FROM kv_state WHERE key = 'drift_status'")
    found: dict[str, object] = json.loads(str(text))
    return found


def onset_ms(book: Path) -> int:
    ((at_ms, payload),) = rows(book, "SELECT at_ms, payload FROM journal WHERE kind = 'DriftDetected'")
    assert json.loads(str(payload))["symbol"] == TOUCHY
    return int(str(at_ms))


def entries(book: Path, symbol: Symbol, *, since_ms: int) -> int:
    query = f"SELECT count(*) FROM fills WHERE side = 'BUY' AND symbol = '{symbol}' AND at_ms >= {since_ms}"
    return int(str(rows(book, query)[0][0]))


def test_an_alarm_closes_entries_of_its_symbol_and_of_no_other(backtest: Path) -> None:
    raised = onset_ms(backtest)
    assert entries(backtest, TOUCHY, since_ms=0) > entries(backtest, TOUCHY, since_ms=raised) == 0
    assert entries(backtest, NAMES[2], since_ms=raised) > 0


def test_the_record_tells_chart_scores_and_onset(backtest: Path) -> None:
    record = status(backtest)
    assert (record["enabled"], record["detected"], record["alarming"]) == (True, False, [str(TOUCHY)])
    symbols = record["symbols"]
    assert isinstance(symbols, dict)
    told = symbols[str(TOUCHY)]
    assert (told["detected"], told["kind"], told["limit"]) == (True, "loss", 6.0)
    assert told["score"] > 6.0
    assert told["scores"]["loss"]["limit"] == 6.0


def test_every_bar_is_in_the_log_once(backtest: Path) -> None:
    said = PredictionLog(log_beside(backtest)).read(TOUCHY, 0, 1 << 60)
    times = [record.close_ms for record in said]
    assert times == list(range(times[0], times[-1] + 1, STEP_MS))
    assert len(times) >= REPLAYED - 1
    assert all(record.version == 2 and record.width_frac > 0.0 for record in said)


def test_rows_ahead_and_rows_as_they_come_raise_the_same_alarms(
    world: Path, backtest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead_of = wiring.feature_feed

    def as_it_comes(
        settings: Settings, around: World, market: BinanceDataManager, engineer: FeatureEngineer, **more: object
    ) -> FeatureFeed:
        feed = ahead_of(settings, replace(around, ends_at=None), market, engineer, **more)  # type: ignore[arg-type]
        assert isinstance(feed, LiveFeatureFeed)
        return feed

    monkeypatch.setattr(wiring, "feature_feed", as_it_comes)
    book = tmp_path / "bn_ml.db"
    run_replay(trading_settings(world, book))
    ahead, live = tmp_path / "ahead.jsonl", tmp_path / "live.jsonl"
    assert export_journal(backtest, ahead) == export_journal(book, live)
    assert "DriftDetected" in live.read_text(encoding="utf-8")


@pytest.mark.parametrize("bars", [[5, 73]])
def test_a_replay_stopped_before_and_after_the_alarm_tells_it_once_and_ends_with_the_same_books(
    bars: list[int], world: Path, backtest: Path, tmp_path: Path
) -> None:
    settings = trading_settings(world, tmp_path / "bn_ml.db")
    for bar in bars:
        run_replay(settings, until_ms=MONDAY_MS + (WARM + bar) * STEP_MS)
    run_replay(settings)
    for query in STORY:
        assert rows(tmp_path / "bn_ml.db", query) == rows(backtest, query), query


def test_a_lost_log_leaves_a_standing_alarm_in_force(world: Path, backtest: Path, tmp_path: Path) -> None:
    book = tmp_path / "bn_ml.db"
    settings = trading_settings(world, book)
    run_replay(settings, until_ms=onset_ms(backtest) + 2 * STEP_MS)
    log_beside(book).unlink()
    run_replay(settings)
    assert entries(book, TOUCHY, since_ms=onset_ms(book)) == 0
    assert status(book)["alarming"] == [str(TOUCHY)]
