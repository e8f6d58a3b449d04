from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from risk_builders import DAY, NOW, WEEK, account, scan

from bn_ml.domain.account import AccountState, ControlState, TradeStatistics
from bn_ml.domain.signals import MarketMood, MarketRegime, ScanReport
from bn_ml.settings import Settings
from trader.breakers import (
    BreakerStatus,
    Conditions,
    control_causes,
    demanded_state,
    entry_breakers,
    next_day,
    next_week,
)
from trader.portfolio import historical_var


def status(
    name: str,
    state: AccountState | None = None,
    report: ScanReport | None = None,
    returns: tuple[float, ...] = (),
    **keys: object,
) -> BreakerStatus:
    settings = Settings.from_mapping(keys)
    found = entry_breakers(state or account(), report or scan(), settings, now=NOW, equity_returns=returns)
    return next(item for item in found if item.name == name)


def cause(name: str, **conditions: object) -> BreakerStatus:
    found = control_causes(Conditions(**conditions), Settings(), now=NOW)  # type: ignore[arg-type]
    return next(item for item in found if item.name == name)


def test_nothing_trips_on_a_calm_day() -> None:
    assert not any(item.tripped for item in entry_breakers(account(), scan(), Settings(), now=NOW))
    assert not any(item.tripped for item in control_causes(Conditions(), Settings(), now=NOW))


@pytest.mark.parametrize(("equity", "trips"), [("970.01", False), ("970", True), ("969.99", True)])
def test_daily_loss_trips_at_its_limit_until_midnight(equity: str, trips: bool) -> None:
    found = status("breaker_daily_loss", account(equity=Decimal(equity)))
    assert found.tripped is trips
    assert found.clears_at == datetime(2023, 6, 11, tzinfo=timezone.utc)


