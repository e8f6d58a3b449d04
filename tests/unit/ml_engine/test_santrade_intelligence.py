"""The market's mood: regimes, thresholds, learning only from what has passed, and a restart that changes nothing."""

from __future__ import annotations

import math
import pickle
from datetime import timedelta
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.domain.signals import MarketRegime
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from ml_engine.mood_snapshot import MoodSnapshot
from ml_engine.outcome_memory import BULLISH, NEUTRAL, OutcomeMemory
from ml_engine.santrade_intelligence import SanTradeIntelligence, changed, mood_of
from ml_engine.santrade_state import IntelligenceState, StateFile
from ml_engine.scan_figures import INPUTS, figures_of
from tests.fakes.mood_builders import START, STEP, SYMBOLS, a_scan, a_walk, an_item, closes_until, unknown_item

BULL = {"buy": 0.5, "sell": 0.1, "momentum": 9.0, "technical": 9.0}
BEAR = {"buy": 0.1, "sell": 0.5, "momentum": 1.0, "technical": 1.0}
WALK = a_walk(4_000)


def an_intelligence(state: IntelligenceState | None = None, **keys: object) -> SanTradeIntelligence:
    return SanTradeIntelligence({"santrade_intelligence": keys}, state)


def remembering(outcome: int, count: int = 200) -> IntelligenceState:
    """A state that has seen one outcome after every score."""
    state = IntelligenceState.fresh(0.0005, INPUTS)
    for number in range(count):
        state.memory.take(number / count * 2.0 - 1.0, outcome, None)
    return state


def run(mind: SanTradeIntelligence, scans: int, first: int = 0) -> list[MoodSnapshot]:
    """Scan every bar with leans that follow a seeded walk."""
    shown = []
    for number in range(first, first + scans):
        at = START + number * STEP
        lean = math.sin(number / 7.0)
        scan = a_scan(at=at, buy=0.2 + 0.1 * lean, sell=0.2 - 0.1 * lean, momentum=5 + 4 * lean, technical=5 + 2 * lean)
        shown.append(mind.observe(scan, closes_until(at, WALK[: 1_000 + number])))
    return shown


def test_works_with_seven_symbols_though_the_profile_wants_twelve() -> None:
    snapshot = an_intelligence().observe(a_scan(), closes_until(START, WALK[:300]))
    assert snapshot.regime is MarketRegime.NEUTRAL
    assert snapshot.figures.total == len(snapshot.figures.contributing) == 7


def test_too_few_symbols_that_speak_are_insufficient_data() -> None:
    items = (*(an_item(symbol) for symbol in SYMBOLS[:6]), unknown_item(SYMBOLS[6]))
    snapshot = an_intelligence().observe(a_scan(items), None)
    assert snapshot.regime is MarketRegime.INSUFFICIENT_DATA
    assert mood_of(snapshot).confidence == 0.0
    assert an_intelligence(min_pairs=6).observe(a_scan(items), None).regime is MarketRegime.NEUTRAL
    assert an_intelligence().observe(a_scan(()), None).regime is MarketRegime.INSUFFICIENT_DATA


def test_switched_off_says_so_and_learns_nothing() -> None:
    mind = an_intelligence(enabled=False)
    snapshot = mind.observe(a_scan(), None)
    assert snapshot.regime is MarketRegime.DISABLED
    assert snapshot.as_dict()["enabled"] is False
    assert mind.state.updates == 0


@pytest.mark.parametrize(("atr", "regime"), [(0.0139, MarketRegime.HIGH_RISK_NEUTRAL), (0.014, MarketRegime.RISK_OFF)])
def test_risk_off_begins_at_the_profiles_volatility(atr: float, regime: MarketRegime) -> None:
    assert an_intelligence().observe(a_scan(atr=atr), None).regime is regime


@pytest.mark.parametrize(("spread", "regime"), [(11.9, MarketRegime.HIGH_RISK_NEUTRAL), (12.1, MarketRegime.RISK_OFF)])
def test_risk_off_begins_at_the_profiles_spread(spread: float, regime: MarketRegime) -> None:
    scan = a_scan(depth=1e5, spread_bp=spread)
    assert an_intelligence().observe(scan, None).regime is regime


def test_risk_off_blocks_only_well_above_its_limit() -> None:
    at_limit = mood_of(an_intelligence().observe(a_scan(atr=0.014), None))
    far = mood_of(an_intelligence().observe(a_scan(atr=0.014 * 1.4), None))
    assert at_limit.confidence == pytest.approx(0.5)
    assert far.confidence == pytest.approx(0.9)


