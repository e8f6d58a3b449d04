"""Cancel everything of ours and sell what the bot bought: the same orders and books as always, no quote needed.

One pass cancels the orders of a position, reads each cancel back, sells at market what then is free, and goes on to the
next. Passes are repeated until the exchange itself shows nothing of ours any more. Whatever is unclear after a pass is
asked for in the next one; nothing is ever sent twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from bn_ml.client_ids import PREFIX, instance_of
from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, MarketRules, Symbol
from bn_ml.domain.orders import IntentRecord, IntentState, OrderIntent, OrderReport, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.errors import ExchangeError, MarketDataError, Transient
from trader.closing import is_too_small, sale_quantity
from trader.desk import Desk
from trader.entry_plan import load_plan
from trader.order_manager import OrderManager

log = logging.getLogger(__name__)

NOT_TRADING = "symbol_not_trading"
NOT_IN_WALLET = "not in the wallet"
UNCLEAR = "an order is unaccounted for"
TOO_SMALL_TIMES = 2
"""Up to how many times the minimum the exchange is believed that a sale is below it: prices may have fallen so far."""

MOST_UNCLEAR = 2
"""After so many cancels without a clear answer the exchange is asked whether it is there at all."""

Scope = Callable[[Symbol], bool]


@dataclass(frozen=True, slots=True)
class Remains:
    """What a pass has left behind, and why, per symbol; empty when nothing of ours is left to end or to sell."""

    why: Mapping[Symbol, str] = field(default_factory=dict)

    @property
    def is_flat(self) -> bool:
        """Whether nothing of ours is left at the exchange."""
        return all(reason == NOT_IN_WALLET for reason in self.why.values())

    @property
    def is_final(self) -> bool:
        """Whether another pass at once would change nothing."""
        return all(reason in (NOT_IN_WALLET, NOT_TRADING) for reason in self.why.values())


class Flattener:
    """Ends all orders and sells all positions of a scope. Start it only as the owner of the book."""

    def __init__(self, desk: Desk, orders: OrderManager, scope: Scope = lambda symbol: True) -> None:
        """All parts share the desk's store; symbols outside the scope are left alone."""
        self._desk = desk
        self._orders = orders
        self._positions = orders.positions
        self._scope = scope
        self._why: dict[Symbol, str] = {}

    def run_pass(self) -> Remains:
        """Try once to be flat; raises `Transient` while the exchange cannot be read."""
        self._why = {}
        for position in self._held():
            self._guarded(position.symbol, partial(self._close, position))
        self._end_entries()
        if self._unfinished():
            self._orders.refresh()
        self._end_strays()
        for record in self._unfinished():
            self._why.setdefault(record.intent.symbol, UNCLEAR)
        for position in self._held():
            self._why.setdefault(position.symbol, "not sold yet")
        return Remains(dict(self._why))

    def _held(self) -> tuple[Position, ...]:
        return tuple(item for item in self._positions.open_positions() if self._scope(item.symbol))

    def _unfinished(self) -> tuple[IntentRecord, ...]:
        return tuple(item for item in self._orders.open_intents() if self._scope(item.intent.symbol))

    def _guarded(self, symbol: Symbol, step: Callable[[], None]) -> None:
        """Let one symbol fail without the others, but not when the exchange as a whole is away."""
        try:
            step()
        except Transient:
            raise
        except (ExchangeError, MarketDataError) as error:
            self._why[symbol] = str(error)
            log.error("not flat yet symbol=%s reason=%s", symbol, error)

    def _close(self, position: Position) -> None:
        rules = self._rules(position)
        if not rules.trading:
            # Every order would be refused: what rests already protects better than nothing.
            self._why[position.symbol] = NOT_TRADING
            return
        if not self._is_cleared(position):
            self._why[position.symbol] = UNCLEAR
            # Tells a single unclear answer from an exchange that is away as a whole.
            self._orders.refresh()
            return
        held = self._positions.position(position.position_id)
        if held is not None and held.is_open:
            self._sell(held, rules)

    def _is_cleared(self, position: Position) -> bool:
        """Cancel a position's orders; False when any of them may still be open."""
        unclear = 0
        for record in self._orders.open_of(position.position_id):
            # The cancel of one leg has ended the other, too.
            if record.intent.client_id in self._ids_of(position):
                unclear += not self._orders.cancel(record).state.is_terminal
            if unclear == MOST_UNCLEAR:
                return False
        return not self._ids_of(position)

    def _ids_of(self, position: Position) -> frozenset[str]:
        return frozenset(item.intent.client_id for item in self._orders.open_of(position.position_id))

    def _sell(self, held: Position, rules: MarketRules) -> None:
        balance = self._desk.exchange.balances().get(held.symbol.base, Balance(held.symbol.base, ZERO))
        quantity = min(held.remaining_quantity, balance.free)
        sellable = sale_quantity(quantity, rules)
        if is_too_small(sellable, held.max_price_seen, rules):
            self._leave(held, missing=quantity < held.remaining_quantity)
            return
        record = self._send(held, sellable)
        if record.state is IntentState.REFUSED:
            self._why[held.symbol] = record.reason
            if is_told_too_small(record.reason, sellable * held.max_price_seen, rules):
                self._leave(held, missing=quantity < held.remaining_quantity)
            return
        after = self._positions.position(held.position_id)
        if after is not None and after.is_open and record.state.is_terminal:
            self._sell_rest(after, rules)

    def _sell_rest(self, after: Position, rules: MarketRules) -> None:
        """Go on after a sale that was only a part: more than one order's worth, or a book that was empty."""
        if is_too_small(sale_quantity(after.remaining_quantity, rules), after.max_price_seen, rules):
            self._leave(after, missing=False)
        else:
            self._why[after.symbol] = "sold in part"

    def _leave(self, held: Position, *, missing: bool) -> None:
        """Write off what the exchange would not take; what is not in the wallet stays in the book, unexplained."""
        if missing:
            self._why[held.symbol] = NOT_IN_WALLET
            return
        self._why.pop(held.symbol, None)
        self._positions.write_off(held, self._desk.clock.now())

    def _send(self, held: Position, quantity: Decimal) -> IntentRecord:
        intent = OrderIntent(
            client_id=self._desk.store.next_client_id(),
            symbol=held.symbol,
            side=Side.SELL,
            type=OrderType.MARKET,
            quantity=quantity,
            purpose=Purpose.EXIT,
            position_id=held.position_id,
            created_at=self._desk.clock.now(),
            reason=ExitReason.KILL_SWITCH.value,
        )
        self._orders.commit(intent)
        return self._orders.send(intent)

    def _end_entries(self) -> None:
        for record in self._unfinished():
            if record.intent.purpose is Purpose.ENTRY and record.state is IntentState.OPEN:
                self._orders.cancel(record)

    def _end_strays(self) -> None:
        """Cancel open orders of this very book that it does not expect, as after a restored backup; no others."""
        identity = self._desk.store.identity()
        ours = f"{PREFIX}-{instance_of(identity.text if identity else '')}-"
        for report in self._desk.exchange.open_orders():
            if self._scope(report.symbol) and report.client_id.startswith(ours) and self._is_stray(report):
                self._guarded(report.symbol, partial(self._end_stray, report))

    def _is_stray(self, report: OrderReport) -> bool:
        known = self._desk.store.intent(report.client_id)
        return known is None or known.state.is_terminal

    def _end_stray(self, report: OrderReport) -> None:
        log.error("cancelling an order the book does not expect symbol=%s id=%s", report.symbol, report.client_id)
        self._why[report.symbol] = f"order {report.client_id} was still open"
        self._desk.exchange.cancel_order(report.symbol, report.client_id)

    def _rules(self, position: Position) -> MarketRules:
        try:
            return self._desk.market.rules(position.symbol)
        except MarketDataError:
            return load_plan(self._desk.store, position.position_id).rules


def is_told_too_small(refusal: str, most: Decimal, rules: MarketRules) -> bool:
    """Tell whether a refused sale worth at most `most` is dust: the exchange says so, and that may well be."""
    return "NOTIONAL" in refusal and most < TOO_SMALL_TIMES * rules.min_notional
