"""How orders are written for the venue, and how its records of orders, lists and trades are read back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bn_ml.answer_fields import Garbled
from bn_ml.domain.orders import OrderType, TimeInForce
from bn_ml.errors import Refused
from bn_ml.order_reports import told_of_oco, told_of_order, told_of_placed, trades, with_trades
from bn_ml.order_requests import OcoLeg, leg_type, oco_params, order_params, plain
from tests.fakes.live_orders import (
    BTC,
    ENTRY_ID,
    STOP_ID,
    TARGET_ID,
    a_fill,
    a_stop,
    a_trade,
    an_intent,
    an_oco,
    an_oco_answer,
    an_order,
)

PRICE, TRIGGER = Decimal("20000.00"), Decimal("19700.00")
TERMS = ("timeInForce", "price", "stopPrice", "trailingDelta")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (OrderType.MARKET, []),
        (OrderType.LIMIT, ["timeInForce", "price"]),
        (OrderType.LIMIT_MAKER, ["price"]),
        (OrderType.STOP_LOSS, ["stopPrice"]),
        (OrderType.STOP_LOSS_LIMIT, ["timeInForce", "price", "stopPrice"]),
        (OrderType.TAKE_PROFIT, ["stopPrice"]),
        (OrderType.TAKE_PROFIT_LIMIT, ["timeInForce", "price", "stopPrice"]),
    ],
)
def test_each_type_of_order_has_the_terms_the_venue_wants(kind: OrderType, names: list[str]) -> None:
    intent = an_intent(type=kind, limit_price=PRICE, stop_price=TRIGGER, time_in_force=TimeInForce.FOK)
    sent = order_params(intent)
    assert [name for name in TERMS if name in sent] == names
    if "timeInForce" in names:
        assert sent["timeInForce"] == "FOK"
        assert order_params(an_intent(type=kind, stop_price=TRIGGER, time_in_force=None))["timeInForce"] == "GTC"
    for missing, name in (("limit_price", "price"), ("stop_price", "stopPrice")):
        if name in names:
            with pytest.raises(Refused, match="needs a"):
                order_params(an_intent(type=kind, **{"limit_price": PRICE, "stop_price": TRIGGER, missing: None}))


@pytest.mark.parametrize(
    "amount", ["0", "-0.1", "NaN", "Infinity", "1e20", "0.000000000000000000001", "123456789012345678901"]
)
def test_an_amount_the_venue_cannot_read_is_not_sent(amount: str) -> None:
    with pytest.raises(Refused):
        plain(Decimal(amount))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("99999999999999999999", "99999999999999999999"),
        ("1E-20", "0.00000000000000000001"),
        ("1E+3", "1000"),
        ("0.10", "0.10"),
    ],
)
def test_amounts_are_written_in_plain_digits_up_to_the_venue_s_width(amount: str, text: str) -> None:
    assert plain(Decimal(amount)) == text


def test_only_the_limit_leg_above_becomes_one_that_only_makes() -> None:
    assert leg_type(an_intent(), OcoLeg.ABOVE) is OrderType.LIMIT_MAKER
    assert leg_type(an_intent(), OcoLeg.BELOW) is OrderType.LIMIT
    assert leg_type(an_intent(), None) is OrderType.LIMIT
    assert leg_type(a_stop(), OcoLeg.ABOVE) is OrderType.STOP_LOSS


def test_a_lower_leg_with_a_limit_keeps_its_time_in_force_and_the_upper_one_has_none() -> None:
    target, _ = an_oco()
    stop = a_stop(list_id=target.list_id, type=OrderType.STOP_LOSS_LIMIT, limit_price=Decimal("19600.00"))
    sent = oco_params(target, stop)
    assert (sent["belowTimeInForce"], sent["belowPrice"], sent["belowStopPrice"]) == ("GTC", "19600.00", "19700.00")
    assert "aboveTimeInForce" not in sent


@pytest.mark.parametrize(("number", "list_id"), [(-1, None), (-2, None), (0, "0"), (7, "7")])
def test_an_order_of_no_list_has_a_negative_list_number(number: int, list_id: str | None) -> None:
    told = told_of_order(an_order(an_intent(), orderListId=number), BTC, ENTRY_ID)
    assert told.report.list_id == list_id


def oco_without_words(client_id: str) -> dict[str, Any]:
    """An answer to an OCO in which one leg is only acknowledged."""
    answer = an_oco_answer(*an_oco())
    kept = ("symbol", "orderId", "orderListId", "clientOrderId")
    answer["orderReports"] = [
        {name: leg[name] for name in kept} if leg["clientOrderId"] == client_id else leg
        for leg in answer["orderReports"]
    ]
    return answer


@pytest.mark.parametrize("client_id", [TARGET_ID, STOP_ID])
def test_a_leg_that_is_only_acknowledged_says_too_little(client_id: str) -> None:
    with pytest.raises(Garbled, match=f"must hold {client_id}"):
        told_of_oco(oco_without_words(client_id), *an_oco())


def test_a_leg_of_another_list_is_not_ours() -> None:
    answer = an_oco_answer(*an_oco())
    answer["orderReports"][0]["orderListId"] = 2
    with pytest.raises(Garbled, match="must hold"):
        told_of_oco(answer, *an_oco())


@pytest.mark.parametrize(
    ("fills", "told", "agrees"),
    [
        ([("0.03", "0.5"), ("0.04", "0.5")], "0.035", True),
        ([("0.03", "0.5"), ("0.04", "0.5")], "0.03500001", False),
        ([("0.03", "0.5"), ("0.04", "0.5")], "0.03499999", False),
        ([("0.000000033", "0.5"), ("0.000000033", "0.5")], "0.00000004", True),
        ([("0.000000033", "0.5"), ("0.000000033", "0.5")], "0.00000002", True),
        ([("0.00000003", "0.5"), ("0.00000003", "0.5")], "0.00000005", True),
        ([("0.00000003", "0.5"), ("0.00000003", "0.5")], "0.00000006", False),
        ([("0.00000003", "0.5"), ("0.00000003", "0.5")], "0.00000001", True),
        ([("0.00000003", "0.5"), ("0.00000003", "0.5")], "0.00000000", False),
    ],
)
def test_what_was_paid_is_the_sum_of_the_trades_each_rounded_at_most_to_eight_places(
    fills: list[tuple[str, str]], told: str, agrees: bool
) -> None:
    intent = an_intent(quantity=Decimal(1))
    made = [a_fill(price, quantity, number) for number, (price, quantity) in enumerate(fills, 1)]
    value = an_order(intent, executed="1", quote=told, fills=made, price="20000.00")
    if agrees:
        placed = told_of_placed(value, intent)
        assert placed is not None
        assert len(placed.report.fills) == 2
    else:
        with pytest.raises(Garbled, match="trades cost"):
            told_of_placed(value, intent)


def test_trades_of_the_other_side_or_told_twice_are_not_taken_for_ours() -> None:
    told = told_of_order(an_order(an_intent(), executed="0.05", quote="1000"), BTC, ENTRY_ID)
    assert told.needs_trades
    good = trades([a_trade("20000.00", "0.02", 1), a_trade("20000.00", "0.03", 2)], BTC, order_id="28")
    assert with_trades(told, good).fills == good
    for wrong in (
        trades([a_trade("20000.00", "0.05", 1, isBuyer=False)], BTC, order_id="28"),
        (good[0], good[0]),
        good[:1],
        (),
    ):
        with pytest.raises(Garbled):
            with_trades(told, wrong)


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1)])
def test_trades_come_in_the_order_of_their_numbers(numbers: tuple[int, int]) -> None:
    with pytest.raises(Garbled, match="ascending"):
        trades([a_trade("1.00", "1", number) for number in numbers], BTC)


def test_trades_of_another_order_are_not_this_one_s() -> None:
    assert trades([a_trade("1.00", "1", 1, order=29)], BTC)[0].order_id == "29"
    with pytest.raises(Garbled):
        trades([a_trade("1.00", "1", 1, order=29)], BTC, order_id="28")


def test_a_trade_whose_amounts_contradict_each_other_is_not_read() -> None:
    assert trades([a_trade("2.00", "3", 1, quoteQty="6.00")], BTC)[0].quote_quantity == 6
    for wrong in ("6.01", "5.99", "0.00"):
        with pytest.raises(Garbled, match="trades cost"):
            trades([a_trade("2.00", "3", 1, quoteQty=wrong)], BTC)


@pytest.mark.parametrize(("asset", "most"), [("BTC", "3"), ("USDC", "6")])
def test_a_commission_may_take_all_of_a_trade_and_no_more(asset: str, most: str) -> None:
    (whole,) = trades([a_trade("2.00", "3", 1, commission=most, commissionAsset=asset)], BTC)
    assert (whole.fee, whole.fee_asset) == (Decimal(most), asset)
    with pytest.raises(Garbled, match="commission"):
        trades([a_trade("2.00", "3", 1, commission=f"{most}.00000001", commissionAsset=asset)], BTC)
    assert trades([a_trade("2.00", "3", 1, commission="999", commissionAsset="BNB")], BTC)[0].fee == 999
