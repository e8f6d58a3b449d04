"""Where a venue keeps itself, and its records as JSON text: exact decimals as strings, keys sorted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from bn_ml.venue.liquidity import Book
from bn_ml.venue.orders import SelfTrade, VenueOrder, VenueTrade


class VenuePersistence(Protocol):
    """Durable storage of one venue; `save` has committed everything when it returns, or raises `StateError`."""

    def save(
        self,
        changed_orders: Mapping[str, str],
        new_trades: Sequence[str],
        balances: Mapping[str, str],
        meta: Mapping[str, str],
    ) -> None:
        """Commit in one piece: orders, balances and meta replace entries of the same key, trades are appended."""

    def orders(self) -> Mapping[str, str]:
        """Give every order ever saved, by key."""

    def trades(self) -> Sequence[str]:
        """Give every trade ever saved, oldest first."""

    def balances(self) -> Mapping[str, str]:
        """Give the balances by asset."""

    def meta(self) -> Mapping[str, str]:
        """Give counters and market state by key."""


class MemoryPersistence:
    """Keeps a venue's records in memory: for back-tests and tests."""

    def __init__(self) -> None:
        """Start empty."""
        self._orders: dict[str, str] = {}
        self._trades: list[str] = []
        self._balances: dict[str, str] = {}
        self._meta: dict[str, str] = {}

    def save(
        self,
        changed_orders: Mapping[str, str],
        new_trades: Sequence[str],
        balances: Mapping[str, str],
        meta: Mapping[str, str],
    ) -> None:
        """Keep the records."""
        self._orders.update(changed_orders)
        self._trades.extend(new_trades)
        self._balances.update(balances)
        self._meta.update(meta)

    def orders(self) -> Mapping[str, str]:
        """Give the orders by key."""
        return dict(self._orders)

    def trades(self) -> Sequence[str]:
        """Give the trades, oldest first."""
        return tuple(self._trades)

    def balances(self) -> Mapping[str, str]:
        """Give the balances by asset."""
        return dict(self._balances)

    def meta(self) -> Mapping[str, str]:
        """Give counters and market state."""
        return dict(self._meta)


def order_key(symbol: Symbol, order_id: int) -> str:
    """Give the key of an order's record."""
    return f"{symbol}#{order_id}"


def order_text(order: VenueOrder) -> str:
    """Write an order."""
    return _dump(
        {
            "order_id": order.order_id,
            "symbol": str(order.symbol),
            "side": order.side.value,
            "type": order.type.value,
            "client_id": order.client_id,
            "quantity": str(order.quantity),
            "created_ms": order.created_ms,
            "updated_ms": order.updated_ms,
            "status": order.status.value,
            "quote_quantity": str(order.quote_quantity),
            "price": str(order.price),
            "stop_price": str(order.stop_price),
            "trailing_delta": order.trailing_delta,
            "time_in_force": order.time_in_force.value,
            "executed": str(order.executed),
            "executed_quote": str(order.executed_quote),
            "lock_price": str(order.lock_price),
            "triggered": int(order.triggered),
            "best": str(order.best),
            "trailing_ms": order.trailing_ms,
            "working_ms": order.working_ms,
            "list_id": order.list_id,
            "list_client_id": order.list_client_id,
            "expiry_reason": order.expiry_reason,
            "pending": int(order.pending),
            "sized_by_working": int(order.sized_by_working),
            "iceberg": str(order.iceberg),
            "self_trade": order.self_trade.value,
            "strategy_id": order.strategy[0],
            "strategy_type": order.strategy[1],
            "prevented": str(order.prevented),
            "amends": order.amends,
        }
    )


