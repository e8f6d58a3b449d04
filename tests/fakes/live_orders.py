"""Builders for the live exchange: intents, the venue's answers to them, and a transport that plays a script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side, TimeInForce
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.live_exchange import LiveExchange
from bn_ml.settings import ExchangeSettings

BTC = Symbol("BTC/USDC")
NOW = from_ms(1_700_000_000_000)
ENTRY_ID, STOP_ID, TARGET_ID, LIST_ID = "bnml-abc123-11d", "bnml-abc123-12f", "bnml-abc123-13h", "bnml-abc123-14j"


def an_intent(client_id: str = ENTRY_ID, **changes: Any) -> OrderIntent:
    values: dict[str, Any] = {
        "client_id": client_id,
        "symbol": BTC,
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "quantity": Decimal("0.05000"),
        "purpose": Purpose.ENTRY,
        "position_id": "P1",
        "created_at": NOW,
        "limit_price": Decimal("20000.00"),
        "time_in_force": TimeInForce.IOC,
        **changes,
    }
    return OrderIntent(**values)


def a_stop(client_id: str = STOP_ID, **changes: Any) -> OrderIntent:
    values = {
        "side": Side.SELL,
        "type": OrderType.STOP_LOSS,
        "purpose": Purpose.STOP,
        "limit_price": None,
        "time_in_force": None,
        "stop_price": Decimal("19700.00"),
    }
    return an_intent(client_id, **{**values, **changes})


def a_market_exit(**changes: Any) -> OrderIntent:
    values = {
        "side": Side.SELL,
        "type": OrderType.MARKET,
        "purpose": Purpose.EXIT,
        "limit_price": None,
        "time_in_force": None,
    }
    return an_intent(**{**values, **changes})


def an_oco(**changes: Any) -> tuple[OrderIntent, OrderIntent]:
    target = an_intent(
        TARGET_ID, side=Side.SELL, purpose=Purpose.TARGET, limit_price=Decimal("20400.00"), list_id=LIST_ID, **changes
    )
    return target, a_stop(list_id=LIST_ID, **changes)


def an_order(intent: OrderIntent, *, executed: str = "0.00000", quote: str = "0.00", **changes: Any) -> dict[str, Any]:
    """The venue's record of an order, as a new order or a query answers it without fills."""
    done = Decimal(executed)
    status = "NEW" if not done else "FILLED" if done == intent.quantity else "PARTIALLY_FILLED"
    return {
        "symbol": "BTCUSDC",
        "orderId": 28,
        "orderListId": -1,
        "clientOrderId": intent.client_id,
        "transactTime": to_ms(NOW) + 5,
        "price": f"{intent.limit_price or 0:.8f}",
        "origQty": f"{intent.quantity:.8f}",
        "executedQty": f"{done:.8f}",
        "origQuoteOrderQty": "0.000000",
        "cummulativeQuoteQty": f"{Decimal(quote):.8f}",
        "status": status,
        "timeInForce": "GTC" if intent.time_in_force is None else intent.time_in_force.value,
        "type": intent.type.value,
        "side": intent.side.value,
        "workingTime": to_ms(NOW) + 5,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        **({"stopPrice": f"{intent.stop_price:.8f}"} if intent.stop_price else {}),
        **changes,
    }


def a_fill(price: str, quantity: str, number: int, fee: str = "0.00001", asset: str = "BTC") -> dict[str, Any]:
    return {"price": price, "qty": quantity, "commission": fee, "commissionAsset": asset, "tradeId": number}


def a_trade(price: str, quantity: str, number: int, *, order: int = 28, **changes: Any) -> dict[str, Any]:
    """One record of myTrades."""
    return {
        "symbol": "BTCUSDC",
        "id": number,
        "orderId": order,
        "orderListId": -1,
        "price": price,
        "qty": quantity,
        "quoteQty": f"{Decimal(price) * Decimal(quantity):.8f}",
        "commission": "0.00001000",
        "commissionAsset": "BTC",
        "time": to_ms(NOW) + 6,
        "isBuyer": True,
        "isMaker": False,
        "isBestMatch": True,
        **changes,
    }


def two_fills(intent: OrderIntent) -> dict[str, Any]:
    """A complete answer: the order filled in two trades."""
    fills = [a_fill("19999.00", "0.02000", 56), a_fill("20000.00", "0.03000", 57)]
    return an_order(intent, executed="0.05", quote="999.98", fills=fills)


def a_cancel(intent: OrderIntent, **changes: Any) -> dict[str, Any]:
    """The venue's answer to a cancel of one order: its id is a new one, ours the former."""
    record = an_order(intent, **{"status": "CANCELED", **changes})
    return {**record, "origClientOrderId": intent.client_id, "clientOrderId": "G1kLo6aDv2KGNTFcjfTSFq"}


def an_oco_answer(target: OrderIntent, stop: OrderIntent, **changes: Any) -> dict[str, Any]:
    legs = [
        an_order(stop, orderId=10, orderListId=1, workingTime=-1),
        an_order(target, orderId=11, orderListId=1, type="LIMIT_MAKER"),
    ]
    return {
        "orderListId": 1,
        "contingencyType": "OCO",
        "listStatusType": "EXEC_STARTED",
        "listOrderStatus": "EXECUTING",
        "listClientOrderId": target.list_id,
        "transactionTime": to_ms(NOW),
        "symbol": "BTCUSDC",
        "orders": [{key: leg[key] for key in ("symbol", "orderId", "clientOrderId")} for leg in legs],
        "orderReports": legs,
        **changes,
    }


def ok(value: object, **headers: str) -> HttpAnswer:
    return HttpAnswer(200, value if isinstance(value, str) else json.dumps(value), headers)


def refusal(code: int, text: str = "Filter failure: LOT_SIZE", status: int = 400, **headers: str) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(status, json.dumps({"code": code, "msg": text}), named)


class ScriptedTransport:
    """Answers in turn from a script and keeps what was asked; a script that ran out is a test that is wrong."""

    def __init__(self, *script: HttpAnswer | NoAnswer, clock: SimulatedClock | None = None) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str, dict[str, str], bool]] = []
        self.clock = clock
        self.takes = timedelta(0)

    def request(self, method: str, path: str, params: Mapping[str, str], *, signed: bool) -> HttpAnswer:
        self.asked.append((method, path, dict(params), signed))
        if self.clock is not None:
            self.clock.sleep_until(self.clock.now() + self.takes)
        answer = self.script.pop(0)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    @property
    def params(self) -> dict[str, str]:
        return self.asked[-1][2]

    def paths(self) -> list[str]:
        return [f"{method} {path.removeprefix('/api/v3/')}" for method, path, _, _ in self.asked]


def a_live_exchange(
    *script: HttpAnswer | NoAnswer, at: datetime = NOW, settings: Mapping[str, object] | None = None, **parts: Any
) -> tuple[LiveExchange, ScriptedTransport, SimulatedClock]:
    clock = SimulatedClock(at)
    transport = ScriptedTransport(*script, clock=clock)
    chosen = ExchangeSettings.model_validate({"retry_attempts": 0, **(settings or {})})
    return LiveExchange(transport, clock, chosen, symbols=(BTC,), **parts), transport, clock