def test_a_direction_needs_known_outcomes_a_streak_and_confidence() -> None:
    ignorant = an_intelligence().observe(a_scan(**BULL), None)
    assert ignorant.smoothed_score > 0.3
    assert (ignorant.signal, ignorant.confidence) == ("NEUTRAL", 0.0)
    mind = an_intelligence(remembering(BULLISH))
    first = mind.observe(a_scan(**BULL), None)
    second = mind.observe(a_scan(at=START + STEP, **BULL), None)
    assert (first.signal, first.streak) == ("NEUTRAL", 1)
    assert (second.signal, second.streak) == ("BULLISH", 2)
    assert second.regime is MarketRegime.BULL_ACCELERATION
    assert second.confidence == 1.0
    assert changed(first, second)
    doubting = an_intelligence(remembering(NEUTRAL))
    doubting.observe(a_scan(**BULL), None)
    assert doubting.observe(a_scan(at=START + STEP, **BULL), None).signal == "NEUTRAL"


def test_a_bearish_market_is_pressure_and_its_score_only_tightens() -> None:
    mind = an_intelligence(remembering(0))
    mind.observe(a_scan(**BEAR), None)
    snapshot = mind.observe(a_scan(at=START + STEP, **BEAR), None)
    assert (snapshot.signal, snapshot.regime) == ("BEARISH", MarketRegime.BEAR_PRESSURE)
    assert snapshot.streak == -2
    assert mood_of(snapshot).score < -0.28


def test_a_sudden_turn_is_mean_reversion() -> None:
    mind = an_intelligence()
    for number in range(6):
        mind.observe(a_scan(at=START + number * STEP, **BULL), None)
    assert mind.observe(a_scan(at=START + 6 * STEP, **BEAR), None).regime is MarketRegime.MEAN_REVERSION


def test_the_same_scan_and_one_too_soon_change_nothing() -> None:
    mind = an_intelligence(runtime_interval_sec=300)
    first = mind.observe(a_scan(**BULL), None)
    assert mind.observe(a_scan(**BEAR), None) is first
    assert mind.observe(a_scan(at=START + timedelta(seconds=299), **BEAR), None) is first
    assert mind.observe(a_scan(at=START + timedelta(seconds=300), **BEAR), None) is not first


def test_the_order_of_symbols_changes_no_bit() -> None:
    items = [an_item(symbol, buy=0.1 + number / 50, depth=1e4 * (number + 1)) for number, symbol in enumerate(SYMBOLS)]
    straight, turned = (figures_of(a_scan(tuple(order))) for order in (items, items[::-1]))
    assert straight == turned


def test_an_unknown_depth_weighs_like_the_median_and_deeper_symbols_more() -> None:
    deep = an_item(SYMBOLS[0], depth=1e7, **BULL)
    thin = an_item(SYMBOLS[1], depth=1e2, **BEAR)
    assert figures_of(a_scan((deep, thin))).momentum > 0.3
    assert figures_of(a_scan((an_item(SYMBOLS[0], **BULL), an_item(SYMBOLS[1], **BEAR)))).momentum == 0.0


def test_outcomes_wait_for_their_bars_and_do_not_overlap() -> None:
    mind = an_intelligence()
    run(mind, 10)
    assert len(mind.state.waiting) == 1
    assert mind.state.memory.outcomes == []
    run(mind, 1, first=10)
    assert len(mind.state.memory.outcomes) == 1
    run(mind, 89, first=11)
    assert len(mind.state.memory.outcomes) == 9


def test_bars_that_have_not_closed_cannot_change_what_was_said() -> None:
    changed_future = WALK.copy()
    changed_future[1_050:] *= 3.0
    plain, poisoned = an_intelligence(), an_intelligence()
    for number in range(60):
        at = START + number * STEP
        seen = [mind.observe(a_scan(at=at, **BULL), closes_until(at, series[: 1_000 + number]))
                for mind, series in ((plain, WALK), (poisoned, changed_future))]  # fmt: skip
        if number <= 49:
            assert seen[0] == seen[1]


def test_the_model_speaks_only_while_it_beats_the_shares() -> None:
    mind = an_intelligence(min_samples_for_model=12)
    mind.state.scaler.needed = 20
    run(mind, 400)
    assert mind.model_ready
    assert len(mind.state.memory.gains) > 20
    mind.state.memory.gains = [-0.1] * 50
    assert not mind.model_speaks
    silent = run(mind, 1, first=400)[0]
    mind.state.memory.gains = [0.1 + number / 1000 for number in range(50)]
    assert mind.model_speaks
    heard = run(mind, 1, first=401)[0]
    assert not silent.model_speaks
    assert heard.model_speaks
    assert sum(heard.probabilities) == pytest.approx(1.0)


