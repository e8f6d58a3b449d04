"""Why a position is closed where price, stop and trailing meet, and what a late sale leaves in its books."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from risk_builders import ETH, NOW, market_rules, position, quote
from test_position_arithmetic import ABC, AT, STEP, after, buy, sell

from bn_ml.domain.orders import Fill, Side
from bn_ml.domain.positions import ExitReason, Leg, Tranche
from bn_ml.settings import RiskSettings
from trader.closing import is_too_small
from trader.exit_manager import ExitManager
from trader.position_arithmetic import bought_after_close, reduced

D = Decimal
EXITS = ExitManager(RiskSettings())
RULES = market_rules(ETH)


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("98.51", ExitReason.TRAILING_STOP),
        ("98.50", ExitReason.STOP_LOSS),
        ("98.49", ExitReason.STOP_LOSS),
    ],
)
def test_the_resting_stop_names_the_exit_before_a_stop_that_would_have_been_raised(
    price: str, reason: ExitReason
) -> None:
    held = replace(position(), tp1_hit=True, max_price_seen=D(103))
    found = EXITS.plan(held, quote(ETH, bid=price, ask=price), 0.003, NOW + timedelta(hours=1), False, RULES)
    assert found.close_all is reason
    assert found.new_stop is None


def test_a_stop_at_the_hard_drawdown_is_the_stop() -> None:
    held = position(stop=D(97))
    found = EXITS.plan(held, quote(ETH, bid="97", ask="97"), 0.003, NOW + timedelta(hours=1), False, RULES)
    assert found.close_all is ExitReason.STOP_LOSS


def test_trailing_that_has_begun_goes_on_whatever_the_settings_have_become() -> None:
    held = position(trailing_active=True)
    found = EXITS.plan(held, quote(ETH, bid="100", ask="100"), 0.003, NOW + timedelta(hours=1), False, RULES)
    assert (found.trailing_active, found.close_all) == (True, None)
    assert EXITS.trailing_frac(held) is not None
    assert not EXITS.plan(
        position(), quote(ETH, bid="100", ask="100"), 0.003, NOW + timedelta(hours=1), False, RULES
    ).trailing_active


@pytest.mark.parametrize(
    ("cost", "stop"), [("100", "100.21"), ("100.1", "100.21"), ("100.5", "100.61"), ("101", "101.11")]
)
def test_after_the_first_target_the_stop_pays_back_what_was_really_paid(cost: str, stop: str) -> None:
    held = position(tp1_hit=True, max_price_seen=D("101.5"), cost_quote=D(cost), cost_open_quote=D(cost))
    rules = RiskSettings(trailing_enabled=False)
    found = ExitManager(rules).plan(
        held, quote(ETH, bid="101.5", ask="101.5"), 0.003, NOW + timedelta(hours=1), False, RULES
    )
    assert found.new_stop == D(stop)


@pytest.mark.parametrize(
    ("asset", "fee", "proceeds"), [("USDC", "0.05", "49.95"), ("ABC", "0.001", "50"), ("BNB", "0.001", "50")]
)
def test_a_sale_brings_what_was_paid_less_a_fee_in_that_money(asset: str, fee: str, proceeds: str) -> None:
    held = after(buy(D(100), D(2)))
    fill = Fill("9", "c", ABC, Side.SELL, D(100), D("0.5"), D(50), D(fee), asset, AT)
    part = reduced(held, fill, ExitReason.TP1, STEP)
    assert part.proceeds_quote == D(proceeds)
    assert part.legs[0].pnl_quote == part.realized_quote
    cost = held.cost_open_quote - part.cost_open_quote
    assert abs(part.realized_quote - (D(proceeds) - cost)) < D("1e-20")


def test_every_sale_adds_its_fee_to_those_of_the_position() -> None:
    held = after(buy(D(100), D(2)))
    part = reduced(held, sell(D(100), D("0.5")), ExitReason.TP1, STEP)
    assert part.fees_quote - held.fees_quote == D("0.05")
    whole = reduced(part, sell(D(100), D("1.498"), 3), ExitReason.TP2, STEP)
    assert whole.fees_quote - part.fees_quote == D("0.1498")
    assert not whole.is_open


@pytest.mark.parametrize(
    ("asset", "fee", "proceeds", "fees"),
    [
        ("USDC", "0.05", "49.95", "0.05"),
        ("ABC", "0.001", "50", "0.1"),
        ("BNB", "0.001", "50", "0"),
    ],
)
def test_a_sale_after_the_close_is_a_leg_of_its_own_with_its_fee(
    asset: str, fee: str, proceeds: str, fees: str
) -> None:
    closed = reduced(after(buy(D(100), D(2))), sell(D(100), D("1.998")), ExitReason.STOP_LOSS, STEP)
    late = Fill("9", "c", ABC, Side.SELL, D(100), D("0.5"), D(50), D(fee), asset, AT + timedelta(seconds=90))
    again = reduced(closed, late, ExitReason.KILL_SWITCH, STEP)
    assert again.legs == (
        *closed.legs,
        Leg(ExitReason.KILL_SWITCH, D("0.5"), D(100), D(proceeds), AT + timedelta(seconds=90)),
    )
    assert again.proceeds_quote - closed.proceeds_quote == D(proceeds)
    assert again.realized_quote - closed.realized_quote == D(proceeds)
    assert again.fees_quote - closed.fees_quote == D(fees)
    assert closed.dust_quantity - again.dust_quantity == D("0.5")
    assert (again.close_reason, again.closed_at) == (closed.close_reason, closed.closed_at)


def test_nothing_is_too_small_to_sell_whatever_the_filters_allow() -> None:
    free = market_rules(ETH, min_quantity=D(0), notional_applies_to_market=False)
    assert is_too_small(D(0), D(100), free)
    assert not is_too_small(D("0.00001"), D(100), free)
    assert is_too_small(D("0.049"), D(100), market_rules(ETH))
    assert not is_too_small(D("0.05"), D(100), market_rules(ETH))


def test_a_position_sold_whole_has_no_tranches_left_and_one_sold_in_part_keeps_them() -> None:
    held = replace(after(buy(D(100), D(2))), tranches=(Tranche("tp1", D(1), D(98)), Tranche("runner", D(1), D(98))))
    part = reduced(held, sell(D(100), D("0.5")), ExitReason.TP1, STEP)
    assert part.tranches == held.tranches
    whole = reduced(part, sell(D(100), D("1.498"), 3), ExitReason.TP2, STEP)
    assert (whole.is_open, whole.tranches) == (False, ())


def test_what_is_bought_after_the_close_is_dust_of_its_own_cost() -> None:
    closed = reduced(after(buy(D(100), D(2))), sell(D(100), D("1.998")), ExitReason.STOP_LOSS, STEP)
    more = bought_after_close(closed, buy(D(110), D(1), 7))
    assert more.initial_quantity - closed.initial_quantity == D("0.999")
    assert more.dust_quantity - closed.dust_quantity == D("0.999")
    assert more.cost_quote - closed.cost_quote == 110
    assert closed.realized_quote - more.realized_quote == 110
    assert more.fees_quote - closed.fees_quote == D("0.11")
    assert more.legs[-1] == Leg(ExitReason.RECONCILED, D("0.999"), D(110), D(-110), AT)
