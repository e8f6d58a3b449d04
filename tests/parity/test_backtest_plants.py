"""What would flatter a backtest, planted and caught: knowing the future, a trade for nothing, a model from later on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.prediction_log import log_beside
from bn_ml.venue.execution import Execution
from bn_ml.venue.liquidity import Level
from bn_ml.venue.orders import VenueOrder
from data_manager.bar_view import BarView
from data_manager.bars import Bars, FloatArray
from data_manager.history import HistoryStore
from data_manager.indicators import INDICATORS
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_store import BundleStore
from tests.checker.book_checker import check_book
from tests.checker.findings import Limits
from tests.fakes.feature_market import MONDAY_MS, STEP_MS
from tests.fakes.trading_world import NAMES, REPLAYED, WARM, Lean, fitted_on, market_bars, run_replay, store_market
from tests.fakes.trading_world import trading_settings as settings_of

KNOWN = WARM + REPLAYED // 2
KNOWN_MS = MONDAY_MS + KNOWN * STEP_MS


@pytest.fixture(scope="module")
def bars() -> tuple[Bars, ...]:
    return market_bars()


@pytest.fixture(scope="module")
def lean(bars: tuple[Bars, ...]) -> Lean:
    return fitted_on(bars[1])


@pytest.fixture
def world(tmp_path: Path, bars: tuple[Bars, ...], lean: Lean) -> Path:
    store_market(tmp_path, bars, lean)
    return tmp_path


def poisoned(bars: Bars) -> Bars:
    """The same past, another future: prices from `KNOWN` on run backwards."""
    columns = {}
    for name in ("open", "high", "low", "close"):
        values = getattr(bars, name).copy()
        values[KNOWN:] = values[KNOWN:][::-1]
        columns[name] = values
    return replace(bars, **columns)


def replayed(world: Path, book: str) -> Path:
    path = world / book / "bn_ml.db"
    run_replay(settings_of(world, path))
    return path


def told_until(book: Path, until_ms: int) -> list[tuple[object, ...]]:
    """Every fact of a run before an instant."""
    with closing(sqlite3.connect(book)) as connection:
        query = "SELECT at_ms, kind, payload FROM journal WHERE at_ms < ? ORDER BY id"
        return [tuple(row) for row in connection.execute(query, (until_ms,))]


def said_until(book: Path, until_ms: int) -> list[tuple[object, ...]]:
    """Every forecast of a run up to an instant, to the last bit."""
    with closing(sqlite3.connect(log_beside(book))) as connection:
        query = (
            "SELECT symbol, close_ms, sell, hold, buy FROM predictions WHERE close_ms <= ? ORDER BY close_ms, symbol"
        )
        return [tuple(row) for row in connection.execute(query, (until_ms,))]


def another_future(world: Path, bars: tuple[Bars, ...]) -> None:
    store = HistoryStore(world / "history")
    for series in bars:
        store.write(poisoned(series))


def test_what_was_done_does_not_depend_on_what_came_later(world: Path, bars: tuple[Bars, ...]) -> None:
    one = replayed(world, "one")
    another_future(world, bars)
    other = replayed(world, "other")
    before = told_until(one, KNOWN_MS)
    assert told_until(other, KNOWN_MS) == before
    assert said_until(other, KNOWN_MS) == said_until(one, KNOWN_MS)
    assert sum(kind == "PositionOpened" for _, kind, _ in before) > 5


def test_a_column_that_looks_one_bar_ahead_is_caught(
    world: Path, bars: tuple[Bars, ...], lean: Lean, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = used_indicator(lean)
    honest = INDICATORS[name]

    def ahead(view: BarView, *parameters: object) -> FloatArray:
        values = honest(view, *parameters)
        return np.append(values[1:], values[-1:])

    planted = dict(INDICATORS)
    planted[name] = ahead
    monkeypatch.setattr("data_manager.feature_engineer.INDICATORS", planted)
    one = replayed(world, "one")
    another_future(world, bars)
    assert said_until(replayed(world, "other"), KNOWN_MS) != said_until(one, KNOWN_MS)


def used_indicator(lean: Lean) -> str:
    """The function behind the first base column the ensemble looks at."""
    from data_manager.feature_columns import BASE_SPECS

    return next(spec.function for name in lean.columns for spec in BASE_SPECS if spec.name == name)


def test_a_trade_that_costs_nothing_is_caught(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Execution._commission
    seen = []

    def free_once(
        self: Execution, order: VenueOrder, level: Level, quote: Decimal, *, maker: bool
    ) -> tuple[Decimal, str]:
        fee, asset = honest(self, order, level, quote, maker=maker)
        seen.append(fee)
        return (Decimal(0) if len(seen) == 3 else fee), asset

    monkeypatch.setattr(Execution, "_commission", free_once)
    book = replayed(world, "one")
    findings = check_book(book, Limits.from_settings(settings_of(world, book)))
    assert findings.figures["rules_broken"] == {"fill_fee": 1}


def test_a_model_from_later_on_is_not_asked(
    world: Path, lean: Lean, bars: tuple[Bars, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    valid_from = from_ms(KNOWN_MS)
    newer_bundles(world / "models", valid_from)
    versions = versions_of_entries(replayed(world, "one"))
    assert {version for at, version in versions if at < valid_from} == {1}
    assert {version for at, version in versions if at >= valid_from} == {2}

    def newest(self: BundleStore, symbol: Symbol, when: datetime) -> ModelBundle:
        del when
        return self.load(symbol)

    monkeypatch.setattr(BundleStore, "as_of", newest)
    late = versions_of_entries(replayed(world, "other"))
    assert {at < valid_from for at, _ in late} == {False}


def newer_bundles(models: Path, valid_from: datetime) -> None:
    """Publish a second version of every bundle, in force from `valid_from` on."""
    store = BundleStore(models)
    for symbol in NAMES:
        bundle = store.load(symbol)
        later = {"valid_from": valid_from, "trained_at": valid_from}
        metadata = bundle.metadata.model_copy(update=later)
        store.save(replace(bundle, metadata=metadata), {})


def versions_of_entries(book: Path) -> list[tuple[datetime, int]]:
    with closing(sqlite3.connect(book)) as connection:
        rows = connection.execute("SELECT opened_ms, json FROM position_book").fetchall()
    told: list[tuple[int, Mapping[str, object]]] = [(opened, json.loads(text)) for opened, text in rows]
    return [(from_ms(opened), int(str(facts["bundle_version"]))) for opened, facts in told]
