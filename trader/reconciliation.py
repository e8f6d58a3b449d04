"""Our book against the exchange: at start, and every minute. The exchange says what exists, the journal says why.

Nothing is invented to make them agree: an order of ours without an intent, or a balance the ledger cannot explain,
halts the bot with a table of the difference. A restart neither opens nor closes a position.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.events import ControlChanged
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill
from bn_ml.domain.positions import Position
from bn_ml.errors import ExchangeError, MarketDataError
from bn_ml.halting import flattens
from trader.acceptance import is_accepted
from trader.book_comparison import Difference, compare, explained, touched_assets, touches
from trader.book_verdict import RECONCILIATION, BookVerdict
from trader.desk import Desk
from trader.foreign import ForeignOrders
from trader.order_manager import OrderManager
from trader.protection import Protection, is_covered
from trader.restored_book import end_strays, missing_since, symbols_bought
from trader.tightening import tighten

log = logging.getLogger(__name__)

CHECK_EVERY = timedelta(seconds=60)
LOOK_AGAIN = timedelta(seconds=10)
"""How soon a check is repeated that left something open, and how long after its last movement an asset may differ."""

LONGEST_WAIT = timedelta(seconds=120)
"""How long an asset that keeps moving may differ before it counts all the same."""

STOP_GRACE = timedelta(seconds=30)
"""How long a position may stand without a stop."""

TRADES_BACK, FARTHEST_BACK = timedelta(days=1), timedelta(days=6)
"""How far back trades are read: a day, or to the oldest order that is not finished, a week at most."""

LOOKS = 3
"""How often books and exchange are compared, orders and trades read in between, before a difference counts."""


class Reconciler:
    """Compares, resolves what is unknown, and halts on what nobody can explain."""

    def __init__(self, desk: Desk, orders: OrderManager, protection: Protection) -> None:
        """All parts share the desk's store."""
        self._desk = desk
        self._orders = orders
        self._positions = orders.positions
        self._protection = protection
        self._foreign = ForeignOrders(desk.store, desk.journal)
        self._verdict = BookVerdict(desk, orders, self._foreign)
        self._due_at: datetime | None = None
        self._is_waiting = False
        self._differs_since: dict[str, datetime] = {}

    def start(self) -> None:
        """Begin a new epoch, resolve every unfinished order, compare, and protect what is held."""
        now = self._desk.clock.now()
        control = self._desk.store.start_epoch(now, "start")
        self._orders.own(control)
        self._desk.journal.emit(ControlChanged(now, control.state.value, control.reason, control.set_by, control.epoch))
        self._orders.refresh()
        self._strange_trades(self._symbols(now))
        self.check()
        log.info(
            "recovered positions=%s orders=%s state=%s epoch=%s",
            len(self._positions.open_positions()),
            len(self._orders.open_intents()),
            self._desk.store.control().state.value,
            control.epoch,
        )

    def check_if_due(self) -> None:
        """Compare when a minute has passed since the last time, sooner when that left something open."""
        due = self._due_at is None or self._desk.clock.now() >= self._due_at
        if due or (not self._is_waiting and is_accepted(self._desk.store)):
            self.check()

    def check(self) -> None:
        """Compare orders and balances once, halt on what nobody can explain, and see that every position has its stop.

        Raises `Transient` when the exchange cannot be read: the next call tries again.
        """
        clock = self._desk.clock
        orphans, differences = self._looked()
        if orphans and not differences and not self._differs_since and end_strays(self._desk, orphans):
            orphans, differences = self._looked()
        now = clock.now()
        waiting = bool(self._differs_since)
        if is_accepted(self._desk.store):
            waiting |= not self._verdict.accept(now, differences, waiting=waiting)
        else:
            self._verdict.judge(now, orphans, differences, waiting=tuple(sorted(self._differs_since)))
        waiting |= not self._protect_all(now)
        self._is_waiting = waiting
        self._due_at = now + (LOOK_AGAIN if waiting else CHECK_EVERY)

    def _looked(self) -> tuple[tuple[str, ...], tuple[Difference, ...]]:
        """Give our orders that no intent explains, and the differences that count."""
        orphans = self._foreign.orphans(self._desk.exchange.open_orders(), self._desk.clock.now())
        return orphans, self._settled(self._compared())

    def differences(self) -> dict[str, Decimal]:
        """Give exchange total minus ledger and declared foreign amount per asset, where it is not zero."""
        return {row.asset: row.amount for row in self._compare()}

    def _compare(self) -> tuple[Difference, ...]:
        store = self._desk.store
        held = self._desk.exchange.balances()
        return compare(store.ledger_balances(), store.foreign_balances(), held)

    def _compared(self) -> tuple[Difference, ...]:
        """Compare, and again after reading orders and trades: what they explain is booked and no difference."""
        found = self._compare()
        strange: dict[Symbol, tuple[Fill, ...]] = {}
        for _ in range(LOOKS - 1):
            if not found:
                return ()
            self._orders.refresh()
            strange = self._strange_trades(self._symbols_of(found))
            found = self._compare()
        return tuple(explained(row, self._orders.open_intents(), strange) for row in found)

    def _settled(self, found: Sequence[Difference]) -> tuple[Difference, ...]:
        """Give the differences that count: of assets that have not moved just now, or have differed for long.

        An asset that moves again and again is compared at last, however often it moved in between.
        """
        now = self._desk.clock.now()
        moving = self._moving(now)
        since = {row.asset: self._differs_since.get(row.asset, now) for row in found}
        counts = [row for row in found if row.asset not in moving or now - since[row.asset] >= LONGEST_WAIT]
        settled = {row.asset for row in counts}
        self._differs_since = {asset: at for asset, at in since.items() if asset not in settled}
        return tuple(counts)

    def _moving(self, now: datetime) -> frozenset[str]:
        """Give the assets of fills and orders of the last seconds, and of orders nobody can account for."""
        store = self._desk.store
        unknown = self._orders.unknown_symbols()
        doubtful = [record for record in self._orders.open_intents() if record.intent.symbol in unknown]
        recent = store.intents_since(now - LOOK_AGAIN)
        return touched_assets(store.fills_since(now - LOOK_AGAIN), [*recent, *doubtful])

    def _symbols(self, now: datetime) -> tuple[Symbol, ...]:
        """Give the symbols held, with open orders, or with an order in the last day."""
        recent = [*self._desk.store.intents_since(now - TRADES_BACK), *self._orders.open_intents()]
        held = [position.symbol for position in self._positions.open_positions()]
        return tuple(sorted({*held, *(record.intent.symbol for record in recent)}))

    def _symbols_of(self, found: Sequence[Difference]) -> tuple[Symbol, ...]:
        assets = [row.asset for row in found]
        known = self._symbols(self._desk.clock.now())
        # A restored book has not heard of what was bought after its backup.
        more = symbols_bought(self._desk, assets) if missing_since(self._desk) else ()
        return tuple(
            symbol for symbol in dict.fromkeys((*known, *more)) if any(touches(symbol, asset) for asset in assets)
        )

    def _strange_trades(self, symbols: Sequence[Symbol]) -> dict[Symbol, tuple[Fill, ...]]:
        """Read the trades of symbols, book those of our orders that are missing, and give the others."""
        since = self._desk.clock.now() - TRADES_BACK
        oldest = [record.intent.created_at for record in self._orders.open_intents()]
        restored = missing_since(self._desk)
        oldest += [restored] if restored else []
        first = max(min([since, *oldest]), since - FARTHEST_BACK)
        return {symbol: self._orders.claim(self._desk.exchange.trades(symbol, first)) for symbol in symbols}

    def _protect_all(self, now: datetime) -> bool:
        """See that every position has its stop; False when one has none. One without for long stops entries."""
        control = self._desk.store.control()
        if control.state is ControlState.HALTED:
            return True
        for position in self._positions.open_positions():
            if not flattens(control, position.symbol):
                self._protect(position)
        held = self._positions.open_positions()
        bare = [item for item in held if not is_covered(item, self._orders.open_of(item.position_id))]
        late = [str(item.symbol) for item in bare if now - self._protection.bare_since(item) > STOP_GRACE]
        if late:
            tighten(self._desk, ControlState.REDUCE_ONLY, f"missing_stop: {', '.join(late)}", RECONCILIATION)
        return not bare

    def _protect(self, position: Position) -> None:
        try:
            self._protection.ensure(position)
        except (MarketDataError, ExchangeError) as error:
            log.error("not protected yet symbol=%s reason=%s", position.symbol, error)