def order_from(text: str) -> VenueOrder:
    """Read an order."""
    row = _Row(text)
    return VenueOrder(
        order_id=row.whole("order_id"),
        symbol=Symbol(row.word("symbol")),
        side=Side(row.word("side")),
        type=OrderType(row.word("type")),
        client_id=row.word("client_id"),
        quantity=row.amount("quantity"),
        created_ms=row.whole("created_ms"),
        updated_ms=row.whole("updated_ms"),
        status=OrderStatus(row.word("status")),
        quote_quantity=row.amount("quote_quantity"),
        price=row.amount("price"),
        stop_price=row.amount("stop_price"),
        trailing_delta=row.whole("trailing_delta"),
        time_in_force=TimeInForce(row.word("time_in_force")),
        executed=row.amount("executed"),
        executed_quote=row.amount("executed_quote"),
        lock_price=row.amount("lock_price"),
        triggered=bool(row.whole("triggered")),
        best=row.amount("best"),
        trailing_ms=row.whole("trailing_ms"),
        working_ms=row.whole("working_ms"),
        list_id=row.whole("list_id"),
        list_client_id=row.word("list_client_id"),
        expiry_reason=row.word("expiry_reason"),
        pending=bool(row.whole("pending", 0)),
        sized_by_working=bool(row.whole("sized_by_working", 0)),
        iceberg=row.amount("iceberg", "0"),
        self_trade=SelfTrade(row.word("self_trade", SelfTrade.EXPIRE_MAKER.value)),
        strategy=(row.whole("strategy_id", -1), row.whole("strategy_type", -1)),
        prevented=row.amount("prevented", "0"),
        amends=row.whole("amends", 0),
    )


def trade_text(trade: VenueTrade) -> str:
    """Write a trade."""
    return _dump(
        {
            "trade_id": trade.trade_id,
            "order_id": trade.order_id,
            "symbol": str(trade.symbol),
            "client_id": trade.client_id,
            "side": trade.side.value,
            "price": str(trade.price),
            "quantity": str(trade.quantity),
            "quote_quantity": str(trade.quote_quantity),
            "fee": str(trade.fee),
            "fee_asset": trade.fee_asset,
            "maker": int(trade.maker),
            "at_ms": trade.at_ms,
        }
    )


def trade_from(text: str) -> VenueTrade:
    """Read a trade."""
    row = _Row(text)
    return VenueTrade(
        trade_id=row.whole("trade_id"),
        order_id=row.whole("order_id"),
        symbol=Symbol(row.word("symbol")),
        client_id=row.word("client_id"),
        side=Side(row.word("side")),
        price=row.amount("price"),
        quantity=row.amount("quantity"),
        quote_quantity=row.amount("quote_quantity"),
        fee=row.amount("fee"),
        fee_asset=row.word("fee_asset"),
        maker=bool(row.whole("maker")),
        at_ms=row.whole("at_ms"),
    )


def book_text(book: Book) -> str:
    """Write a book."""
    prices = (book.bid, book.ask, book.last, book.depth_quote, book.volume_24h_quote, book.bought, book.sold)
    return " ".join((str(book.at_ms), *(str(price) for price in prices)))


def book_from(symbol: Symbol, text: str) -> Book:
    """Read a book."""
    at_ms, *words = text.split(" ")
    bid, ask, last, depth, volume, bought, sold = (Decimal(word) for word in words)
    return Book(symbol, bid, ask, last, int(at_ms), depth, volume, bought, sold)


def balance_text(balance: Balance) -> str:
    """Write free and locked of an asset."""
    return f"{balance.free} {balance.locked}"


def balance_from(asset: str, text: str) -> Balance:
    """Read free and locked of an asset."""
    free, locked = text.split(" ")
    return Balance(asset, Decimal(free), Decimal(locked))


def _dump(row: Mapping[str, str | int]) -> str:
    return json.dumps(row, separators=(",", ":"), sort_keys=True)


class _Row:
    """One record; fields that older records lack are read with their default."""

    def __init__(self, text: str) -> None:
        self._row: dict[str, str | int] = json.loads(text)

    def word(self, name: str, absent: str | None = None) -> str:
        return str(self._value(name, absent))

    def whole(self, name: str, absent: int | None = None) -> int:
        return int(self._value(name, absent))

    def amount(self, name: str, absent: str | None = None) -> Decimal:
        return Decimal(str(self._value(name, absent)))

    def _value(self, name: str, absent: str | int | None) -> str | int:
        return self._row[name] if absent is None else self._row.get(name, absent)
