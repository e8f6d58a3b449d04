"""One story however it is told: rows computed ahead or as they come, in one run or more, the same journal and books."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bn_ml.journal import export_journal
from bn_ml.settings import Settings
from data_manager.data_manager import BinanceDataManager
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import FeatureFeed, LiveFeatureFeed, WindowBars
from scripts.wiring import feature_feed
from scripts.worlds import World
from tests.fakes.feature_market import MONDAY_MS, STEP_MS
from tests.fakes.trading_world import REPLAYED, WARM, fitted_on, market_bars, run_replay, store_market, trading_settings

Row = tuple[object, ...]
STORY = (
    "SELECT * FROM fills ORDER BY id",
    "SELECT * FROM ledger ORDER BY id",
    "SELECT * FROM position_book ORDER BY rowid",
    # The epoch is left out: a start writes its own control row.
    "SELECT client_id, side, type, qty, limit_px, stop_px, state, created_ms, resolved_ms FROM intents ORDER BY seq",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    bars = market_bars()
    store_market(folder, bars, fitted_on(bars[1]))
    return folder


@pytest.fixture(scope="module")
def backtest(world: Path) -> Path:
    book = world / "backtest" / "bn_ml.db"
    run_replay(trading_settings(world, book))
    return book


def rows(book: Path, query: str) -> list[Row]:
    with closing(sqlite3.connect(book)) as connection:
        return [tuple(row) for row in connection.execute(query)]


def as_it_comes(
    settings: Settings, world: World, market: BinanceDataManager, engineer: FeatureEngineer, *, windows: WindowBars
) -> FeatureFeed:
    """The feed of a paper run: every row computed when its bar has closed, from what the clock lets be known."""
    feed = feature_feed(settings, replace(world, ends_at=None), market, engineer, windows=windows)
    assert isinstance(feed, LiveFeatureFeed)
    return feed


def test_the_replay_really_trades(backtest: Path) -> None:
    bought = rows(backtest, "SELECT DISTINCT client_id FROM fills WHERE side = 'BUY'")
    assert len(bought) > 10


def test_rows_computed_ahead_and_rows_computed_live_give_the_same_journal(
    world: Path, backtest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.wiring.feature_feed", as_it_comes)
    book = tmp_path / "bn_ml.db"
    run_replay(trading_settings(world, book))
    ahead, live = tmp_path / "ahead.jsonl", tmp_path / "live.jsonl"
    assert export_journal(backtest, ahead) == export_journal(book, live)
    assert ahead.read_bytes() == live.read_bytes()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_replay_stopped_between_bars_and_started_again_ends_with_the_same_books(
    seed: int, world: Path, backtest: Path, tmp_path: Path
) -> None:
    settings = trading_settings(world, tmp_path / "bn_ml.db")
    for bar in sorted(np.random.default_rng(seed).integers(1, REPLAYED, 2).tolist()):
        run_replay(settings, until_ms=MONDAY_MS + (WARM + bar) * STEP_MS)
    run_replay(settings)
    for query in STORY:
        assert rows(tmp_path / "bn_ml.db", query) == rows(backtest, query), query
