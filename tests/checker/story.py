"""The journal replayed fact by fact: what was owned, held and resting after each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.checker.book_rows import NEVER_PLACED, TERMINAL, Book, EventRow, FillRow, IntentRow, LedgerRow

PAST_FACTS = frozenset({"OrderFilled", "PositionOpened", "LegTaken", "PositionClosed"})
"""Facts that carry the instant of a trade, which may lie before the instant the bot learned of it."""


@dataclass(slots=True)
class Holding:
    """What the fills so far leave of a position. `entry_ended_ms` is None while its entry may still buy."""

    position_id: str
    symbol: str
    step: int
    quantity: int = 0
    cost: int = 0
    paid: int = 0
    brought: int = 0
    opened_ms: int = 0
    last_buy_ms: int = 0
    entry_ended_ms: int | None = None

    @property
    def sellable(self) -> int:
        return self.quantity // self.step * self.step

    @property
    def realized(self) -> int:
        """What a closed position earned, in units of the quote asset."""
        return self.brought - self.paid


@dataclass
class Story:
    """The state after the facts applied so far. `now_ms` is the newest instant the bot was at.

    `doubtful` holds since when nobody could say what became of an order.
    """

    book: Book
    now_ms: int = 0
    cash: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    holdings: dict[str, Holding] = field(default_factory=dict)
    live: dict[str, IntentRow] = field(default_factory=dict)
    doubtful: dict[str, int] = field(default_factory=dict)
    longest_doubt_ms: int = 0
    filled: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    filled_quote: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _deposits: list[LedgerRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._deposits = [row for row in self.book.ledger if row.symbol is None]

    def fill(self, event: EventRow) -> FillRow | None:
        """Give the fill an `OrderFilled` is about."""
        return self.book.fill_of.get((event.facts["symbol"], event.facts["trade_id"]))

    def intent(self, event: EventRow) -> IntentRow | None:
        """Give the intent an order's fact is about."""
        return self.book.intent_of.get(event.facts.get("client_id", ""))

    def apply(self, event: EventRow) -> None:
        """Bring the state up to date with one more fact."""
        if event.kind not in PAST_FACTS:
            self.now_ms = max(self.now_ms, event.at_ms)
        while self._deposits and self._deposits[0].at_ms <= event.at_ms:
            deposit = self._deposits.pop(0)
            self.cash[deposit.asset] += deposit.amount
        intent = self.intent(event)
        if intent is not None:
            self._apply_order(event, intent)
        elif event.kind == "PositionClosed":
            self.holdings.pop(event.facts["position_id"], None)

    def orders_of(self, position_id: str, *, purpose: str = "") -> Iterator[IntentRow]:
        """Give the orders of a position that may rest on the exchange; those it never took do not."""
        for row in self.live.values():
            if row.position_id == position_id and purpose in ("", row.purpose) and row.state not in NEVER_PLACED:
                yield row

    def left(self, intent: IntentRow) -> int:
        """Give what an order has not filled yet."""
        return intent.qty - self.filled[intent.client_id]

    def may_spend(self) -> dict[str, int]:
        """Give what the buys that are not finished may still spend, by symbol."""
        spend: defaultdict[str, int] = defaultdict(int)
        for row in self.live.values():
            if row.side == "BUY":
                spend[row.symbol] += max(row.reserved_quote - self.filled_quote[row.client_id], 0)
        return dict(spend)

    def occupied(self) -> set[str]:
        """Give the symbols held or being bought."""
        held = {item.symbol for item in self.holdings.values() if item.quantity > 0}
        return held | {row.symbol for row in self.live.values() if row.side == "BUY"}

    def _apply_order(self, event: EventRow, intent: IntentRow) -> None:
        if event.kind == "OrderSent":
            self.live[intent.client_id] = intent
        elif event.kind == "OrderOutcomeUnknown":
            self.doubtful.setdefault(intent.client_id, self.now_ms)
        elif event.kind in ("OrderFinished", "OrderRejected"):
            self.live.pop(intent.client_id, None)
            self._settle(intent.client_id)
            holding = self.holdings.get(intent.position_id)
            if intent.purpose == "entry" and holding is not None and intent.state in TERMINAL:
                holding.entry_ended_ms = self.now_ms
        elif event.kind == "OrderFilled":
            fill = self.fill(event)
            if fill is not None:
                self._book(fill, intent)

    def _settle(self, client_id: str) -> None:
        since = self.doubtful.pop(client_id, self.now_ms)
        self.longest_doubt_ms = max(self.longest_doubt_ms, self.now_ms - since)

    def _book(self, fill: FillRow, intent: IntentRow) -> None:
        base, _, quote = fill.symbol.partition("/")
        sign = 1 if fill.side == "BUY" else -1
        self.cash[base] += sign * fill.qty
        self.cash[quote] -= sign * fill.quote
        self.cash[fill.fee_asset] -= fill.fee
        self.filled[fill.client_id] += fill.qty
        self.filled_quote[fill.client_id] += fill.quote
        # A trade is proof enough that the exchange has the order.
        self._settle(fill.client_id)
        held = self.holdings.get(intent.position_id)
        if held is None:
            step = self.book.step(intent.position_id)
            held = self.holdings[intent.position_id] = Holding(intent.position_id, fill.symbol, step)
            held.opened_ms = fill.at_ms
        if sign > 0:
            held.quantity += fill.qty - fill.base_fee
            held.paid += fill.quote + fill.quote_fee
            held.cost += fill.quote + fill.quote_fee
            held.last_buy_ms = fill.at_ms
        else:
            held.cost -= held.cost * fill.qty // held.quantity if held.quantity > 0 else 0
            held.quantity -= fill.qty
            held.brought += fill.quote - fill.quote_fee