def test_a_restart_continues_the_same_sequence_bit_for_bit(tmp_path: Path) -> None:
    whole, cut = an_intelligence(), an_intelligence()
    whole.state.scaler.needed = cut.state.scaler.needed = 30
    expected = run(whole, 120)
    run(cut, 60)
    file = StateFile(tmp_path / "mood.joblib")
    file.save(cut.state)
    kept = file.load(0.0005, INPUTS)
    assert kept is not None
    again = an_intelligence(kept)
    assert run(again, 60, first=60) == expected[60:]
    assert again.state.to_plain() == whole.state.to_plain()


def test_the_state_file_opens_with_joblib_and_runs_nothing(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "mood.joblib")
    file.save(IntelligenceState.fresh(0.0005, INPUTS))
    assert joblib.load(file.path)["version"] == 1
    assert file.load(0.0005, INPUTS) is not None
    file.path.write_bytes(pickle.dumps({"version": 1, "model": Path}))
    with pytest.raises(StateError, match="does not belong"):
        file.load(0.0005, INPUTS)


@pytest.mark.parametrize("damage", [b"", b"not a pickle", b"\x80\x04N."])
def test_an_unreadable_state_is_an_error_and_can_be_set_aside(tmp_path: Path, damage: bytes) -> None:
    file = StateFile(tmp_path / "mood.joblib")
    assert file.load(0.0005, INPUTS) is None
    file.path.write_bytes(damage)
    with pytest.raises(StateError):
        file.load(0.0005, INPUTS)
    assert file.set_aside().read_bytes() == damage
    assert file.load(0.0005, INPUTS) is None


def test_a_state_of_another_alpha_is_refused(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "mood.joblib")
    file.save(IntelligenceState.fresh(0.0005, INPUTS))
    with pytest.raises(StateError, match="online_alpha"):
        file.load(0.01, INPUTS)


@pytest.mark.parametrize("profile", ["aggressive", "neutral", "defensive"])
def test_each_profile_reads_the_same_scan_by_its_own_numbers(profile: str) -> None:
    numbers = Settings.from_mapping({"santrade_intelligence": {"profile": profile}}).santrade_intelligence.numbers()
    snapshot = an_intelligence(profile=profile).observe(a_scan(**BULL), None)
    figures = snapshot.figures
    weights = (numbers.breadth_weight, numbers.momentum_weight, numbers.ml_weight, numbers.global_weight)
    parts = (figures.breadth, figures.momentum, figures.ml, figures.technical)
    assert snapshot.raw_score == pytest.approx(sum(weight * part for weight, part in zip(weights, parts, strict=True)))
    assert snapshot.profile == profile


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 10), st.floats(0, 0.05)), max_size=9),
    st.integers(0, 3),
)
def test_whatever_the_scan_the_snapshot_is_sound(rows: list[tuple[float, float, float, float]], streak: int) -> None:
    items = tuple(
        an_item(Symbol(f"S{number}/USDC"), buy=buy, sell=sell, momentum=momentum, atr=atr)
        for number, (buy, sell, momentum, atr) in enumerate(rows)
    )
    mind = an_intelligence()
    mind.state.streak = streak
    shown = mind.observe(a_scan(items), closes_until(START, WALK[:200])).as_dict()
    assert all(math.isfinite(value) for value in shown.values() if isinstance(value, float))
    assert -1.0 <= float(str(shown["market_score"])) <= 1.0
    assert 0.0 <= float(str(shown["index_value"])) <= 100.0
    assert shown["buy_ratio"] + shown["sell_ratio"] + shown["hold_ratio"] == pytest.approx(
        float(bool(shown["contributing_symbols"]))
    )  # type: ignore[operator]


def test_an_uninformed_model_never_gains_influence_on_noise() -> None:
    opened = 0
    for seed in range(12):
        mind = an_intelligence(min_samples_for_model=12)
        mind.state.scaler.needed = 20
        mind.state.memory = OutcomeMemory()
        walk = a_walk(3_000, seed=seed)
        generator = np.random.default_rng(seed)
        for number in range(0, 900, 10):
            at = START + number * STEP
            lean = float(generator.uniform(-1, 1))
            scan = a_scan(at=at, buy=0.2 + 0.1 * lean, sell=0.2 - 0.1 * lean, momentum=5 + 4 * lean)
            mind.observe(scan, closes_until(at, walk[: 1_000 + number]))
        opened += mind.model_speaks
    assert opened <= 3
