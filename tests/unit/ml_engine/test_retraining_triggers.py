"""What is trained next, why, and why the rest waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from ml_engine.retraining_triggers import Attempt, Baseline, LiveRecord, Plan, Policy, SymbolFacts, degradation, plan

NOW = datetime(2024, 5, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
POLICY = Policy.of(Settings())
BTC, ETH, SOL = Symbol("BTC/USDC"), Symbol("ETH/USDC"), Symbol("SOL/USDC")
PROMISED = Baseline(loss_ratio=0.95, win_rate=0.5)


def young(symbol: Symbol = BTC, **changes: object) -> SymbolFacts:
    """A symbol with a bundle of this morning."""
    trained = NOW - 10 * HOUR
    return replace(SymbolFacts(symbol, trained, trained, PROMISED), **changes)  # type: ignore[arg-type]


def aged(hours: float, symbol: Symbol = BTC, **changes: object) -> SymbolFacts:
    trained = NOW - hours * HOUR
    return young(symbol, trained_at=trained, label_end=trained, **changes)


def next_run(
    *facts: SymbolFacts, policy: Policy = POLICY, attempts: dict[Symbol, Attempt] | None = None, first: bool = False
) -> Plan:
    return plan(policy, facts, attempts or {}, NOW, first=first)


def test_young_bundles_are_left_alone() -> None:
    assert next_run(young()) == Plan()


def test_a_missing_bundle_goes_before_everything_else() -> None:
    found = next_run(aged(1000), SymbolFacts(ETH), young(SOL, drifting_since=NOW - HOUR))
    assert (found.trigger, found.batch) == ("missing_models", (ETH,))
    assert found.waiting[SOL].startswith("drift: queued")
    assert found.waiting[BTC].startswith("periodic: queued")


@pytest.mark.parametrize(("hours", "due"), [(167.9, False), (168.0, False), (168.1, True)])
def test_age_alone_asks_for_training_beyond_its_limit(hours: float, due: bool) -> None:
    unscheduled = replace(POLICY, interval=timedelta(hours=720))
    assert (next_run(aged(hours), policy=unscheduled).batch == (BTC,)) is due


@pytest.mark.parametrize(("hours", "due"), [(23.9, False), (24.0, True), (24.1, True)])
def test_the_schedule_asks_for_training_once_its_interval_is_over(hours: float, due: bool) -> None:
    unopposed = replace(POLICY, challenges=False)
    assert (next_run(aged(hours), policy=unopposed).trigger == "periodic") is due


@pytest.mark.parametrize(("hours", "due"), [(143.9, False), (144.0, True)])
def test_the_schedule_waits_until_a_challenge_could_be_decided(hours: float, due: bool) -> None:
    assert (next_run(aged(hours)).batch == (BTC,)) is due


def test_the_schedule_counts_from_the_last_attempt() -> None:
    tried = {BTC: Attempt(NOW - 23 * HOUR, "trained")}
    assert next_run(aged(150), attempts=tried).batch == ()
    assert next_run(aged(150), attempts={BTC: Attempt(NOW - 24 * HOUR, "trained")}).batch == (BTC,)


def test_a_quick_first_bundle_is_followed_by_a_full_one_after_the_cooldown() -> None:
    hurried = young(provisional=True)
    assert next_run(hurried, attempts={BTC: Attempt(NOW - 5 * HOUR, "trained")}).batch == ()
    assert next_run(hurried, attempts={BTC: Attempt(NOW - 6 * HOUR, "trained")}).trigger == "periodic"


def test_what_is_due_at_the_first_look_is_due_for_the_start() -> None:
    assert next_run(aged(200), first=True).trigger == "startup"
    assert next_run(aged(200)).trigger == "periodic"
    assert next_run(SymbolFacts(BTC), first=True).trigger == "missing_models"


def test_a_drifting_symbol_is_trained_however_young_its_bundle() -> None:
    assert next_run(young(drifting_since=NOW - HOUR)).trigger == "drift"


def test_drift_that_may_not_retrain_says_so() -> None:
    drifting = young(drifting_since=NOW - HOUR)
    off = next_run(drifting, policy=replace(POLICY, on_drift=False))
    assert (off.batch, off.waiting) == ((), {BTC: "drift: model.retraining.on_drift is off"})
    disabled = next_run(drifting, policy=replace(POLICY, enabled=False))
    assert disabled.waiting == {BTC: "drift: model.retraining.enabled is off"}


def names(count: int) -> list[Symbol]:
    return [Symbol(f"S{place:03d}/USDC") for place in range(count)]


def drifters(drifting: int, of: int, *, hours_ago: float = 1) -> list[SymbolFacts]:
    since = NOW - hours_ago * HOUR
    return [young(name, drifting_since=since if place < drifting else None) for place, name in enumerate(names(of))]


@pytest.mark.parametrize(("drifting", "event"), [(24, False), (25, True), (120, True)])
def test_more_than_a_fifth_of_the_symbols_drifting_is_one_event_and_one_batch(drifting: int, event: bool) -> None:
    found = next_run(*drifters(drifting, 120))
    assert found.market_event is event
    assert len(found.batch) == (drifting if event else POLICY.batch)
    assert found.trigger == "drift"


def test_alarms_older_than_a_day_are_no_event() -> None:
    assert not next_run(*drifters(60, 120, hours_ago=24.1)).market_event
    assert next_run(*drifters(60, 120, hours_ago=24)).market_event


def test_a_single_alarm_is_no_event_of_the_market() -> None:
    found = next_run(*drifters(1, 3))
    assert (found.market_event, len(found.batch)) == (False, 1)


def test_batches_are_taken_by_urgency_then_age_and_no_larger_than_allowed() -> None:
    worse = LiveRecord(loss_ratio=1.2, loss_days=6)
    facts = [aged(200 + place, name) for place, name in enumerate(names(6))]
    found = next_run(young(BTC, live=worse), *facts, young(SOL, drifting_since=NOW - HOUR))
    assert found.trigger == "drift"
    assert found.batch == (SOL, BTC, *reversed(names(6)[3:]))
    assert len(found.batch) == POLICY.batch


@pytest.mark.parametrize(("ratio", "due"), [(1.0, False), (0.95 * 1.15, False), (0.95 * 1.15 + 1e-9, True)])
def test_a_loss_beyond_the_promise_is_a_degradation(ratio: float, due: bool) -> None:
    record = LiveRecord(loss_ratio=ratio, loss_days=5)
    assert (next_run(young(live=record)).trigger == "degradation") is due


def test_a_loss_of_too_few_days_proves_nothing() -> None:
    assert degradation(PROMISED, LiveRecord(loss_ratio=3.0, loss_days=4.99), 0.15) == ""


@pytest.mark.parametrize(("wins", "trades", "due"), [(2, 19, False), (2, 20, True), (6, 20, False), (5, 20, True)])
def test_a_win_rate_counts_from_twenty_trades_and_beyond_chance(wins: int, trades: int, due: bool) -> None:
    found = degradation(PROMISED, LiveRecord(trades=trades, wins=wins), 0.15)
    assert bool(found) is due


def test_a_promise_nobody_made_is_not_broken() -> None:
    assert degradation(Baseline(), LiveRecord(loss_ratio=9.0, loss_days=9, trades=99, wins=0), 0.15) == ""


@pytest.mark.parametrize(
    ("result", "failures", "rest_hours"),
    [("trained", 0, 6), ("", 0, 6), ("failed", 1, 6), ("failed", 2, 12), ("failed", 3, 24), ("failed", 9, 48),
     ("kept_champion", 0, 24)],
)  # fmt: skip
def test_a_symbol_rests_after_an_attempt_and_longer_after_each_failure(
    result: str, failures: int, rest_hours: float
) -> None:
    drifting = young(drifting_since=NOW - HOUR)
    for early, waits in ((SECOND, True), (timedelta(0), False)):
        attempts = {BTC: Attempt(NOW - rest_hours * HOUR + early, result, failures)}
        found = next_run(drifting, attempts=attempts)
        assert (found.batch == ()) is waits
        assert ("rests until" in found.waiting.get(BTC, "")) is waits


def test_without_cooldown_a_failure_still_rests_a_little() -> None:
    restless = replace(POLICY, cooldown=timedelta(0))
    for seconds, due in ((299, False), (300, True)):
        attempts = {BTC: Attempt(NOW - seconds * SECOND, "failed", 1)}
        assert (next_run(SymbolFacts(BTC), policy=restless, attempts=attempts).batch == (BTC,)) is due


def test_an_attempt_of_a_clock_that_runs_ahead_binds_nobody() -> None:
    assert next_run(SymbolFacts(BTC), attempts={BTC: Attempt(NOW + HOUR, "failed", 3)}).batch == (BTC,)


def test_a_missing_bundle_is_not_trained_when_so_configured() -> None:
    found = next_run(SymbolFacts(BTC), policy=replace(POLICY, train_missing=False))
    assert (found.batch, found.waiting) == ((), {BTC: "missing_models: universe.auto_train_missing is off"})


def test_without_retraining_only_missing_bundles_are_trained() -> None:
    off = replace(POLICY, enabled=False)
    assert next_run(aged(1000), policy=off).batch == ()
    assert next_run(SymbolFacts(BTC), policy=off).batch == (BTC,)


@given(
    ages=st.lists(st.one_of(st.none(), st.floats(0, 2000)), max_size=30),
    drift=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_a_symbol_is_in_the_batch_or_waits_or_wants_nothing(ages: list[float | None], drift: list[bool]) -> None:
    facts = [
        SymbolFacts(name) if hours is None else aged(hours, name, drifting_since=NOW - HOUR if alarm else None)
        for name, hours, alarm in zip(names(30), ages, drift, strict=False)
    ]
    found = next_run(*facts)
    assert len(set(found.batch)) == len(found.batch)
    assert not set(found.batch) & set(found.waiting)
    assert {due.symbol for due in found.queued} <= set(found.batch) | set(found.waiting)
    assert bool(found.batch) == bool(found.queued)
