"""Alarms become facts once, the record is kept in the book, and old predictions go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.events import DriftDetected, Event
from bn_ml.domain.market import to_ms
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from ml_engine.drift_status import read_kept
from scripts.drift_watch import DRIFT_STATUS, LIVE_EVERY, DriftNews, TelemetryRetention, open_watch
from scripts.worlds import World
from tests.fakes.bar_builders import START_MS, clock_at
from tests.fakes.drift_world import SYMBOLS, DriftWorld, bars_to_alarm, touchy

BTC, ETH, SOL = SYMBOLS[:3]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path / "bn_ml.db")
    yield store
    store.close()


def news_of(world: DriftWorld, store: StateStore) -> DriftNews:
    return DriftNews(store, world.monitor, read_kept(store.get(DRIFT_STATUS)), skew=None, every=LIVE_EVERY)


def told(world: DriftWorld, news: DriftNews, bars: int) -> list[Event]:
    events: list[Event] = []
    for _ in range(bars):
        world.scan()
        events.extend(news.collect(world.now))
    return events


def test_an_alarm_is_told_once_whatever_restarts_lie_between(store: StateStore, tmp_path: Path) -> None:
    world = DriftWorld(tmp_path, {ETH: touchy(3)})
    (event,) = told(world, news_of(world, store), bars_to_alarm(ETH) + 5)
    assert isinstance(event, DriftDetected)
    assert (event.symbol, event.chart, event.bundle_version) == (ETH, "loss", 1)
    assert event.score > event.limit
    world.opened(store.get(DRIFT_STATUS))
    assert told(world, news_of(world, store), 20) == []
    assert world.monitor.blocks(ETH)


def test_the_whole_market_is_told_as_one_fact_beside_its_symbols(store: StateStore, tmp_path: Path) -> None:
    world = DriftWorld(tmp_path, {ETH: touchy(3), SOL: touchy(3)})
    news = news_of(world, store)
    events = told(world, news, bars_to_alarm(SOL) + 5)
    charts = [(event.symbol, event.chart) for event in events if isinstance(event, DriftDetected)]
    assert charts == [(ETH, "loss"), (SOL, "loss"), (None, "market")]
    world.opened(store.get(DRIFT_STATUS))
    assert told(world, news_of(world, store), 5) == []
    record = store.get(DRIFT_STATUS)
    assert isinstance(record, dict)
    assert (record["detected"], record["kind"], record["alarming"]) == (True, "market", ["ETH/USDC", "SOL/USDC"])


def test_the_record_is_left_alone_while_nothing_changes(store: StateStore, tmp_path: Path) -> None:
    world = DriftWorld(tmp_path, {})
    news = news_of(world, store)
    told(world, news, 1)
    before = store.get(DRIFT_STATUS)
    assert before is not None
    assert news.collect(world.now + timedelta(hours=5)) == ()
    assert store.get(DRIFT_STATUS) == before


def test_predictions_older_than_they_are_kept_go_once_a_day(tmp_path: Path) -> None:
    world = DriftWorld(tmp_path, {})
    world.scan(3, symbols=(ETH,))
    retention = TelemetryRetention(world.log, days=2)
    kept_for = timedelta(days=2)
    retention.collect(world.now + kept_for - timedelta(minutes=15))
    assert len(world.log.read(ETH, 0, 1 << 60)) == 2
    retention.collect(world.now + kept_for + timedelta(minutes=1))
    assert len(world.log.read(ETH, 0, 1 << 60)) == 2
    retention.collect(world.now + kept_for + timedelta(days=1))
    assert world.log.read(ETH, 0, 1 << 60) == ()


def test_what_is_switched_off_watches_nothing_and_says_so(store: StateStore, tmp_path: Path) -> None:
    settings = Settings.from_mapping({"model": {"drift": {"enabled": False}}})
    around = World(clock_at(START_MS), None)  # type: ignore[arg-type]
    watch = open_watch(settings, store, None, None, world=around, fresh_feed=list)  # type: ignore[arg-type]
    assert watch.monitor is None
    record = store.get(DRIFT_STATUS)
    assert isinstance(record, dict)
    assert (record["enabled"], record["detected"], record["symbols"]) == (False, False, {})
    assert watch.predictions.path == store.path.with_name("telemetry.db").absolute()
    assert watch.chore.collect(clock_at(to_ms(around.clock.now())).now()) == ()
