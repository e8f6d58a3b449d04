"""Breakers: the rules that stop all entries, and the causes that change the control state by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from bn_ml.domain.account import AccountState, ControlState
from bn_ml.domain.signals import MarketMood, MarketRegime, ScanReport
from bn_ml.settings import Settings
from trader.portfolio import historical_var

MAX_REFUSALS_IN_ROW = 5
MAX_PRICE_AGE_S = 30.0
MAX_CLOCK_OFFSET_S = 1.0
MAX_ORDERS_PER_MIN = 10
MAX_OPEN_POSITIONS = 50
MAX_NOTIONAL_PER_DAY = 1_000_000.0
"""The last three are hard caps: settings can only lower them. The notional is in the quote asset."""


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """One breaker: what it measures against its limit, whether it stops entries, and until when.

    `clears_at` is None while unknown or when only an operator clears it. `demands` is the control state its tripping
    asks for; NORMAL means that entries are refused and nothing else changes.
    """

    name: str
    value: float
    limit: float
    tripped: bool
    clears_at: datetime | None = None
    demands: ControlState = ControlState.NORMAL

    @property
    def distance(self) -> float:
        """What is left until the limit, 0 when reached."""
        return max(self.limit - self.value, 0.0)


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the bot's surroundings are: what the loop counts and measures besides the account.

    `price_age_s` is the age of the newest price of anything watched. `clock_offset_s` is None while unknown.
    `banned_until` is the end of an exchange ban. The flags are broken invariants.
    """

    orders_last_minute: int = 0
    notional_today: float = 0.0
    refusals_in_row: int = 0
    price_age_s: float = 0.0
    clock_offset_s: float | None = 0.0
    banned_until: datetime | None = None
    disk_free_mb: float = float("inf")
    restarts_spent: bool = False
    missing_stop: bool = False
    overfilled: bool = False
    unexplained_balance: bool = False
    orphan_order: bool = False
    books_restored: bool = False


def entry_breakers(
    account: AccountState, scan: ScanReport, settings: Settings, *, now: datetime, equity_returns: Sequence[float] = ()
) -> tuple[BreakerStatus, ...]:
    """Give the state of every breaker that stops entries.

    `equity_returns` are returns of equity per UTC day within the value-at-risk window, oldest first.
    """
    return (
        *_loss_breakers(account, settings, now),
        _var(equity_returns, settings),
        _consecutive_losses(account, settings, now),
        _volatility(scan, settings),
        _drift(scan, settings),
        _market(scan, settings),
    )


def control_causes(conditions: Conditions, settings: Settings, *, now: datetime) -> tuple[BreakerStatus, ...]:
    """Give every cause outside the account that demands REDUCE_ONLY or HALTED, tripped or not."""
    orders = settings.exchange.orders
    reduce = ControlState.REDUCE_ONLY
    banned = conditions.banned_until is not None and conditions.banned_until > now
    offset = conditions.clock_offset_s
    rate_limit = min(orders.max_orders_per_min, MAX_ORDERS_PER_MIN)
    notional_limit = min(orders.max_notional_per_day_usdt, MAX_NOTIONAL_PER_DAY)
    disk_floor = float(settings.storage.min_free_disk_mb)
    return (
        _above("stale_prices", conditions.price_age_s, MAX_PRICE_AGE_S, reduce),
        BreakerStatus("api_ban", float(banned), 0.0, banned, conditions.banned_until if banned else None, reduce),
        BreakerStatus(
            "clock",
            MAX_CLOCK_OFFSET_S if offset is None else abs(offset),
            MAX_CLOCK_OFFSET_S,
            offset is None or abs(offset) >= MAX_CLOCK_OFFSET_S,
            demands=reduce,
        ),
        BreakerStatus(
            "disk", conditions.disk_free_mb, disk_floor, conditions.disk_free_mb < disk_floor, demands=reduce
        ),
        BreakerStatus(
            "rejected_orders",
            float(conditions.refusals_in_row),
            float(MAX_REFUSALS_IN_ROW),
            conditions.refusals_in_row >= MAX_REFUSALS_IN_ROW,
            demands=reduce,
        ),
        _flag("worker_restarts", conditions.restarts_spent, reduce),
        _flag("missing_stop", conditions.missing_stop, reduce),
        _above("order_rate", float(conditions.orders_last_minute), float(rate_limit), ControlState.HALTED),
        _above("notional_per_day", conditions.notional_today, notional_limit, ControlState.HALTED),
        _flag("overfilled", conditions.overfilled, ControlState.HALTED),
        _flag("unexplained_balance", conditions.unexplained_balance, ControlState.HALTED),
        _flag("orphan_order", conditions.orphan_order, ControlState.HALTED),
        _flag("books_restored", conditions.books_restored, ControlState.HALTED),
    )


