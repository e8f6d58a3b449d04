"""Calls of the live exchange with the venue's true answers to them, the recorded ones included where they are found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderIntent, OrderReport, OrderType, Replacement, Side
from bn_ml.errors import ExchangeError
from bn_ml.http_answers import HttpAnswer
from bn_ml.live_exchange import LiveExchange
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_names import symbol_named
from tests.fakes.live_orders import (
    BTC,
    NOW,
    a_cancel,
    a_fill,
    a_market_exit,
    a_stop,
    a_trade,
    an_intent,
    an_oco,
    an_oco_answer,
    an_order,
    two_fills,
)
from tests.fakes.recorded_answers import recorded_folder

Call = Callable[[LiveExchange], Any]
Json = dict[str, Any]
NOT_FOUND = HttpAnswer(400, '{"code":-2013,"msg":"Order does not exist."}')
_SETTINGS = ExchangeSettings.model_validate({"retry_attempts": 0})
_PRICED = (OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT)


@dataclass(frozen=True)
class Case:
    """One call, the true answer to it, and the true trades and order asked for afterwards.

    `order` tells cases about the same order from each other's answers. `writes` is a call that changes something;
    there the caller states side and quantity (but for a cancel), so that others in the answer must be noticed.
    """

    name: str
    call: Call
    reply: HttpAnswer
    order: str
    writes: bool = True
    states_terms: bool = True
    truth: Any = None
    trades: tuple[Json, ...] = ()
    after: Json | None = None

    def exchange(self, reply: HttpAnswer) -> LiveExchange:
        """Give an exchange that answers so first, and truly to whatever is asked after it."""
        return LiveExchange(_OneReply(self, reply), SimulatedClock(NOW), _SETTINGS, symbols=(BTC,))

    def later(self, method: str, path: str, params: Mapping[str, str]) -> HttpAnswer:
        """Give the true answer to what is asked after the damaged one."""
        if method == "GET" and path.endswith("/myTrades"):
            return _ok([trade for trade in self.trades if str(trade["orderId"]) == params.get("orderId")])
        if method == "GET" and path.endswith("/order") and self.after is not None:
            return _ok(self.after)
        return NOT_FOUND

    def difference(self, result: Any) -> str:
        """Give where an accepted result differs from the truth in what decides, "" when it does not."""
        seen, true = self._facts(result), self._facts(self.truth)
        return "" if seen == true else f"{seen} instead of {true}"

    def _facts(self, result: Any, *, states_terms: bool | None = None) -> Any:
        stated = self.states_terms if states_terms is None else states_terms
        if isinstance(result, tuple):
            return tuple(self._facts(item) for item in result)
        if isinstance(result, Replacement):
            return self._facts(result.canceled, states_terms=False), self._facts(result.placed)
        if not isinstance(result, OrderReport):
            return result
        return (
            result.client_id,
            result.symbol,
            (result.side, result.quantity) if stated else None,
            result.status,
            result.executed_quantity,
            result.executed_quote,
            tuple((fill.client_id, fill.side, fill.price, fill.quantity) for fill in result.fills),
        )


class _OneReply:
    def __init__(self, case: Case, reply: HttpAnswer) -> None:
        self._case = case
        self._reply: HttpAnswer | None = reply

    def request(self, method: str, path: str, params: Mapping[str, str], *, signed: bool) -> HttpAnswer:
        del signed
        if self._reply is not None:
            reply, self._reply = self._reply, None
            return reply
        return self._case.later(method, path, params)


def cases() -> tuple[Case, ...]:
    """Give all cases with their truth, which is what the undamaged answer becomes."""
    made = (*_placing(), *_listing(), *_replacing(), *_canceling(), *_asking(), *_recorded())
    return tuple(replace(case, truth=_truth(case)) for case in made)


def _truth(case: Case) -> Any:
    try:
        return case.call(case.exchange(case.reply))
    except ExchangeError:
        # A refusal has no report; what may become of it is judged by its text.
        return None


def _ok(value: object) -> HttpAnswer:
    return HttpAnswer(200, json.dumps(value))


def _error(code: int, text: str, status: int = 400, **more: object) -> HttpAnswer:
    return HttpAnswer(status, json.dumps({"code": code, "msg": text, **more}))


def _id(number: int) -> str:
    return f"bnml-abc123-{number:03d}z"


def _create(name: str, intent: OrderIntent, body: Json | HttpAnswer, **more: Any) -> Case:
    reply = body if isinstance(body, HttpAnswer) else _ok(body)
    return Case(f"create {name}", lambda exchange: exchange.create_order(intent), reply, intent.client_id, **more)


def _placing() -> list[Case]:
    entry, stop, exit_, other = an_intent(_id(1)), a_stop(_id(2)), a_market_exit(client_id=_id(3)), an_intent(_id(4))
    traded = an_order(entry, executed="0.05", quote="999.98")
    trades = (a_trade("19999.00", "0.02000", 56), a_trade("20000.00", "0.03000", 57))
    fill = a_fill("19999.00", "0.02000000", 61)
    partly = an_order(other, executed="0.02", quote="399.98", status="EXPIRED", fills=[fill])
    sold = an_order(exit_, executed="0.05", quote="990.00", fills=[a_fill("19800.00", "0.05000000", 70, asset="USDC")])
    short = ("symbol", "orderId", "orderListId", "clientOrderId", "transactTime")
    return [
        _create("filled", entry, two_fills(entry)),
        _create("filled, trades asked for", entry, traded, trades=trades),
        _create("acknowledged", entry, {key: traded[key] for key in short}, after=traded, trades=trades),
        _create("expired with fills", other, partly),
        _create("resting stop", stop, an_order(stop, fills=[])),
        _create("sold at market", exit_, sold),
        _create("refused by a filter", entry, _error(-1013, "Filter failure: LOT_SIZE")),
        _create("refused for funds", entry, _error(-2010, "Account has insufficient balance for requested action.")),
        _create("refused for its key", entry, _error(-2015, "Invalid API-key, IP, or permissions for action.", 401)),
        _create("duplicate", entry, _error(-2010, "Duplicate order sent.")),
        _create("timed out inside", entry, _error(-1007, "Timeout waiting for response from backend server.", 504)),
        _create("too many", entry, _error(-1015, "Too many new orders.", 429)),
    ]


def _listing() -> list[Case]:
    target, stop = an_oco()
    body = an_oco_answer(target, stop)
    traded = json.loads(json.dumps(body))
    traded["orderReports"][1] |= {"executedQty": "0.02", "cummulativeQuoteQty": "408.00", "status": "PARTIALLY_FILLED"}
    sold = a_trade("20400.00", "0.02000", 5, order=11, isBuyer=False, commissionAsset="USDC")

    def place(exchange: LiveExchange) -> Any:
        return exchange.create_oco(target, stop)

    order = target.list_id or ""
    return [
        Case("oco resting", place, _ok(body), order),
        Case("oco traded", place, _ok(traded), order, trades=(sold,)),
        Case("oco refused", place, _error(-2010, "Filter failure: MAX_NUM_ALGO_ORDERS"), order),
    ]


def _replacing() -> list[Case]:
    old, new = a_stop(_id(10)), a_stop(_id(11), stop_price=Decimal("19800.00"))
    traded = a_cancel(old, executed="0.02", quote="394.00", status="CANCELED")
    sold = a_trade("19700.00", "0.02000", 9, isBuyer=False, commissionAsset="USDC")
    placed = an_order(new, orderId=29, fills=[])
    both = {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS", "newOrderResponse": placed}
    failed = {"code": -2010, "msg": "Order would trigger immediately."}
    half = {"cancelResult": "SUCCESS", "newOrderResult": "FAILURE", "newOrderResponse": failed}
    gone = {"code": -2011, "msg": "Unknown order sent."}
    none = {"cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED", "cancelResponse": gone}
    partially, not_at_all = "Order cancel-replace partially failed.", "Order cancel-replace failed."

    def swap(exchange: LiveExchange) -> Any:
        return exchange.replace_order(old.client_id, new)

    replies = {
        "both": _ok({**both, "cancelResponse": a_cancel(old)}),
        "both, old one traded": _ok({**both, "cancelResponse": traded}),
        "half": _error(-2021, partially, 409, data={**half, "cancelResponse": a_cancel(old)}),
        "half, old one traded": _error(-2021, partially, 409, data={**half, "cancelResponse": traded}),
        "nothing": _error(-2022, not_at_all, data={**none, "newOrderResponse": None}),
    }
    return [Case(f"replace {name}", swap, reply, old.client_id, trades=(sold,)) for name, reply in replies.items()]


def _canceling() -> list[Case]:
    stop = a_stop(_id(20))
    target, leg = an_oco()
    listed = an_oco_answer(target, leg, listStatusType="ALL_DONE", listOrderStatus="ALL_DONE")
    listed["orderReports"] = [a_cancel(leg, orderId=10, orderListId=1), a_cancel(target, orderId=11, orderListId=1)]
    traded = a_cancel(stop, executed="0.02", quote="394.00", status="CANCELED")
    sold = a_trade("19700.00", "0.02000", 9, isBuyer=False, commissionAsset="USDC")
    replies = {
        "one": (stop, _ok(a_cancel(stop))),
        "one that traded": (stop, _ok(traded)),
        "a list": (leg, _ok(listed)),
        "what is gone": (stop, _error(-2011, "Unknown order sent.")),
    }
    return [_cancel(name, BTC, order.client_id, reply, (sold,)) for name, (order, reply) in replies.items()]


def _cancel(name: str, symbol: Symbol, client_id: str, reply: HttpAnswer, trades: tuple[Json, ...] = ()) -> Case:
    def cancel(exchange: LiveExchange) -> Any:
        return exchange.cancel_order(symbol, client_id)

    return Case(f"cancel {name}", cancel, reply, client_id, states_terms=False, trades=trades)


def _asking() -> list[Case]:
    entry, stop = an_intent(_id(30)), a_stop(_id(31))
    trades = (a_trade("19999.00", "0.02000", 56), a_trade("20000.00", "0.03000", 57))
    partly = an_order(entry, executed="0.02", quote="399.98", status="CANCELED")
    return [
        _ask("a filled one", BTC, entry.client_id, _ok(an_order(entry, executed="0.05", quote="999.98")), trades),
        _ask("a cancelled one", BTC, entry.client_id, _ok(partly), trades[:1]),
        _ask("a resting one", BTC, stop.client_id, _ok(an_order(stop))),
        _ask("an absent one", BTC, _id(32), NOT_FOUND),
    ]


def _ask(name: str, symbol: Symbol, client_id: str, reply: HttpAnswer, trades: tuple[Json, ...] = ()) -> Case:
    def ask(exchange: LiveExchange) -> Any:
        return exchange.order_status(symbol, client_id)

    return Case(f"ask {name}", ask, reply, client_id, writes=False, states_terms=False, trades=trades)


def _recorded() -> list[Case]:
    """Give the venue's recorded answers to orders, each asked for by the order it is about."""
    folder = recorded_folder()
    if folder is None:
        return []
    found = []
    for path in sorted((folder / "orders").glob("*.json")):
        body = json.loads(path.read_text())
        if not isinstance(body, dict) or "clientOrderId" not in body or "status" not in body:
            continue
        symbol = symbol_named(body["symbol"])
        if "origClientOrderId" in body:
            found.append(_cancel(path.stem, symbol, body["origClientOrderId"], _ok(body)))
        elif "transactTime" in body:
            found.append(_create(path.stem, _intent_of(body, symbol), body))
        else:
            found.append(_ask(path.stem, symbol, body["clientOrderId"], _ok(body)))
    return found


def _intent_of(body: Json, symbol: Symbol) -> OrderIntent:
    kind = OrderType(body["type"])
    return an_intent(
        body["clientOrderId"],
        symbol=symbol,
        side=Side(body["side"]),
        type=kind,
        quantity=Decimal(body["origQty"]),
        limit_price=Decimal(body["price"]) if kind in _PRICED and Decimal(body["price"]) else Decimal(1),
    )
