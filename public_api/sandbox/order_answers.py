"""Orders, lists and trades as the venue writes them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import OrderStatus, OrderType, Side
from bn_ml.venue.orders import CONTINGENT, NO_STRATEGY, Expiry, VenueOrder, VenueTrade
from public_api.sandbox.answers import Json, Row, money
from public_api.sandbox.listings import wire


class Detail(Enum):
    """How much the answer to a placement says."""

    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


def usual_detail(kind: OrderType) -> Detail:
    """Give the detail of a type when none was asked for."""
    return Detail.FULL if kind in (OrderType.MARKET, OrderType.LIMIT) else Detail.ACK


def status_word(order: VenueOrder) -> str:
    """Give an order's status; one ended by self-trade prevention has its own."""
    if order.status is OrderStatus.EXPIRED and order.expiry_reason == Expiry.SELF_TRADE:
        return "EXPIRED_IN_MATCH"
    return order.status.value


def expiry_word(order: VenueOrder) -> str | None:
    """Give why an order expired, None where the venue says nothing."""
    if order.status is not OrderStatus.EXPIRED or order.expiry_reason in ("", Expiry.SELF_TRADE):
        return None
    return order.expiry_reason


def placed(order: VenueOrder, trades: Sequence[VenueTrade], detail: Detail) -> Row:
    """Answer a placement."""
    row: Row = {
        "symbol": wire(order.symbol),
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }
    if detail is Detail.ACK:
        return row
    row |= _amounts(order) | _optional(order) | {"workingTime": order.working_ms}
    if detail is Detail.FULL:
        row["fills"] = [_fill(trade) for trade in trades]
    return row | _endings(order) | {"selfTradePreventionMode": order.self_trade.value}


def cancelled(order: VenueOrder, client_id: str) -> Row:
    """Answer a cancellation that was given `client_id`."""
    row: Row = {
        "symbol": wire(order.symbol),
        "origClientOrderId": order.client_id,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": client_id,
        "transactTime": order.updated_ms,
    }
    row |= _amounts(order) | _optional(order)
    return row | {"selfTradePreventionMode": order.self_trade.value}


def queried(order: VenueOrder) -> Row:
    """Answer a query for an order."""
    row: Row = {
        "symbol": wire(order.symbol),
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_id,
        "price": money(order.price),
        "origQty": money(order.quantity),
        "executedQty": money(order.executed),
        "cummulativeQuoteQty": money(order.executed_quote),
        "status": status_word(order),
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
        "stopPrice": money(order.stop_price),
        "icebergQty": money(order.iceberg),
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": order.working_ms > 0,
        "workingTime": order.working_ms,
        "origQuoteOrderQty": money(order.quote_quantity),
        "selfTradePreventionMode": order.self_trade.value,
    }
    row |= _trailing(order) | _strategy(order) | _endings(order)
    return row


def amended(order: VenueOrder, former_client_id: str, execution_id: int) -> Row:
    """Answer an amendment."""
    return {
        "transactTime": order.updated_ms,
        "executionId": execution_id,
        "amendedOrder": {
            "symbol": wire(order.symbol),
            "orderId": order.order_id,
            "orderListId": order.list_id,
            "origClientOrderId": former_client_id,
            "clientOrderId": order.client_id,
            "price": money(order.price),
            "qty": money(order.quantity),
            "executedQty": money(order.executed),
            "preventedQty": money(order.prevented),
            "quoteOrderQty": money(order.quote_quantity),
            "cumulativeQuoteQty": money(order.executed_quote),
            "status": status_word(order),
            "timeInForce": order.time_in_force.value,
            "type": order.type.value,
            "side": order.side.value,
            "workingTime": order.working_ms,
            "selfTradePreventionMode": order.self_trade.value,
        },
    }


def order_list(legs: Sequence[VenueOrder], *, at_ms: int | None = None) -> Row:
    """Give an order list by its legs; `at_ms` where its time is not that of its placement."""
    first = legs[0]
    done = not any(leg.is_open for leg in legs)
    return {
        "orderListId": first.list_id,
        "contingencyType": "OTO" if any(leg.pending for leg in legs) else "OCO",
        "listStatusType": "ALL_DONE" if done else "EXEC_STARTED",
        "listOrderStatus": "ALL_DONE" if done else "EXECUTING",
        "listClientOrderId": first.list_client_id,
        "transactionTime": first.created_ms if at_ms is None else at_ms,
        "symbol": wire(first.symbol),
        "orders": [
            {"symbol": wire(leg.symbol), "orderId": leg.order_id, "clientOrderId": leg.client_id} for leg in legs
        ],
    }


def trade(row: VenueTrade, list_id: int) -> Row:
    """Give one of the account's trades."""
    return {
        "symbol": wire(row.symbol),
        "id": row.trade_id,
        "orderId": row.order_id,
        "orderListId": list_id,
        "price": money(row.price),
        "qty": money(row.quantity),
        "quoteQty": money(row.quote_quantity),
        "commission": money(row.fee),
        "commissionAsset": row.fee_asset,
        "time": row.at_ms,
        "isBuyer": row.side is Side.BUY,
        "isMaker": row.maker,
        "isBestMatch": True,
    }


def _amounts(order: VenueOrder) -> Row:
    row: Row = {"price": money(order.price)}
    if not (order.sized_by_working and order.quantity == ZERO):
        row["origQty"] = money(order.quantity)
    return row | {
        "executedQty": money(order.executed),
        "origQuoteOrderQty": money(order.quote_quantity),
        "cummulativeQuoteQty": money(order.executed_quote),
        "status": status_word(order),
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
    }


def _optional(order: VenueOrder) -> Row:
    row: Row = {}
    if order.type in CONTINGENT and order.stop_price:
        row["stopPrice"] = money(order.stop_price)
    row |= _trailing(order)
    if order.iceberg:
        row["icebergQty"] = money(order.iceberg)
    return row | _strategy(order)


def _trailing(order: VenueOrder) -> Row:
    return {"trailingDelta": order.trailing_delta, "trailingTime": order.trailing_ms} if order.trails else {}


def _strategy(order: VenueOrder) -> Row:
    names = ("strategyId", "strategyType")
    return {name: value for name, value in zip(names, order.strategy, strict=True) if value != NO_STRATEGY[0]}


def _endings(order: VenueOrder) -> Row:
    row: Row = {}
    if order.prevented:
        row["preventedQuantity"] = money(order.prevented)
    word = expiry_word(order)
    if word is not None:
        row["expiryReason"] = word
    return row


def _fill(row: VenueTrade) -> Json:
    return {
        "price": money(row.price),
        "qty": money(row.quantity),
        "commission": money(row.fee),
        "commissionAsset": row.fee_asset,
        "tradeId": row.trade_id,
    }
