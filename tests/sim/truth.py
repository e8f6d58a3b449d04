"""What the venue knows of the bot's orders, kept apart from anything the bot says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import OrderIntent, Purpose, Side
from bn_ml.venue.orders import CONTINGENT, NO_LIST, VenueOrder, VenueTrade
from bn_ml.venue.venue import Venue

OURS = "bnml-"


@dataclass(frozen=True, slots=True)
class Sent:
    """One order the bot sent, as it sent it."""

    intent: OrderIntent
    at_ms: int


class Truth:
    """Trades, holdings and resting orders of the bot at the venue."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.sent: dict[str, Sent] = {}
        self.trades: list[VenueTrade] = []
        self.held: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        self.sold_at_ms: dict[str, int] = {}
        self.bought_at_ms: dict[str, int] = {}
        self.accepted: defaultdict[str, int] = defaultdict(int)
        self.on_trade: Callable[[VenueTrade], None] = lambda trade: None
        self.on_strange: Callable[[VenueTrade], None] = lambda trade: None
        self.on_stop: Callable[[OrderIntent, VenueOrder], None] = lambda intent, order: None
        self._numbers: dict[str, str] = {}
        self._hook(venue)

    def note(self, intent: OrderIntent, at_ms: int) -> None:
        """Take notice of an order the bot sends."""
        self.sent.setdefault(intent.client_id, Sent(intent, at_ms))

    def position_of(self, client_id: str) -> str:
        """Give the position an order belongs to, empty for one the bot never sent."""
        sent = self.sent.get(client_id)
        return sent.intent.position_id if sent else ""

    def resting(self, symbol: Symbol | None = None) -> tuple[VenueOrder, ...]:
        """Give the open orders that carry the bot's prefix."""
        return tuple(item for item in self.venue.open_orders(symbol) if item.client_id.startswith(OURS))

    def covered(self, position_id: str, symbol: Symbol) -> dict[str, Decimal]:
        """Give what resting stops of a position cover, by tranche."""
        found: dict[str, Decimal] = {}
        for order in self.venue.open_orders(symbol):
            sent = self.sent.get(order.client_id)
            if sent is None or sent.intent.position_id != position_id or order.side is not Side.SELL:
                continue
            if order.type in CONTINGENT and order.is_dormant and sent.intent.purpose is Purpose.STOP:
                tranche = sent.intent.tranche
                found[tranche] = found.get(tranche, ZERO) + order.remaining
        return found

    def offered(self, symbol: Symbol) -> Decimal:
        """Give what the bot's resting sells can sell at most; the legs of a list exclude each other."""
        lists: dict[str, Decimal] = {}
        for order in self.resting(symbol):
            if order.side is Side.SELL:
                name = order.client_id if order.list_id == NO_LIST else str(order.list_id)
                lists[name] = max(lists.get(name, ZERO), order.remaining)
        return sum(lists.values(), ZERO)

    def held_of(self, symbol: Symbol) -> Decimal:
        """Give what the bot holds of a symbol, dust of closed positions included."""
        return sum(
            (amount for position_id, amount in self.held.items() if position_id.startswith(f"{symbol.key}-")), ZERO
        )

    def _hook(self, venue: Venue) -> None:
        add_trade, put = venue.state.add_trade, venue.state.put

        def add(trade: VenueTrade) -> None:
            add_trade(trade)
            if trade.client_id in self.sent:
                self._book(trade)
            else:
                self.on_strange(trade)

        def kept(order: VenueOrder) -> None:
            number = f"{order.symbol}#{order.order_id}"
            if number not in self._numbers:
                self.accepted[order.client_id] += 1
                self._numbers[number] = order.client_id if self.accepted[order.client_id] == 1 else ""
                self._accepted(order)
            put(order)

        venue.state.add_trade = add  # type: ignore[method-assign]
        venue.state.put = kept  # type: ignore[method-assign]

    def _accepted(self, order: VenueOrder) -> None:
        sent = self.sent.get(order.client_id)
        if sent is not None and sent.intent.purpose is Purpose.STOP:
            self.on_stop(sent.intent, order)

    def _book(self, trade: VenueTrade) -> None:
        if not self._numbers[f"{trade.symbol}#{trade.order_id}"]:
            self.on_strange(trade)
            return
        self.trades.append(trade)
        position_id = self.position_of(trade.client_id)
        if trade.side is Side.BUY:
            fee = trade.fee if trade.fee_asset == trade.symbol.base else ZERO
            self.held[position_id] += trade.quantity - fee
            self.bought_at_ms[position_id] = trade.at_ms
        else:
            self.held[position_id] -= trade.quantity
            self.sold_at_ms[position_id] = trade.at_ms
        self.on_trade(trade)
