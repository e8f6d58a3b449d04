"""One look at everything held: book what the exchange did, then stops, targets and time, in the specified order."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Quote, Symbol
from bn_ml.domain.orders import IntentState, Purpose
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.errors import ExchangeError, MarketDataError
from trader.desk import Desk
from trader.entry_plan import load_plan
from trader.exit_manager import ExitManager, traded_price
from trader.order_manager import OrderManager
from trader.protection import Protection, is_covered

log = logging.getLogger(__name__)

TELL_AGAIN = timedelta(minutes=10)
"""How long what keeps a symbol from being looked after is not told again."""

FLATTEN_CAUSES = ("kill_switch", "breaker_drawdown")
"""Why a HALTED bot sells what it holds; any other halt leaves the resting stops alone."""


STOP_GRACE = timedelta(seconds=30)
"""How long a position may stand without its stop before that alone stops entries."""


class ExitPass:
    """Manages the open positions; called at the start of every cycle and between scans."""

    def __init__(self, desk: Desk, orders: OrderManager, protection: Protection, exits: ExitManager) -> None:
        """All parts share the desk's store."""
        self._desk = desk
        self._orders = orders
        self._positions = orders.positions
        self._protection = protection
        self._exits = exits
        self._walked_until: dict[str, datetime] = {}
        self._told_at: dict[Symbol, datetime] = {}
        self._replace_interval = timedelta(seconds=desk.settings.exchange.orders.stop_replace_min_interval_sec)
        self._max_age_s = desk.settings.data.max_quote_age_exit_sec

    def run(self, sell_signals: frozenset[Symbol] = frozenset()) -> None:
        """Bring orders up to date and act on every open position."""
        self._orders.refresh()
        now = self._desk.clock.now()
        self._cancel_late_entries(now)
        held = self._positions.open_positions()
        walked = self._walked_until
        self._walked_until = {item.position_id: walked[item.position_id] for item in held if item.position_id in walked}
        for position in held:
            try:
                self._look_at(position, now, sell_signal=position.symbol in sell_signals)
            except (ExchangeError, MarketDataError) as error:
                self._tell("position left for the next look", position.symbol, error, level=logging.ERROR)

    def missing_stops(self, now: datetime) -> tuple[Symbol, ...]:
        """Give the symbols held for longer than 30 s without every tranche's stop resting."""
        held = [item for item in self._positions.open_positions() if now - item.opened_at > STOP_GRACE]
        return tuple(item.symbol for item in held if not is_covered(item, self._orders.open_of(item.position_id)))

    def is_uncovered(self) -> bool:
        """Tell whether any position stands without a resting stop that could be placed now."""
        held = self._positions.open_positions()
        waiting = (item for item in held if item.close_blocked_reason is None)
        return any(not is_covered(item, self._orders.open_of(item.position_id)) for item in waiting)

    def _cancel_late_entries(self, now: datetime) -> None:
        """End resting entries that are late, or have bought a part (it needs its stop now), or are halted."""
        limit = timedelta(seconds=self._desk.settings.exchange.orders.limit_timeout_sec)
        halted = self._desk.store.control().state is ControlState.HALTED
        for record in self._orders.open_intents():
            due = halted or record.filled_quantity > 0 or now - record.intent.created_at >= limit
            if record.intent.purpose is Purpose.ENTRY and record.state is IntentState.OPEN and due:
                self._orders.cancel(record)

    def _look_at(self, position: Position, now: datetime, *, sell_signal: bool) -> None:
        control = self._desk.store.control()
        if control.state is ControlState.HALTED:
            if any(cause in control.reason for cause in FLATTEN_CAUSES):
                self._protection.close(position, ExitReason.KILL_SWITCH)
            return
        try:
            quote = self._fresh_quote(position.symbol)
            seen = self._marked(position, quote, now)
        except MarketDataError as error:
            self._tell("no client-side exit", position.symbol, error, level=logging.WARNING)
            return
        self._act(seen, quote, now, sell_signal=sell_signal)

    def _act(self, position: Position, quote: Quote, now: datetime, *, sell_signal: bool) -> None:
        rules = load_plan(self._desk.store, position.position_id).rules
        plan = self._exits.plan(position, quote, position.atr_frac, now, sell_signal, rules)
        if plan.close_all is not None:
            self._protection.close(position, plan.close_all)
            return
        if plan.trailing_active != position.trailing_active:
            position = self._save(replace(position, trailing_active=plan.trailing_active))
        if plan.new_stop is not None and self._may_replace(position, now):
            self._protection.raise_stops(position, plan.new_stop)
        held = self._positions.position(position.position_id)
        if held is not None and held.is_open:
            self._protection.ensure(held)

    def _tell(self, what: str, symbol: Symbol, why: Exception, *, level: int) -> None:
        """Log a failure that every look repeats at its first occurrence, then at most every ten minutes a symbol."""
        now, last = self._desk.clock.now(), self._told_at.get(symbol)
        if last is None or now - last >= TELL_AGAIN:
            self._told_at[symbol] = now
            log.log(level, "%s symbol=%s reason=%s", what, symbol, why)

    def _fresh_quote(self, symbol: Symbol) -> Quote:
        quote = self._desk.market.quote(symbol)
        age = quote.age_s(self._desk.clock.now())
        if age > self._max_age_s:
            raise MarketDataError(f"{symbol}: quote is {age:.1f} s old, limit {self._max_age_s} s", "quote_stale")
        return quote

    def _marked(self, position: Position, quote: Quote, now: datetime) -> Position:
        """Give the position with the highest price traded since its entry, bars closed in between included.

        Each bar is walked once; after a restart those since the entry are walked again.
        """
        since = self._walked_until.get(position.position_id, position.opened_at)
        bars = self._desk.market.path(position.symbol, since, now)
        if bars:
            self._walked_until[position.position_id] = bars[-1].close_at
        highs: list[Decimal] = [bar.high for bar in bars]
        highest = max([position.max_price_seen, traded_price(quote), *highs])
        if highest == position.max_price_seen:
            return position
        return self._save(replace(position, max_price_seen=highest))

    def _may_replace(self, position: Position, now: datetime) -> bool:
        last = position.stop_replaced_at
        return last is None or now - last >= self._replace_interval

    def _save(self, position: Position) -> Position:
        with self._desk.store.transaction():
            self._positions.save(position)
        return position
