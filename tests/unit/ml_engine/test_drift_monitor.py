"""The watch on drift: what it follows, when it alarms, whom it stops, and what a restart remembers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import from_ms, iso, to_ms
from bn_ml.prediction_log import BAR_MS, PredictionRecord
from bn_ml.settings import LabelingSettings
from bn_ml.settings_model import DriftSettings
from data_manager.bars import FloatArray
from ml_engine.drift_columns import volatility_score
from ml_engine.drift_reference import column_arrays
from ml_engine.drift_status import MarketEvent, market_event, read_kept
from ml_engine.drift_watch import DAY_MS, Alarm, SymbolWatch
from ml_engine.labeling import DynamicLabeler
from tests.fakes.bar_builders import START_MS, some_bars
from tests.fakes.bundle_builders import COLUMNS, a_bundle
from tests.fakes.drift_world import HORIZON, SYMBOLS, DriftWorld, bars_to_alarm, touchy

BTC, ETH, SOL = SYMBOLS[:3]
TO_ALARM = bars_to_alarm(ETH)
TO_ALL = bars_to_alarm(ETH) + HORIZON


@pytest.fixture
def world(tmp_path: Path) -> DriftWorld:
    return DriftWorld(tmp_path, {ETH: touchy(3)})


def alarms(world: DriftWorld) -> dict[str, tuple[str, int]]:
    return {str(symbol): (alarm.kind, alarm.since_ms) for symbol, alarm in world.monitor.alarms.items()}


def told(world: DriftWorld) -> object:
    """The record as the book gives it back."""
    return json.loads(json.dumps(world.monitor.status(world.now)))


def test_an_alarm_stops_its_symbol_alone_and_begins_when_the_outcome_is_known(world: DriftWorld) -> None:
    begun = world.now_ms
    world.scan(TO_ALARM - 1)
    assert not world.monitor.blocks(ETH)
    world.scan()
    assert [world.monitor.blocks(symbol) for symbol in (ETH, SOL)] == [True, False]
    assert world.monitor.symbols_drifted(world.now) == (ETH,)
    assert not world.monitor.drifted(world.now)
    assert alarms(world) == {"ETH/USDC": ("loss", begun + TO_ALARM * BAR_MS)}


def test_only_every_tenth_bar_is_followed(world: DriftWorld) -> None:
    world.scan(TO_ALARM)
    outcomes = world.log.outcomes(ETH, 0, world.now_ms)
    assert np.diff([outcome.close_ms for outcome in outcomes]).tolist() == [HORIZON * BAR_MS] * 2
    assert len(world.log.read(ETH, 0, world.now_ms + 1)) == TO_ALARM


def test_scans_within_a_bar_add_nothing(world: DriftWorld) -> None:
    world.scan(5)
    world.now_ms -= BAR_MS
    changes = world.monitor.changes
    world.scan()
    assert world.monitor.changes == changes


def test_another_version_ends_the_alarm_and_begins_anew(world: DriftWorld) -> None:
    world.scan(TO_ALARM)
    world.versions[ETH] = 2
    world.references[ETH] = touchy(1000)
    world.scan()
    assert not world.monitor.blocks(ETH)
    assert world.monitor.version(ETH) == 2


def test_an_alarm_ends_after_two_quiet_weeks(world: DriftWorld) -> None:
    world.scan(TO_ALARM)
    watch = world.monitor._watches[ETH]
    assert watch.triggers.loss is not None
    watch.triggers.loss.limit = 1e9
    first_outcome_after = -(-14 * 96 // HORIZON) * HORIZON
    world.scan(first_outcome_after - 1)
    assert world.monitor.blocks(ETH)
    world.scan()
    assert not world.monitor.blocks(ETH)


@pytest.mark.parametrize("with_log", [True, False])
def test_a_restart_remembers_the_alarm_before_the_first_scan(world: DriftWorld, with_log: bool) -> None:
    world.scan(TO_ALARM + 5)
    before, record = alarms(world), told(world)
    if not with_log:
        world.log.path.unlink()
    world.opened(record).settle(world.now)
    assert alarms(world) == before
    assert world.monitor.blocks(ETH)


def test_a_restart_goes_on_as_if_there_had_been_none(tmp_path: Path) -> None:
    straight, broken = (DriftWorld(tmp_path / name, {ETH: touchy(5)}) for name in ("straight", "broken"))
    straight.scan(120)
    for part in (7, 33, 80):
        broken.scan(part)
        broken.opened(told(broken))
    broken.monitor.settle(broken.now)
    assert alarms(broken) == alarms(straight) != {}
    for symbol in SYMBOLS:
        ours, theirs = (world.monitor._watches[symbol].triggers for world in (straight, broken))
        assert ours.scores() == theirs.scores()


def test_a_new_book_takes_up_nothing_of_an_older_log(world: DriftWorld) -> None:
    world.scan(TO_ALARM)
    world.opened().settle(world.now)
    assert alarms(world) == {}
    world.scan()
    assert alarms(world) == {}


def test_the_benchmark_alone_stops_the_market(tmp_path: Path) -> None:
    world = DriftWorld(tmp_path, {BTC: touchy(3)})
    world.scan(bars_to_alarm(BTC))
    assert world.monitor.drifted(world.now)
    assert world.monitor.event == MarketEvent("benchmark", world.now_ms, 1 / 6)


def test_two_of_six_symbols_are_the_market_and_one_is_not(tmp_path: Path) -> None:
    world = DriftWorld(tmp_path, {ETH: touchy(3), SOL: touchy(6)})
    world.scan(TO_ALARM)
    assert not world.monitor.drifted(world.now)
    world.scan(60)
    assert world.monitor.event is not None
    assert (world.monitor.event.kind, world.monitor.event.share) == ("market", 2 / 6)


def test_symbols_not_answered_for_within_a_day_are_no_part_of_the_market(tmp_path: Path) -> None:
    world = DriftWorld(tmp_path, {ETH: touchy(3), SOL: touchy(3)})
    world.scan(TO_ALL)
    assert world.monitor.drifted(world.now)
    world.scan(96 + 2 * HORIZON, symbols=(BTC,))
    assert not world.monitor.drifted(world.now)


def an_alarm(since_ms: int) -> Alarm:
    return Alarm("loss", 6.0, 5.0, since_ms, since_ms)


@pytest.mark.parametrize(
    ("apart_ms", "watched", "is_event"),
    [(DAY_MS - 1, 9, True), (DAY_MS, 9, False), (0, 10, False), (0, 9, True)],
)
def test_the_share_and_the_day_of_a_market_event(apart_ms: int, watched: int, is_event: bool) -> None:
    found = market_event({ETH: an_alarm(0), SOL: an_alarm(apart_ms)}, watched, BTC)
    assert (found is not None) is is_event


def test_one_symbol_is_never_the_whole_market() -> None:
    assert market_event({ETH: an_alarm(0)}, 1, BTC) is None


def test_bars_that_come_late_delay_the_outcome_and_lose_nothing(world: DriftWorld) -> None:
    whole = world.bars[ETH]
    world.bars[ETH] = whole.closed_by(world.now_ms + 5 * BAR_MS)
    world.scan(bars_to_alarm(ETH, 1) + 3)
    assert world.log.outcomes(ETH, 0, world.now_ms) == ()
    world.bars[ETH] = whole
    world.scan()
    assert len(world.log.outcomes(ETH, 0, world.now_ms)) == 1


def test_a_window_over_a_hole_is_left_out(world: DriftWorld) -> None:
    begun = world.now_ms + bars_to_alarm(ETH, 0) * BAR_MS
    times = world.bars[ETH].open_time
    world.bars[ETH] = world.bars[ETH].take((times < begun + 4 * BAR_MS) | (times >= begun + 9 * BAR_MS))
    world.scan(40)
    kept = [outcome.close_ms for outcome in world.log.outcomes(ETH, 0, world.now_ms)]
    assert kept == [begun + place * HORIZON * BAR_MS for place in (1, 2)]


def test_a_symbol_without_a_bundle_is_not_taken_up(world: DriftWorld) -> None:
    world.scan(TO_ALARM)
    record = told(world)
    world.silent.add(ETH)
    world.opened(record).settle(world.now)
    assert ETH not in world.monitor.watched
    assert SOL in world.monitor.watched


def test_a_symbol_whose_bundle_is_gone_leaves_the_others_watched(world: DriftWorld) -> None:
    world.silent.add(BTC)
    world.scan(TO_ALARM)
    assert BTC not in world.monitor.watched
    assert world.monitor.blocks(ETH)


def test_a_bundle_that_knows_no_label_width_is_not_watched(world: DriftWorld) -> None:
    world.width_frac = 0.0
    world.scan(TO_ALARM)
    assert world.monitor.watched == ()


def a_record(close_ms: int, width: float) -> PredictionRecord:
    return PredictionRecord(ETH, close_ms, 1, 0.2, 0.5, 0.3, width, 0.003, "HOLD", None, "[]", "test")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["barrier", "threshold"]))
def test_outcomes_are_the_labels_a_training_would_give(seed: int, method: str) -> None:
    bars = some_bars(420, symbol=ETH, seed=seed)
    rules = LabelingSettings(method=method, min_move_pct=0.001)  # type: ignore[arg-type]
    labels = DynamicLabeler(rules).label(bars)
    bundle = a_bundle(symbol="ETH/USDC", model_key="ETH_USDC", labeling={"method": method, "horizon_bars": HORIZON})
    watch = SymbolWatch.of(ETH, bundle, DriftSettings(), max_gap_bars=3)
    places = np.flatnonzero(labels.present)[:: 2 * HORIZON]
    for place in places.tolist():
        watch.take(a_record(int(bars.close_time[place]), float(labels.width[place])))
    outcomes = watch.settle(bars, int(bars.close_time[-1]))
    assert [outcome.label for outcome in outcomes] == labels.label[places].tolist()


def columns_reference(window: int) -> dict[str, FloatArray]:
    return column_arrays(np.random.default_rng(9).normal(size=(4000, len(COLUMNS))), window=window)


def compared(tmp_path: Path, shift: float, **drift: object) -> Mapping[str, object]:
    world = DriftWorld(tmp_path, {ETH: columns_reference(64)}, **drift)
    world.scan(50)
    watch = world.monitor._watches[ETH]
    assert watch.columns is not None
    for values in np.random.default_rng(4).normal(size=(64, len(COLUMNS))):
        watch.columns._rows.append(values + np.array([shift] + [0.0] * (len(COLUMNS) - 1)))
    world.monitor._compare(watch)
    status: Mapping[str, object] = json.loads(json.dumps(world.monitor.status(world.now)))["symbols"]["ETH/USDC"]
    return status


def test_a_column_that_strays_is_named_and_stops_nothing(tmp_path: Path) -> None:
    status = compared(tmp_path, 2.0)
    assert status["detected"] is False
    scores, worst = status["scores"], status["worst_features"]
    assert isinstance(scores, dict)
    assert isinstance(worst, list)
    assert (scores["psi"]["beyond"], scores["ks"]["beyond"]) == (True, True)
    assert worst[0]["name"] == COLUMNS[0]
    assert worst[0]["psi"] > worst[0]["psi_limit"] >= 0.25


def test_usual_columns_are_not_beyond(tmp_path: Path) -> None:
    scores = compared(tmp_path, 0.0)["scores"]
    assert isinstance(scores, dict)
    assert (scores["psi"]["beyond"], scores["ks"]["beyond"]) == (False, False)


@pytest.mark.parametrize(
    ("key", "value", "test"),
    [("psi_threshold", 90.0, "psi"), ("ks_threshold", 0.99, "ks"), ("p_value_threshold", 1e-30, "ks")],
)
def test_the_configured_thresholds_are_floors(tmp_path: Path, key: str, value: float, test: str) -> None:
    scores = compared(tmp_path, 2.0, **{key: value})["scores"]
    assert isinstance(scores, dict)
    assert scores[test]["beyond"] is False


@pytest.mark.parametrize(
    ("factor", "beyond"), [(1.0, False), (1.79, False), (1.81, True), (1 / 1.79, False), (1 / 1.81, True)]
)
def test_wilder_or_calmer_bars_are_beyond_just_outside_the_limit(factor: float, beyond: bool) -> None:
    rules = DriftSettings()
    base = some_bars(rules.baseline_window + rules.recent_window + 1)
    steps = np.tile([0.001, -0.001], 200)[: len(base) - 1]
    steps[-rules.recent_window :] *= factor
    close = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(steps)]))
    bars = base.take(np.arange(len(base)))
    object.__setattr__(bars, "close", close)
    score = volatility_score(bars, rules)
    assert score is not None
    assert (score.beyond, score.limit) == (beyond, 1.8)
    assert volatility_score(bars.rows(1, len(bars)), rules) is None


@pytest.mark.parametrize(
    "content",
    [None, 7, "text", [], {}, {"enabled": False, "symbols": {"ETH/USDC": {}}}, {"enabled": True, "symbols": 3},
     {"enabled": True, "watched_since": "never", "symbols": {"ETH/USDC": {"detected": True, "since": "x"}}}],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_no_record(content: object) -> None:
    kept = read_kept(content)
    assert (kept.watched_since_ms, kept.alarms, kept.market_since_ms) == (None, {}, None)


def test_the_record_says_since_when_by_which_chart_and_how_far(world: DriftWorld) -> None:
    world.scan(TO_ALARM)
    record = world.monitor.status(world.now)
    kept = read_kept(json.loads(json.dumps(record)))
    assert kept.alarms[ETH] == (1, world.monitor.alarms[ETH])
    assert kept.watched_since_ms == START_MS + 401 * BAR_MS
    assert record["alarming"] == ["ETH/USDC"]
    assert record["updated_at"] == iso(from_ms(to_ms(world.now)))