@pytest.mark.parametrize(("equity", "trips"), [("940.01", False), ("940", True), ("939.99", True)])
def test_weekly_loss_trips_at_its_limit_until_monday(equity: str, trips: bool) -> None:
    found = status("breaker_weekly_loss", account(equity=Decimal(equity)))
    assert found.tripped is trips
    assert found.clears_at == datetime(2023, 6, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(("equity", "trips"), [("900.01", False), ("900", True), ("899.99", True)])
def test_drawdown_demands_halted(equity: str, trips: bool) -> None:
    calm = {"day": replace(DAY, opening_equity=Decimal(equity)), "week": replace(WEEK, opening_equity=Decimal(equity))}
    found = status("breaker_drawdown", account(equity=Decimal(equity), **calm))
    assert found.tripped is trips
    assert demanded_state((found,)) == (
        (ControlState.HALTED, "breaker_drawdown") if trips else (ControlState.NORMAL, "")
    )


def test_distance_is_what_is_left_until_the_limit() -> None:
    found = status("breaker_daily_loss", account(equity=Decimal(990)))
    assert found.distance == pytest.approx(0.02)
    assert replace(found, value=0.5).distance == 0


def test_var_is_the_tail_quantile_of_daily_returns() -> None:
    returns = tuple(value / 1000 for value in range(-20, 21))
    assert historical_var(returns, 0.95) == pytest.approx(0.018)
    assert historical_var(returns[:9], 0.95) == 0
    assert historical_var((0.01,) * 30, 0.95) == 0


@pytest.mark.parametrize(("loss", "trips"), [(-0.029, False), (-0.03, True), (-0.031, True)])
def test_var_breaker(loss: float, trips: bool) -> None:
    assert status("breaker_var", returns=(loss,) * 12).tripped is trips


def test_var_looks_at_its_window_only() -> None:
    assert not status("breaker_var", returns=(-0.2,) * 30 + (0.001,) * 30).tripped


@pytest.mark.parametrize(("left_s", "trips"), [(1, True), (0, False), (-1, False)])
def test_consecutive_losses_pause_until_their_instant(left_s: int, trips: bool) -> None:
    until = NOW + timedelta(seconds=left_s)
    found = status(
        "breaker_consecutive_losses",
        account(statistics=TradeStatistics(consecutive_losses=3, loss_pause_until=until)),
    )
    assert found.tripped is trips
    assert found.clears_at == (until if trips else None)


@pytest.mark.parametrize(("ratio", "trips"), [(1.49, False), (1.5, False), (1.51, True)])
def test_volatility_trips_above_its_ratio(ratio: float, trips: bool) -> None:
    assert status("breaker_volatility", report=scan(volatility_ratio=ratio)).tripped is trips


def test_drift_trips_when_enabled() -> None:
    drifted = scan(drifted=True)
    assert status("breaker_drift", report=drifted).tripped
    off = {"circuit_breakers": {"drift_block_enabled": False}}
    assert not status("breaker_drift", report=drifted, risk=off).tripped


def test_risk_off_trips_unless_told_otherwise() -> None:
    report = scan(mood=MarketMood(MarketRegime.RISK_OFF, "NEUTRAL", 0.9, 0.0, "neutral"))
    assert status("breaker_market", report=report).tripped
    quiet = {"circuit_breakers": {"market_intelligence_block_on_risk_off": False}}
    assert not status("breaker_market", report=report, risk=quiet).tripped
    off = {"circuit_breakers": {"market_intelligence_block_enabled": False}}
    assert not status("breaker_market", report=report, risk=off).tripped


@pytest.mark.parametrize(
    ("profile", "limit"), [("aggressive", 0.64), ("neutral", 0.70), ("defensive", 0.78), ("other", 0.72)]
)
def test_each_profile_has_its_own_confidence(profile: str, limit: float) -> None:
    def mood(confidence: float) -> ScanReport:
        return scan(mood=MarketMood(MarketRegime.BEAR_PRESSURE, "BEARISH", confidence, 0.0, profile))

    assert status("breaker_market", report=mood(limit)).tripped
    assert not status("breaker_market", report=mood(limit - 0.01)).tripped


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("stale_prices", {"price_age_s": 30.0}, {"price_age_s": 30.1}),
        ("clock", {"clock_offset_s": -0.99}, {"clock_offset_s": 1.0}),
        ("clock", {"clock_offset_s": 0.0}, {"clock_offset_s": None}),
        ("disk", {"disk_free_mb": 500.0}, {"disk_free_mb": 499.9}),
        ("rejected_orders", {"refusals_in_row": 4}, {"refusals_in_row": 5}),
        ("api_ban", {"banned_until": NOW}, {"banned_until": NOW + timedelta(seconds=1)}),
        ("worker_restarts", {}, {"restarts_spent": True}),
        ("missing_stop", {}, {"missing_stop": True}),
    ],
)
def test_causes_of_reduce_only(name: str, inside: dict[str, object], outside: dict[str, object]) -> None:
    assert not cause(name, **inside).tripped
    assert demanded_state((cause(name, **outside),)) == (ControlState.REDUCE_ONLY, name)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("order_rate", {"orders_last_minute": 10}, {"orders_last_minute": 11}),
        ("notional_per_day", {"notional_today": 1000.0}, {"notional_today": 1000.1}),
        ("overfilled", {}, {"overfilled": True}),
        ("unexplained_balance", {}, {"unexplained_balance": True}),
        ("orphan_order", {}, {"orphan_order": True}),
        ("books_restored", {}, {"books_restored": True}),
    ],
)
def test_causes_of_halted(name: str, inside: dict[str, object], outside: dict[str, object]) -> None:
    assert not cause(name, **inside).tripped
    assert demanded_state((cause(name, **outside),)) == (ControlState.HALTED, name)


def test_the_tightest_demand_wins() -> None:
    both = (cause("missing_stop", missing_stop=True), cause("orphan_order", orphan_order=True))
    assert demanded_state(both) == (ControlState.HALTED, "orphan_order")


@pytest.mark.parametrize(
    ("now", "day", "week"),
    [
        ("2023-06-11T23:59:59", "2023-06-12", "2023-06-12"),
        ("2023-06-12T00:00:00", "2023-06-13", "2023-06-19"),
        ("2023-12-31T12:00:00", "2024-01-01", "2024-01-01"),
        ("2023-03-26T01:30:00", "2023-03-27", "2023-03-27"),
    ],
)
def test_periods_end_at_utc_midnight(now: str, day: str, week: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=timezone.utc)
    assert next_day(instant).date().isoformat() == day
    assert next_week(instant).date().isoformat() == week
