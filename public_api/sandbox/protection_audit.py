"""How long bought units stood without a resting stop, judged by the exchange itself in market time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from bn_ml.domain.market import ZERO, MarketRules, Symbol
from bn_ml.domain.orders import Side
from bn_ml.venue.orders import STOPS, VenueOrder, VenueTrade
from bn_ml.venue.state import VenueState

BY_HAND = "web_"


@dataclass(frozen=True, slots=True)
class Uncovered:
    """One stretch of time in which `quantity` (its maximum) had no stop.

    `unserved_ms` is the part in which the exchange answered nobody or the symbol did not trade; `until_ms` is None
    while it lasts.
    """

    symbol: Symbol
    since_ms: int
    quantity: Decimal
    until_ms: int | None
    unserved_ms: int

    def reachable_s(self, now_ms: int) -> float:
        """Give the seconds in which a stop could have been placed."""
        return max(0, (self.until_ms or now_ms) - self.since_ms - self.unserved_ms) / 1000


@dataclass(slots=True)
class _Running:
    since_ms: int
    quantity: Decimal
    unserved_ms: int = 0


@dataclass(slots=True)
class ProtectionAudit:
    """Follows one account. Units of orders placed by hand (ids that begin `web_`) are not the client's to protect."""

    ended: list[Uncovered] = field(default_factory=list)
    _held: dict[Symbol, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    _running: dict[Symbol, _Running] = field(default_factory=dict)
    _unserved_since: int | None = None
    _halted_since: dict[Symbol, int] = field(default_factory=dict)

    def traded(self, trades: Sequence[VenueTrade]) -> None:
        """Take notice of trades, in the order they happened."""
        for trade in trades:
            if trade.client_id.startswith(BY_HAND):
                continue
            sign = 1 if trade.side is Side.BUY else -1
            base_fee = trade.fee if trade.fee_asset == trade.symbol.base else ZERO
            self._held[trade.symbol] = max(ZERO, self._held[trade.symbol] + sign * trade.quantity - base_fee)

    def look(self, state: VenueState, now_ms: int) -> None:
        """Compare what is held with what resting stops would sell."""
        for symbol, held in self._held.items():
            rules = state.rules.get(symbol)
            if rules is None:
                continue
            bare = min(held, state.account.of(symbol.base).total) - _covered(state.open_orders(symbol))
            book = state.books.get(symbol)
            self._follow(symbol, bare if book and _sellable(bare, rules, book.last) else ZERO, now_ms)
            self._halts(symbol, rules, now_ms)

    def answered(self, now_ms: int, *, served: bool) -> None:
        """Take notice of a signed request: from one that is not served until one that is, nobody could do anything."""
        if not served:
            self._unserved_since = now_ms if self._unserved_since is None else self._unserved_since
        elif self._unserved_since is not None:
            for run in self._running.values():
                run.unserved_ms += self._overlap(run, self._unserved_since, now_ms)
            self._unserved_since = None

    def stretches(self, now_ms: int) -> list[Uncovered]:
        """Give all stretches so far, those still running last."""
        return [*self.ended, *(self._so_far(symbol, None, now_ms) for symbol in sorted(self._running))]

    def longest(self, now_ms: int) -> Mapping[Symbol, float]:
        """Give, for each symbol ever held, the longest stretch in reachable seconds."""
        found: dict[Symbol, float] = dict.fromkeys(sorted(self._held), 0.0)
        for stretch in self.stretches(now_ms):
            found[stretch.symbol] = max(found.get(stretch.symbol, 0.0), stretch.reachable_s(now_ms))
        return found

    def _follow(self, symbol: Symbol, bare: Decimal, now_ms: int) -> None:
        run = self._running.get(symbol)
        if bare > 0 and run is None:
            self._running[symbol] = _Running(now_ms, bare)
        elif bare > 0 and run is not None:
            run.quantity = max(run.quantity, bare)
        elif run is not None:
            self.ended.append(self._so_far(symbol, now_ms, now_ms))
            del self._running[symbol]

    def _so_far(self, symbol: Symbol, until_ms: int | None, now_ms: int) -> Uncovered:
        run = self._running[symbol]
        waiting = self._overlap(run, self._unserved_since, now_ms)
        if self._unserved_since is None:
            waiting = self._overlap(run, self._halted_since.get(symbol), now_ms)
        return Uncovered(symbol, run.since_ms, run.quantity, until_ms, run.unserved_ms + waiting)

    def _halts(self, symbol: Symbol, rules: MarketRules, now_ms: int) -> None:
        if not rules.trading:
            self._halted_since.setdefault(symbol, now_ms)
        elif symbol in self._halted_since:
            since_ms = self._halted_since.pop(symbol)
            run = self._running.get(symbol)
            if run is not None:
                run.unserved_ms += self._overlap(run, since_ms, now_ms)

    @staticmethod
    def _overlap(run: _Running, since_ms: int | None, now_ms: int) -> int:
        return 0 if since_ms is None else max(0, now_ms - max(since_ms, run.since_ms))


def _covered(orders: Sequence[VenueOrder]) -> Decimal:
    return sum(
        (
            order.remaining
            for order in orders
            if order.side is Side.SELL and order.type in STOPS and not order.client_id.startswith(BY_HAND)
        ),
        ZERO,
    )


def _sellable(quantity: Decimal, rules: MarketRules, price: Decimal) -> bool:
    """Whether an order of its own could sell this much; less is dust."""
    if quantity <= 0:
        return False
    whole = rules.quantity_down(quantity)
    return whole >= max(rules.min_quantity, rules.step) and whole * price >= rules.min_notional
