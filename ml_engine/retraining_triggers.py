"""Which symbols are to be trained now, why, and why the others are not. Pure; loads no learning library.

Trigger names are those users see in `training_status`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import NormalDist

from bn_ml.domain.market import Symbol, iso
from bn_ml.settings import Settings

STARTUP, PERIODIC, MISSING, DRIFT, DEGRADATION = "startup", "periodic", "missing_models", "drift", "degradation"
MANUAL, AUTO_LOOP = "manual_cli", "auto_loop"

# The recipe of a first bundle, made in a hurry.
QUICK = "quick"
# A challenge is decided on this many days of bars after the champion's last label.
DAYS_TO_COMPARE = 5
# The newest labels need bars that have not come yet: a challenge is asked for this much later.
UNLABELLED = timedelta(days=1)
# So many symbols drifting within a day are one event of the market, not so many of their own.
EVENT_SHARE = 0.2
EVENT_SPAN = timedelta(days=1)
LEAST_LOSS_DAYS = 5
LEAST_TRADES = 20
CHANCE = 0.05
LONGEST_WAIT = timedelta(hours=48)
SHORTEST_RETRY = timedelta(minutes=5)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says about when to train; `worse_by` is a fraction of the bundle's own baseline."""

    train_missing: bool
    enabled: bool
    interval: timedelta
    max_age: timedelta
    on_drift: bool
    worse_by: float
    cooldown: timedelta
    missing_batch: int
    batch: int
    challenges: bool

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """Read the policy from the settings."""
        universe, retraining = settings.universe, settings.model.retraining
        return cls(
            train_missing=universe.auto_train_missing,
            enabled=retraining.enabled,
            interval=timedelta(hours=retraining.interval_hours),
            max_age=timedelta(hours=retraining.max_model_age_hours),
            on_drift=retraining.on_drift,
            worse_by=retraining.degradation_trigger_pct,
            cooldown=timedelta(hours=retraining.cooldown_hours),
            missing_batch=universe.auto_train_batch,
            batch=retraining.batch_size,
            challenges=retraining.champion_challenger,
        )


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a bundle promised on its report block: log-loss over that of the class shares, share of winning trades."""

    loss_ratio: float | None = None
    win_rate: float | None = None


@dataclass(frozen=True, slots=True)
class LiveRecord:
    """How a bundle did since it serves: log-loss over that of its class shares in `loss_days` days, closed trades."""

    loss_ratio: float | None = None
    loss_days: float = 0.0
    trades: int = 0
    wins: int = 0


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """What is known of one symbol; `trained_at` is None without a bundle that serves.

    A `provisional` bundle was made in a hurry for a first start.
    """

    symbol: Symbol
    trained_at: datetime | None = None
    label_end: datetime | None = None
    baseline: Baseline = Baseline()
    live: LiveRecord = LiveRecord()
    drifting_since: datetime | None = None
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last time a symbol was tried, how it ended (empty while unknown), and the failures in a row up to then."""

    at: datetime
    result: str = ""
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A symbol that wants training: the trigger, its rank among triggers (0 first), order within it, and the reason."""

    symbol: Symbol
    trigger: str
    rank: int
    order: float
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The next run (empty when nothing is due) and, for symbols that want training but wait, what for."""

    trigger: str = ""
    batch: tuple[Symbol, ...] = ()
    market_event: bool = False
    queued: tuple[Due, ...] = ()
    waiting: Mapping[Symbol, str] = field(default_factory=dict)


def plan(
    policy: Policy, facts: Sequence[SymbolFacts], attempts: Mapping[Symbol, Attempt], now: datetime, *, first: bool
) -> Plan:
    """Choose the next run; `facts` come in the order symbols without a bundle are taken.

    Missing bundles go first, then a drift of the whole market as one batch, then single symbols: drift, degradation,
    age, schedule, within each the oldest first. On the `first` look after a start, age and schedule are called startup.
    """
    wanted = [due for fact in facts if (due := _wanted(policy, fact, attempts.get(fact.symbol), now)) is not None]
    waiting = _switched_off(policy, facts, wanted)
    ready = []
    for due in wanted:
        until = rests_until(policy, attempts.get(due.symbol), now, trigger=due.trigger)
        if until is None:
            ready.append(due)
        else:
            waiting[due.symbol] = f"{due.trigger}: {_last(attempts[due.symbol])}, rests until {iso(until)}"
    queued = sorted(ready, key=lambda due: (due.rank, due.order))
    trigger, batch, event = _next_batch(policy, queued, _is_event(facts, now))
    waiting |= {due.symbol: f"{due.trigger}: queued, {due.why}" for due in queued if due.symbol not in batch}
    if first and trigger == PERIODIC:
        trigger = STARTUP
    return Plan(trigger, batch, event, tuple(queued), waiting)


def rests_until(policy: Policy, attempt: Attempt | None, now: datetime, *, trigger: str = "") -> datetime | None:
    """Give until when a symbol rests after its last attempt, None when it may be tried.

    A failure doubles the rest each time; a challenger that lost is not sent again before the scheduled interval. An
    attempt later than now was made by another clock and binds nobody.
    """
    if attempt is None or attempt.at > now:
        return None
    rest = policy.cooldown
    if attempt.failures:
        rest = max(rest, SHORTEST_RETRY)
        rest = min(rest * 2 ** min(attempt.failures - 1, 16), max(LONGEST_WAIT, rest))
    elif attempt.result == "kept_champion" and trigger != MISSING:
        rest = max(rest, policy.interval)
    until = attempt.at + rest
    return until if until > now else None


