"""What fills make of a position: pure arithmetic, checked against sums of the fills themselves."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason, Position, PositionStatus
from bn_ml.settings import RiskSettings
from trader.entry_plan import EntryPlan
from trader.exit_manager import ExitManager
from trader.position_arithmetic import grown, missed, opened, reduced, sale_reason

D = Decimal
ABC = Symbol("ABC/USDC")
AT = datetime(2023, 6, 10, 12, tzinfo=timezone.utc)
RULES = MarketRules(ABC, tick=D("0.01"), step=D("0.001"), min_notional=D(5))
PLAN = EntryPlan("p-1", RULES, D(2), 0.003, 0.6, 8.0, 1, "test")
EXITS = ExitManager(RiskSettings())
STEP = D("0.001")

prices = st.integers(100, 100_000).map(lambda cents: D(cents) / 100)
quantities = st.integers(1, 50_000).map(lambda steps: D(steps) * STEP)


def buy(price: Decimal, quantity: Decimal, number: int = 1, *, fee_asset: str = "ABC") -> Fill:
    unit = D("1e-8")
    fee = (quantity if fee_asset == "ABC" else quantity * price) * D("0.001")
    return Fill(str(number), "c", ABC, Side.BUY, price, quantity, price * quantity, fee.quantize(unit), fee_asset, AT)


def sell(price: Decimal, quantity: Decimal, number: int = 2, *, seconds: int = 60) -> Fill:
    fee = (quantity * price * D("0.001")).quantize(D("1e-8"))
    at = AT + timedelta(seconds=seconds)
    return Fill(str(number), "c", ABC, Side.SELL, price, quantity, price * quantity, fee, "USDC", at)


def after(*fills: Fill) -> Position:
    position = opened(fills[0], PLAN, EXITS)
    for fill in fills[1:]:
        position = grown(position, fill, PLAN, EXITS)
    return position


def intent(purpose: Purpose, *, tranche: str = "", reason: str = "") -> OrderIntent:
    return OrderIntent("c", ABC, Side.SELL, OrderType.MARKET, D(1), purpose, "p-1", AT, tranche=tranche, reason=reason)


def test_a_fee_in_the_base_asset_reduces_what_is_held() -> None:
    position = after(buy(D(100), D(2)))
    assert (position.initial_quantity, position.cost_quote) == (D("1.998"), D(200))
    assert position.fees_quote == D("0.2")


def test_a_fee_in_the_quote_asset_raises_the_cost() -> None:
    position = after(buy(D(100), D(2), fee_asset="USDC"))
    assert (position.initial_quantity, position.cost_quote) == (D(2), D("200.2"))
    assert position.fees_quote == D("0.2")


def test_a_fee_in_a_third_asset_touches_neither() -> None:
    position = after(buy(D(100), D(2), fee_asset="BNB"))
    assert (position.initial_quantity, position.cost_quote, position.fees_quote) == (D(2), D(200), D(0))


@given(st.lists(st.tuples(prices, quantities), min_size=1, max_size=5))
def test_an_entry_over_several_fills_costs_and_holds_their_sum(fills: list[tuple[Decimal, Decimal]]) -> None:
    bought = [buy(price, quantity, number) for number, (price, quantity) in enumerate(fills)]
    position = after(*bought)
    assert position.cost_quote == position.cost_open_quote == sum(fill.quote_quantity for fill in bought)
    assert position.initial_quantity == position.remaining_quantity == sum(f.quantity - f.fee for f in bought)
    low, high = min(fill.price for fill in bought), max(fill.price for fill in bought)
    tolerance = D("1e-20")
    assert low - tolerance <= position.entry_price <= high + tolerance
    assert position.stop < position.entry_price < position.target_1 < position.target_2
    assert position.max_price_seen == high


@given(prices, quantities, st.lists(st.tuples(prices, st.floats(0.01, 1.0)), min_size=1, max_size=6))
def test_legs_sum_to_the_profit_and_quantities_to_what_was_bought(
    price: Decimal, quantity: Decimal, sales: list[tuple[Decimal, float]]
) -> None:
    position = after(buy(price, quantity + STEP))
    bought, cost = position.initial_quantity, position.cost_quote
    sold = proceeds = D(0)
    for number, (at, share) in enumerate(sales):
        amount = RULES.quantity_down(position.remaining_quantity * D(str(share)))
        if not position.is_open or amount <= 0:
            continue
        fill = sell(at, amount, number + 2)
        position = reduced(position, fill, ExitReason.TP1, STEP)
        sold += amount
        proceeds += fill.quote_quantity - fill.fee
    assert sold + position.remaining_quantity + position.dust_quantity == bought
    assert position.proceeds_quote == proceeds
    assert sum(leg.pnl_quote for leg in position.legs) == position.realized_quote
    spent = cost - position.cost_open_quote
    assert abs(position.realized_quote - (proceeds - spent)) < D("1e-15")
    assert position.cost_open_quote >= 0
    assert position.is_open is (position.remaining_quantity >= STEP)


def test_the_closing_sale_bears_the_cost_of_the_dust() -> None:
    position = after(buy(D(100), D(2)))
    closed = reduced(position, sell(D(100), D("1.997")), ExitReason.STOP_LOSS, STEP + D("0.001"))
    assert closed.status is PositionStatus.CLOSED
    assert (closed.dust_quantity, closed.remaining_quantity, closed.cost_open_quote) == (D("0.001"), D(0), D(0))
    assert closed.realized_quote == D("199.7") * D("0.999") - 200
    assert closed.close_reason is ExitReason.STOP_LOSS
    assert closed.tranches == ()


@pytest.mark.parametrize(("left", "is_open"), [("0.0010", True), ("0.00099999", False), ("0", False)])
def test_what_is_left_is_a_position_from_one_step_on(left: str, is_open: bool) -> None:
    position = after(buy(D(100), D(2), fee_asset="BNB"))
    assert reduced(position, sell(D(100), D(2) - D(left)), ExitReason.TP1, STEP).is_open is is_open


def test_what_was_sold_beyond_what_was_held_is_booked_as_it_is() -> None:
    position = reduced(after(buy(D(100), D(2))), sell(D(100), D(2)), ExitReason.STOP_LOSS, STEP)
    assert (position.is_open, position.remaining_quantity, position.dust_quantity) == (False, 0, D("-0.002"))
    assert position.realized_quote == position.proceeds_quote - position.cost_quote


def test_a_sale_after_the_close_adds_its_proceeds_and_takes_from_the_dust() -> None:
    closed = reduced(after(buy(D(100), D(2))), sell(D(100), D("1.998")), ExitReason.STOP_LOSS, STEP)
    again = reduced(closed, sell(D(100), D("0.5"), 3), ExitReason.STOP_LOSS, STEP)
    assert (again.status, again.dust_quantity) == (PositionStatus.CLOSED, D("-0.5"))
    assert again.realized_quote == again.proceeds_quote - again.cost_quote
    assert sum(leg.pnl_quote for leg in again.legs) == again.realized_quote


@given(price=prices, bought=quantities, part=st.integers(1, 1000))
def test_what_goes_missing_loses_exactly_its_cost(price: Decimal, bought: Decimal, part: int) -> None:
    position = after(buy(price, bought))
    missing = position.remaining_quantity * part / 1000
    left = missed(position, missing, STEP, AT)
    assert left.remaining_quantity + left.dust_quantity == position.remaining_quantity - missing
    assert left.is_open is (position.remaining_quantity - missing >= STEP)
    assert left.proceeds_quote == 0
    assert abs(left.realized_quote + position.cost_quote - left.cost_open_quote) < D("1e-12")
    assert (left.legs[-1].reason, left.legs[-1].pnl_quote) == (ExitReason.RECONCILED, left.realized_quote)
    assert left.tranches == ()


@pytest.mark.parametrize("reason", [ExitReason.TP1, ExitReason.TP2, ExitReason.STOP_LOSS])
def test_only_a_target_sets_its_flag(reason: ExitReason) -> None:
    position = reduced(after(buy(D(100), D(2))), sell(D(102), D(1)), reason, STEP)
    assert position.tp1_hit is (reason is ExitReason.TP1)
    assert position.tp2_hit is (reason is ExitReason.TP2)


def test_a_sale_is_named_by_what_sold_it() -> None:
    position = after(buy(D(100), D(2)))
    assert sale_reason(intent(Purpose.TARGET, tranche="tp1"), position) is ExitReason.TP1
    assert sale_reason(intent(Purpose.TARGET, tranche="tp2"), position) is ExitReason.TP2
    assert sale_reason(intent(Purpose.STOP), position) is ExitReason.STOP_LOSS
    assert sale_reason(intent(Purpose.EXIT, reason="time_stop"), position) is ExitReason.TIME_STOP