def demanded_state(statuses: Sequence[BreakerStatus]) -> tuple[ControlState, str]:
    """Give the tightest control state that tripped statuses demand and the names of those that demand it."""
    for state in (ControlState.HALTED, ControlState.REDUCE_ONLY):
        names = [status.name for status in statuses if status.tripped and status.demands is state]
        if names:
            return state, ", ".join(names)
    return ControlState.NORMAL, ""


def market_block(mood: MarketMood, settings: Settings) -> tuple[float, float, bool]:
    """Give value, limit and verdict of the market's mood: bearish or risk-off with confidence, or a score at its floor.

    The value is the confidence of a bearish mood against its least blocking one, or the depth of the score below zero
    against that of the floor when the score decides.
    """
    limit = _mood_confidence(mood, settings)
    if mood.regime in (MarketRegime.DISABLED, MarketRegime.INSUFFICIENT_DATA):
        return 0.0, limit, False
    floor = score_floor(settings)
    if mood.score <= floor:
        return -mood.score, -floor, True
    on_risk_off = settings.risk.circuit_breakers.market_intelligence_block_on_risk_off
    bearish = mood.signal == "BEARISH" or (mood.regime is MarketRegime.RISK_OFF and on_risk_off)
    value = mood.confidence if bearish else 0.0
    return value, limit, bearish and value >= limit


def score_floor(settings: Settings) -> float:
    """Give the market score at which entries stop: the configured one or the profile's."""
    configured = settings.risk.circuit_breakers.market_intelligence_score_block_threshold
    return settings.santrade_intelligence.numbers().score_floor if configured is None else configured


def next_day(now: datetime) -> datetime:
    """Give the next UTC midnight."""
    return _midnight(now) + timedelta(days=1)


def next_week(now: datetime) -> datetime:
    """Give the UTC midnight that begins the next ISO week."""
    return _midnight(now) + timedelta(days=7 - now.weekday())


def _midnight(now: datetime) -> datetime:
    return datetime(now.year, now.month, now.day, tzinfo=timezone.utc)


def _loss_breakers(account: AccountState, settings: Settings, now: datetime) -> tuple[BreakerStatus, ...]:
    risk = settings.risk
    daily, weekly = -account.period_change_frac(account.day), -account.period_change_frac(account.week)
    drawdown = account.drawdown_frac
    return (
        BreakerStatus(
            "breaker_daily_loss", daily, risk.max_loss_per_day, daily >= risk.max_loss_per_day, next_day(now)
        ),
        BreakerStatus(
            "breaker_weekly_loss", weekly, risk.max_loss_per_week, weekly >= risk.max_loss_per_week, next_week(now)
        ),
        BreakerStatus(
            "breaker_drawdown",
            drawdown,
            risk.max_drawdown_pct,
            drawdown >= risk.max_drawdown_pct,
            demands=ControlState.HALTED,
        ),
    )


def _var(equity_returns: Sequence[float], settings: Settings) -> BreakerStatus:
    risk = settings.risk
    value = historical_var(equity_returns[-risk.var_window_days :], risk.var_confidence)
    return BreakerStatus("breaker_var", value, risk.max_var_pct, value >= risk.max_var_pct)


def _consecutive_losses(account: AccountState, settings: Settings, now: datetime) -> BreakerStatus:
    statistics = account.statistics
    until = statistics.loss_pause_until
    paused = until is not None and now < until
    return BreakerStatus(
        "breaker_consecutive_losses",
        float(statistics.consecutive_losses),
        float(settings.risk.circuit_breakers.max_consecutive_losses),
        paused,
        until if paused else None,
    )


def _volatility(scan: ScanReport, settings: Settings) -> BreakerStatus:
    limit = settings.risk.circuit_breakers.volatility_spike_ratio
    return _above("breaker_volatility", scan.volatility_ratio, limit, ControlState.NORMAL)


def _drift(scan: ScanReport, settings: Settings) -> BreakerStatus:
    tripped = scan.drifted and settings.risk.circuit_breakers.drift_block_enabled
    return BreakerStatus("breaker_drift", float(scan.drifted), 0.0, tripped)


def _market(scan: ScanReport, settings: Settings) -> BreakerStatus:
    value, limit, blocks = market_block(scan.mood, settings)
    enabled = settings.risk.circuit_breakers.market_intelligence_block_enabled
    return BreakerStatus("breaker_market", value, limit, blocks and enabled)


def _mood_confidence(mood: MarketMood, settings: Settings) -> float:
    rules = settings.risk.circuit_breakers
    profiles = rules.market_intelligence_min_confidence_by_profile
    match mood.profile:
        case "aggressive":
            return profiles.aggressive
        case "neutral":
            return profiles.neutral
        case "defensive":
            return profiles.defensive
        case _:
            return rules.market_intelligence_min_confidence


def _above(name: str, value: float, limit: float, demands: ControlState) -> BreakerStatus:
    return BreakerStatus(name, value, limit, value > limit, demands=demands)


def _flag(name: str, raised: bool, demands: ControlState) -> BreakerStatus:
    return BreakerStatus(name, float(raised), 0.0, raised, demands=demands)