def degradation(baseline: Baseline, live: LiveRecord, worse_by: float) -> str:
    """Say how a bundle does worse than it promised, empty when it does not or too little is known.

    Losses are taken over those of the class shares, so that a wilder or calmer market alone is no loss of quality; a
    win rate counts only where chance would rarely be so unkind.
    """
    found = []
    if baseline.loss_ratio is not None and live.loss_ratio is not None and live.loss_days >= LEAST_LOSS_DAYS:
        limit = baseline.loss_ratio * (1.0 + worse_by)
        if live.loss_ratio > limit:
            found.append(f"log-loss {live.loss_ratio:.3f} of the class shares', promised {baseline.loss_ratio:.3f}")
    if baseline.win_rate is not None and live.trades >= LEAST_TRADES:
        rate = live.wins / live.trades
        rare = _chance_of_at_most(live.wins, live.trades, baseline.win_rate) < CHANCE
        if rate < baseline.win_rate * (1.0 - worse_by) and rare:
            found.append(f"{rate:.0%} of {live.trades} trades won, promised {baseline.win_rate:.0%}")
    return "; ".join(found)


def _wanted(policy: Policy, fact: SymbolFacts, attempt: Attempt | None, now: datetime) -> Due | None:
    if fact.trained_at is None:
        return Due(fact.symbol, MISSING, 0, 0.0, "no usable bundle") if policy.train_missing else None
    if not policy.enabled:
        return None
    if policy.on_drift and fact.drifting_since is not None:
        since = fact.drifting_since
        return Due(fact.symbol, DRIFT, 1, since.timestamp(), f"drift since {iso(since)}")
    worse = degradation(fact.baseline, fact.live, policy.worse_by)
    if worse:
        return Due(fact.symbol, DEGRADATION, 2, fact.trained_at.timestamp(), worse)
    age = now - fact.trained_at
    if age > policy.max_age:
        return Due(fact.symbol, PERIODIC, 3, fact.trained_at.timestamp(), f"{age / _HOUR:.0f} h old")
    if fact.provisional:
        return Due(fact.symbol, PERIODIC, 4, fact.trained_at.timestamp(), "a quick first bundle")
    if _scheduled(policy, fact, attempt, now):
        return Due(fact.symbol, PERIODIC, 4, fact.trained_at.timestamp(), "scheduled")
    return None


def _scheduled(policy: Policy, fact: SymbolFacts, attempt: Attempt | None, now: datetime) -> bool:
    """Whether the interval is over since the last training and a challenge could be decided."""
    last = fact.trained_at or now
    if attempt is not None and last < attempt.at <= now:
        last = attempt.at
    if now - last < policy.interval:
        return False
    if not policy.challenges or fact.label_end is None:
        return True
    return now - fact.label_end >= timedelta(days=DAYS_TO_COMPARE) + UNLABELLED


def _switched_off(policy: Policy, facts: Sequence[SymbolFacts], wanted: Sequence[Due]) -> dict[Symbol, str]:
    """Give the symbols that would be trained were it not for the configuration."""
    asked = {due.symbol for due in wanted}
    waiting = {}
    for fact in facts:
        if fact.symbol in asked:
            continue
        if fact.trained_at is None and not policy.train_missing:
            waiting[fact.symbol] = "missing_models: universe.auto_train_missing is off"
        elif fact.drifting_since is not None:
            key = "model.retraining.on_drift" if policy.enabled else "model.retraining.enabled"
            waiting[fact.symbol] = f"drift: {key} is off"
    return waiting


def _is_event(facts: Sequence[SymbolFacts], now: datetime) -> bool:
    lately = [fact for fact in facts if fact.drifting_since is not None and now - fact.drifting_since <= EVENT_SPAN]
    return len(lately) > 1 and len(lately) > EVENT_SHARE * len(facts)


def _next_batch(policy: Policy, queued: Sequence[Due], event: bool) -> tuple[str, tuple[Symbol, ...], bool]:
    if not queued:
        return "", (), False
    first = queued[0].trigger
    if first == MISSING:
        missing = [due.symbol for due in queued if due.trigger == MISSING]
        return MISSING, tuple(missing[: policy.missing_batch]), False
    if first == DRIFT and event:
        return DRIFT, tuple(due.symbol for due in queued if due.trigger == DRIFT), True
    return first, tuple(due.symbol for due in queued[: policy.batch]), False


def _last(attempt: Attempt) -> str:
    if attempt.failures:
        return f"failed {attempt.failures} times in a row" if attempt.failures > 1 else "failed"
    return {"kept_champion": "the champion was kept", "": "tried"}.get(attempt.result, attempt.result)


def _chance_of_at_most(wins: int, trades: int, rate: float) -> float:
    """Give P(at most so many wins) of a binomial count, by the normal approximation with continuity correction."""
    deviation = math.sqrt(trades * rate * (1.0 - rate))
    if deviation == 0.0:
        return 0.0 if wins < trades * rate else 1.0
    return NormalDist().cdf((wins + 0.5 - trades * rate) / deviation)
