"""One look at everything held: book what the exchange did, then stops, targets and time, in the specified order."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import ZERO, Bar, Quote, Symbol
from bn_ml.domain.orders import IntentState, Purpose
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.errors import ExchangeError, MarketDataError, Transient
from bn_ml.halting import flattens
from trader.close_blocks import NOT_TRADING
from trader.desk import Desk
from trader.entry_plan import load_plan
from trader.exit_manager import ExitManager, traded_price
from trader.order_manager import OrderManager
from trader.protection import Protection, is_covered
from trader.tightening import tighten

log = logging.getLogger(__name__)

TELL_AGAIN = timedelta(minutes=10)
"""How long what keeps a symbol from being looked after is not told again."""

ENGINE, MISSING_STOP = "engine", "missing_stop"
"""Who ends entries for a missing stop, and the cause as the control state names it."""

STOP_GRACE = timedelta(seconds=30)
"""How long a position may stand without its stop, the exchange reachable, before it is sold and entries end."""


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
        self._reached_since: datetime | None = None
        self._replace_interval = timedelta(seconds=desk.settings.exchange.orders.stop_replace_min_interval_sec)
        self._max_age_s = desk.settings.data.max_quote_age_exit_sec

    def run(self, sell_signals: frozenset[Symbol] = frozenset(), *, urgent: bool = False) -> None:
        """Bring orders up to date and act on every open position.

        An urgent look, between two that are due, asks for the doubtful orders only: it costs little.
        """
        self._refresh(urgent=urgent)
        now = self._desk.clock.now()
        self._protection.tidy()
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
        held = [item for item in self._positions.open_positions() if self._is_bare(item)]
        return tuple(item.symbol for item in held if now - self._protection.bare_since(item) > STOP_GRACE)

    def is_uncovered(self) -> bool:
        """Tell whether any position stands without a resting stop that could be placed now."""
        held = self._positions.open_positions()
        return any(self._is_bare(item) for item in held if item.close_blocked_reason != NOT_TRADING)

    def _is_bare(self, position: Position) -> bool:
        return not is_covered(position, self._orders.open_of(position.position_id))

    def _refresh(self, *, urgent: bool) -> None:
        """Bring orders up to date, and note since when the exchange has answered without a break."""
        try:
            if urgent:
                self._orders.refresh_doubtful()
            else:
                self._orders.refresh()
        except Transient:
            self._reached_since = None
            raise
        self._reached_since = self._reached_since or self._desk.clock.now()

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
        if flattens(control, position.symbol):
            self._protection.close(position, ExitReason.KILL_SWITCH)
            return
        if control.state is ControlState.HALTED:
            return
        try:
            quote = self._fresh_quote(position.symbol)
            seen, bars = self._marked(position, quote, now)
        except MarketDataError as error:
            self._tell("no client-side exit", position.symbol, error, level=logging.WARNING)
            self._guard(position.position_id, now)
            return
        self._protection.follow(seen, quote, bars)
        self._act(self._positions.position(seen.position_id) or seen, quote, now, sell_signal=sell_signal)

    def _act(self, position: Position, quote: Quote, now: datetime, *, sell_signal: bool) -> None:
        rules = load_plan(self._desk.store, position.position_id).rules
        plan = self._exits.plan(position, quote, position.atr_frac, now, sell_signal, rules)
        if plan.close_all is not None:
            self._protection.close(position, plan.close_all)
            return
        if plan.trailing_active != position.trailing_active:
            position = self._save(replace(position, trailing_active=plan.trailing_active))
        rises = plan.new_stop is not None or position.trailing_active
        if rises and self._may_replace(position, now):
            distance = self._exits.trailing_frac(position)
            self._protection.raise_stops(position, plan.new_stop or position.stop, distance)
        self._guard(position.position_id, now, plan.new_stop or position.stop)

    def _guard(self, position_id: str, now: datetime, wanted: Decimal = ZERO) -> None:
        """See that the stops rest; what has had none for too long, though it could have, is sold and entries end."""
        held = self._positions.position(position_id)
        if held is None or not held.is_open:
            return
        self._protection.ensure(held, wanted)
        held = self._positions.position(position_id)
        if held is None or not held.is_open or not self._is_bare(held) or self._reached_since is None:
            return
        if now - max(self._protection.bare_since(held), self._reached_since) > STOP_GRACE:
            tighten(self._desk, ControlState.REDUCE_ONLY, MISSING_STOP, ENGINE)
            self._protection.give_up(held)

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

    def _marked(self, position: Position, quote: Quote, now: datetime) -> tuple[Position, tuple[Bar, ...]]:
        """Give the position with the highest price traded since its entry, and the bars closed since the last look.

        Each bar is walked once; after a restart those since the entry are walked again.
        """
        since = self._walked_until.get(position.position_id, position.opened_at)
        bars = self._bars(position.symbol, since, now)
        if bars:
            self._walked_until[position.position_id] = bars[-1].close_at
        highs: list[Decimal] = [bar.high for bar in bars]
        highest = max([position.max_price_seen, traded_price(quote), *highs])
        if highest == position.max_price_seen:
            return position, bars
        return self._save(replace(position, max_price_seen=highest)), bars

    def _bars(self, symbol: Symbol, since: datetime, until: datetime) -> tuple[Bar, ...]:
        """Give the closed bars, none while they cannot be read: a fresh quote alone is enough to act on."""
        try:
            return tuple(self._desk.market.path(symbol, since, until))
        except MarketDataError as error:
            self._tell("bars between two looks unknown", symbol, error, level=logging.WARNING)
            return ()

    def _may_replace(self, position: Position, now: datetime) -> bool:
        last = position.stop_replaced_at
        return last is None or now - last >= self._replace_interval

    def _save(self, position: Position) -> Position:
        with self._desk.store.transaction():
            self._positions.save(position)
        return position
