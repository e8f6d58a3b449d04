"""All a venue knows: account, orders, trades, books, counters; loaded from and saved to its persistence."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from decimal import Decimal

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.venue.account import DISCOUNT_ASSET, Account
from bn_ml.venue.errors import invalid_symbol
from bn_ml.venue.happenings import OrderHappening, Step, happening
from bn_ml.venue.liquidity import Book
from bn_ml.venue.orders import NO_LIST, VenueOrder, VenueTrade
from bn_ml.venue.persistence import (
    VenuePersistence,
    balance_from,
    balance_text,
    book_from,
    book_text,
    order_from,
    order_key,
    order_text,
    trade_from,
    trade_text,
)
from bn_ml.venue.price_range import PriceRange

CLOSED_KEPT = 1000
LISTS = "lists"


class VenueState:
    """The venue's memory. Closed orders beyond the newest `closed_kept` are read back from the persistence."""

    def __init__(self, persistence: VenuePersistence, closed_kept: int = CLOSED_KEPT) -> None:
        """Load everything that was saved."""
        self.rules: dict[Symbol, MarketRules] = {}
        self.books: dict[Symbol, Book] = {}
        self.synced_ms: dict[Symbol, int] = {}
        self.deposits: dict[str, Decimal] = {}
        self.price_ranges: dict[Symbol, PriceRange] = {}
        self.happenings: list[OrderHappening] | None = None
        self._persistence = persistence
        self._closed_kept = closed_kept
        self._orders: dict[str, VenueOrder] = {}
        self._open: dict[Symbol, dict[int, VenueOrder]] = defaultdict(dict)
        self._closed: deque[str] = deque()
        self._forgotten = False
        self._newest: dict[tuple[Symbol, str], str] = {}
        self._lists: dict[int, tuple[str, ...]] = {}
        self._trades: dict[str, list[VenueTrade]] = defaultdict(list)
        self._counters: dict[str, int] = {}
        self._changed: dict[str, str] = {}
        self._new_trades: list[str] = []
        self._saved_balances: dict[str, str] = {}
        self._saved_meta: dict[str, str] = {}
        self.account = Account({asset: balance_from(asset, text) for asset, text in persistence.balances().items()})
        self._load()

    def rules_of(self, symbol: Symbol) -> MarketRules:
        """Give a symbol's rules; raises `VenueError` for one the venue does not list."""
        rules = self.rules.get(symbol)
        if rules is None:
            raise invalid_symbol()
        return rules

    def next_id(self, counter: str) -> int:
        """Give the next number of a counter, from 1."""
        self._counters[counter] = self._counters.get(counter, 0) + 1
        return self._counters[counter]

    def put(self, order: VenueOrder) -> None:
        """Keep an order, new or changed."""
        key = order_key(order.symbol, order.order_id)
        if self.happenings is not None and (step := happening(self._orders.get(key), order)) is not None:
            self.happenings.append(step)
        self._changed[key] = order_text(order)
        self._keep(key, order)

    def add_trade(self, trade: VenueTrade) -> None:
        """Keep a trade."""
        self._trades[order_key(trade.symbol, trade.order_id)].append(trade)
        self._new_trades.append(trade_text(trade))
        if self.happenings is not None:
            order = self._orders[order_key(trade.symbol, trade.order_id)]
            self.happenings.append(OrderHappening(Step.TRADE, order, trade.at_ms, trade))

    def open_orders(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Give the open orders of a symbol, or of all, oldest first."""
        if symbol is not None:
            return tuple(self._open.get(symbol, {}).values())
        return tuple(order for name in sorted(self._open) for order in self._open[name].values())

    def open_symbols(self) -> tuple[Symbol, ...]:
        """Give the symbols with open orders, sorted."""
        return tuple(sorted(symbol for symbol, orders in self._open.items() if orders))

    def group(self, order: VenueOrder) -> tuple[VenueOrder, ...]:
        """Give the orders that share a reservation with `order`: its list, or itself."""
        if order.list_id == NO_LIST:
            known = self._orders.get(order_key(order.symbol, order.order_id))
            return () if known is None else (known,)
        return tuple(self._orders[key] for key in self._lists.get(order.list_id, ()) if key in self._orders)

    def by_client_id(self, symbol: Symbol, client_id: str) -> VenueOrder | None:
        """Give the newest order with a client id."""
        key = self._newest.get((symbol, client_id))
        if key is not None:
            return self._orders[key]
        found = [order for order in self._archive() if (order.symbol, order.client_id) == (symbol, client_id)]
        return max(found, key=lambda order: order.order_id, default=None)

    def by_order_id(self, symbol: Symbol, order_id: int) -> VenueOrder | None:
        """Give an order by the venue's own number."""
        known = self._orders.get(order_key(symbol, order_id))
        if known is not None:
            return known
        found = (order for order in self._archive() if (order.symbol, order.order_id) == (symbol, order_id))
        return next(found, None)

    def all_orders(self) -> Sequence[VenueOrder]:
        """Give every saved order, in no order."""
        return self._saved_orders()

    def by_list(self, list_id: int) -> tuple[VenueOrder, ...]:
        """Give the legs of a list in the order they were numbered; empty when there never was one."""
        known = tuple(self._orders[key] for key in self._lists.get(list_id, ()) if key in self._orders)
        found = known or [order for order in self._archive() if order.list_id == list_id]
        return tuple(sorted(found, key=lambda order: order.order_id))

    def trades_of(self, order: VenueOrder) -> tuple[VenueTrade, ...]:
        """Give the trades of an order, oldest first."""
        key = order_key(order.symbol, order.order_id)
        if key in self._orders or not order.executed:
            return tuple(self._trades.get(key, ()))
        mine = (trade_from(text) for text in self._persistence.trades())
        return tuple(trade for trade in mine if order_key(trade.symbol, trade.order_id) == key)

    def all_trades(self) -> Sequence[VenueTrade]:
        """Give every saved trade, oldest first."""
        return [trade_from(text) for text in self._persistence.trades()]

    def save(self) -> None:
        """Hand everything changed to the persistence; returns when it is durable."""
        balances = {asset: balance_text(balance) for asset, balance in self.account.all().items()}
        meta = self._meta()
        self._persistence.save(
            self._changed,
            self._new_trades,
            _differing(balances, self._saved_balances),
            _differing(meta, self._saved_meta),
        )
        self._changed, self._new_trades = {}, []
        self._saved_balances, self._saved_meta = balances, meta

    def save_if_changed(self) -> None:
        """Save when an order changed or traded."""
        if self._changed or self._new_trades:
            self.save()

    def _meta(self) -> dict[str, str]:
        meta = {f"counter:{name}": str(value) for name, value in self._counters.items()}
        meta |= {f"deposit:{asset}": str(amount) for asset, amount in self.deposits.items()}
        for symbol, at_ms in self.synced_ms.items():
            if f"order:{symbol}" in self._counters:
                meta[f"synced:{symbol}"] = str(at_ms)
        for symbol, book in self.books.items():
            if f"order:{symbol}" in self._counters or symbol.base == DISCOUNT_ASSET:
                meta[f"book:{symbol}"] = book_text(book)
        return meta

    def _load(self) -> None:
        for entry, text in self._persistence.meta().items():
            kind, _, name = entry.partition(":")
            if kind == "counter":
                self._counters[name] = int(text)
            elif kind == "deposit":
                self.deposits[name] = Decimal(text)
            elif kind == "synced":
                self.synced_ms[Symbol(name)] = int(text)
            elif kind == "book":
                self.books[Symbol(name)] = book_from(Symbol(name), text)
        for text in self._persistence.trades():
            trade = trade_from(text)
            self._trades[order_key(trade.symbol, trade.order_id)].append(trade)
        orders = sorted(self._saved_orders(), key=lambda order: (order.updated_ms, order.symbol, order.order_id))
        for order in orders:
            self._keep(order_key(order.symbol, order.order_id), order)
        for symbol, opened in self._open.items():
            self._open[symbol] = dict(sorted(opened.items()))

    def _keep(self, key: str, order: VenueOrder) -> None:
        self._orders[key] = order
        self._index(key, order)
        if order.is_open:
            self._open[order.symbol][order.order_id] = order
            return
        self._open[order.symbol].pop(order.order_id, None)
        self._closed.append(key)
        if len(self._closed) > self._closed_kept:
            self._forget(self._closed.popleft())

    def _index(self, key: str, order: VenueOrder) -> None:
        name = (order.symbol, order.client_id)
        former = self._orders.get(self._newest.get(name, ""))
        if former is None or former.order_id <= order.order_id:
            self._newest[name] = key
        if order.list_id != NO_LIST and key not in self._lists.get(order.list_id, ()):
            self._lists[order.list_id] = (*self._lists.get(order.list_id, ()), key)

    def _forget(self, key: str) -> None:
        order = self._orders.pop(key)
        self._forgotten = True
        self._trades.pop(key, None)
        self._lists.pop(order.list_id, None)
        if self._newest.get((order.symbol, order.client_id)) == key:
            del self._newest[(order.symbol, order.client_id)]

    def _archive(self) -> list[VenueOrder]:
        return self._saved_orders() if self._forgotten else []

    def _saved_orders(self) -> list[VenueOrder]:
        return [order_from(text) for text in self._persistence.orders().values()]


def held(state: VenueState, asset: str) -> Decimal:
    """Give free plus locked of an asset."""
    return state.account.of(asset).total


def _differing(entries: Mapping[str, str], saved: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in entries.items() if saved.get(key) != text}
