"""The user data stream: what happened in the venue in events, in the order the exchange sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO
from bn_ml.venue.happenings import OrderHappening, Step
from bn_ml.venue.orders import NO_LIST, VenueOrder
from bn_ml.venue.venue import Venue
from public_api.sandbox.answers import Row, money
from public_api.sandbox.listings import wire
from public_api.sandbox.order_answers import expiry_word, status_word

_STARTED = ("EXEC_STARTED", "EXECUTING")
_DONE = ("ALL_DONE", "ALL_DONE")
_NOTHING = Balance("", ZERO)


class UserEvents:
    """Tells of the steps of a venue's orders, and of every balance that has changed since it last told."""

    def __init__(self, venue: Venue) -> None:
        """Take the present balances as known."""
        self._venue = venue
        self._balances: Mapping[str, Balance] = venue.balances()
        self._executions = 0

    def tell(self, happened: Sequence[OrderHappening], now_ms: int) -> list[Row]:
        """Give the events: the orders' reports, list states, then the balances that changed."""
        events = [self._report(step, now_ms) for step in happened]
        events += self._list_states(happened, now_ms)
        balances = self._venue.balances()
        assets = sorted(balances.keys() | self._balances.keys())
        changed = [asset for asset in assets if balances.get(asset) != self._balances.get(asset)]
        self._balances = balances
        if changed:
            held = {asset: balances.get(asset, _NOTHING) for asset in changed}
            events.append(_position(held, now_ms))
        return events

    def _list_states(self, happened: Sequence[OrderHappening], now_ms: int) -> list[Row]:
        lists = dict.fromkeys(step.order.list_id for step in happened if step.order.list_id != NO_LIST)
        events = []
        for list_id in lists:
            legs = self._venue.state.by_list(list_id)
            begun = {step.order.order_id for step in happened if _begins(step)}
            if any(leg.order_id in begun and not leg.pending for leg in legs):
                events.append(_list_status(legs, _STARTED, now_ms))
            if not any(leg.is_open for leg in legs):
                events.append(_list_status(legs, _DONE, now_ms))
        return events

    def _report(self, happened: OrderHappening, now_ms: int) -> Row:
        self._executions += 1
        order, trade = happened.order, happened.trade
        kind = Step.NEW if happened.step is Step.TRIGGERED else happened.step
        canceled = kind is Step.CANCELED
        report: Row = {
            "e": "executionReport",
            "E": now_ms,
            "s": wire(order.symbol),
            "c": cancel_id(order) if canceled else order.client_id,
            "S": order.side.value,
            "o": order.type.value,
            "f": order.time_in_force.value,
            "q": money(order.quantity),
            "p": money(order.price),
            "P": money(order.stop_price),
            "F": money(order.iceberg),
            "g": order.list_id,
            "C": order.client_id if canceled else happened.former_client_id,
            "x": kind.value,
            "X": status_word(order),
            "r": "NONE",
            "i": order.order_id,
            "l": money(trade.quantity if trade else ZERO),
            "z": money(order.executed),
            "L": money(trade.price if trade else ZERO),
            "n": money(trade.fee) if trade else "0",
            "N": trade.fee_asset if trade else None,
            "T": happened.at_ms,
            "t": trade.trade_id if trade else -1,
            "I": self._executions,
            "w": order.is_open and not order.is_dormant and not order.waits,
            "m": bool(trade and trade.maker),
            "M": trade is not None,
            "O": order.created_ms,
            "Z": money(order.executed_quote),
            "Y": money(trade.quote_quantity if trade else ZERO),
            "Q": money(order.quote_quantity),
        }
        return report | _conditional(order)


def balance_update(asset: str, amount: Decimal, now_ms: int) -> Row:
    """Give the event of a deposit, or of a withdrawal when the amount is negative."""
    return {"e": "balanceUpdate", "E": now_ms, "a": asset, "d": money(amount), "T": now_ms}


def cancel_id(order: VenueOrder) -> str:
    """Give the id the exchange makes for the cancel request itself."""
    return f"cancel{order.order_id}x{order.updated_ms}"


def _conditional(order: VenueOrder) -> Row:
    """Give the fields that only some orders have."""
    fields: Row = {"W": order.working_ms} if order.working_ms >= 0 else {}
    fields["V"] = order.self_trade.value
    if order.trails:
        fields |= {"d": order.trailing_delta, "D": order.trailing_ms}
    reason = expiry_word(order)
    if reason is not None:
        fields["eR"] = reason
    return fields


def _begins(step: OrderHappening) -> bool:
    return step.step is Step.NEW


def _list_status(legs: Sequence[VenueOrder], words: tuple[str, str], now_ms: int) -> Row:
    return {
        "e": "listStatus",
        "E": now_ms,
        "s": wire(legs[0].symbol),
        "g": legs[0].list_id,
        "c": "OTO" if any(leg.pending for leg in legs) else "OCO",
        "l": words[0],
        "L": words[1],
        "r": "NONE",
        "C": legs[0].list_client_id,
        "T": max(leg.updated_ms for leg in legs),
        "O": [{"s": wire(leg.symbol), "i": leg.order_id, "c": leg.client_id} for leg in legs],
    }


def _position(held: Mapping[str, Balance], now_ms: int) -> Row:
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": now_ms,
        "B": [{"a": asset, "f": money(item.free), "l": money(item.locked)} for asset, item in held.items()],
    }
