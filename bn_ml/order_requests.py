"""Writes orders in the venue's words: names, exact decimal texts, and our own client ids everywhere."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import to_ms
from bn_ml.domain.orders import OrderIntent, OrderType, Side, TimeInForce
from bn_ml.errors import Refused
from bn_ml.venue_names import venue_name

Params = dict[str, str]
PRICED = (OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
_TIMED = (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
TRIGGERED = (
    OrderType.STOP_LOSS,
    OrderType.STOP_LOSS_LIMIT,
    OrderType.TAKE_PROFIT,
    OrderType.TAKE_PROFIT_LIMIT,
)


class OcoLeg(Enum):
    """Which leg of a sell OCO an order is."""

    ABOVE = "above"
    BELOW = "below"


def plain(amount: Decimal) -> str:
    """Write an amount in plain digits, without exponent; raises `Refused` (nothing is sent) for one the venue refuses.

    >>> plain(Decimal("1E-8")), plain(Decimal("1E+3"))
    ('0.00000001', '1000')
    """
    text = f"{amount:f}" if amount.is_finite() else str(amount)
    if not amount.is_finite() or amount <= 0 or amount >= 10**20 or len(text.partition(".")[2]) > 20:
        raise Refused(f"no amount to send: {text}")
    return text


def leg_type(intent: OrderIntent, leg: OcoLeg | None) -> OrderType:
    """Give the type an order is sent as: the limit leg of an OCO only ever makes."""
    if leg is OcoLeg.ABOVE and intent.type is OrderType.LIMIT:
        return OrderType.LIMIT_MAKER
    return intent.type


def order_params(intent: OrderIntent) -> Params:
    """Give the parameters of a new order; `timestamp` is the instant the intent was made."""
    return {
        "symbol": venue_name(intent.symbol),
        "side": intent.side.value,
        "type": intent.type.value,
        "quantity": plain(intent.quantity),
        **_terms(intent),
        "newClientOrderId": intent.client_id,
        "newOrderRespType": "FULL",
        "timestamp": str(to_ms(intent.created_at)),
    }


def replace_params(client_id: str, intent: OrderIntent) -> Params:
    """Give the parameters of a cancel-replace that places nothing unless the old order was cancelled."""
    return {
        **order_params(intent),
        "cancelReplaceMode": "STOP_ON_FAILURE",
        "cancelOrigClientOrderId": client_id,
    }


def oco_params(target: OrderIntent, stop: OrderIntent) -> Params:
    """Give the parameters of a sell OCO; raises `Refused` when the two intents do not make one."""
    same = target.symbol == stop.symbol and target.quantity == stop.quantity and target.list_id == stop.list_id
    if not (same and target.list_id and target.side is stop.side is Side.SELL):
        raise Refused(f"no sell OCO: {target.client_id} and {stop.client_id} do not share symbol, quantity and list")
    return {
        "symbol": venue_name(target.symbol),
        "listClientOrderId": target.list_id,
        "side": Side.SELL.value,
        "quantity": plain(target.quantity),
        **_leg(target, OcoLeg.ABOVE),
        **_leg(stop, OcoLeg.BELOW),
        "newOrderRespType": "FULL",
        "timestamp": str(to_ms(min(target.created_at, stop.created_at))),
    }


def _leg(intent: OrderIntent, leg: OcoLeg) -> Params:
    kind = leg_type(intent, leg)
    terms = {
        "type": kind.value,
        "clientOrderId": intent.client_id,
        **{name: text for name, text in _terms(intent).items() if name != "timeInForce" or kind in _TIMED},
    }
    return {f"{leg.value}{name[0].upper()}{name[1:]}": text for name, text in terms.items()}


def _terms(intent: OrderIntent) -> Params:
    """Give time in force, price and trigger, as far as the type has them; raises `Refused` when one is missing."""
    terms: Params = {}
    if intent.type in _TIMED:
        terms["timeInForce"] = (intent.time_in_force or TimeInForce.GTC).value
    if intent.type in PRICED:
        if intent.limit_price is None:
            raise Refused(f"{intent.client_id}: a {intent.type.value} needs a price")
        terms["price"] = plain(intent.limit_price)
    if intent.type in TRIGGERED:
        if intent.stop_price is None and not intent.trailing_bp:
            raise Refused(f"{intent.client_id}: a {intent.type.value} needs a stop price or a trailing distance")
        if intent.stop_price is not None:
            terms["stopPrice"] = plain(intent.stop_price)
        if intent.trailing_bp:
            terms["trailingDelta"] = str(intent.trailing_bp)
    return terms
