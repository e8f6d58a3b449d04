"""Our book against the exchange: at start, and every minute. The exchange says what exists, the journal says why.

Nothing is invented to make them agree: an order of ours without an intent, or a balance the ledger cannot explain,
halts the bot with a table of the difference. A restart neither opens nor closes a position.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.events import ControlChanged
from bn_ml.domain.market import ZERO
from bn_ml.domain.positions import Position
from bn_ml.errors import MarketDataError
from trader.desk import Desk
from trader.order_manager import OrderManager
from trader.protection import Protection

log = logging.getLogger(__name__)

OUR_PREFIX = "bnml-"
CHECK_EVERY = timedelta(seconds=60)
LOOKS = 3
"""How often books and exchange are compared, orders refreshed in between, before a difference counts."""


class Reconciler:
    """Compares, resolves what is unknown, and halts on what nobody can explain."""

    def __init__(self, desk: Desk, orders: OrderManager, protection: Protection) -> None:
        """All parts share the desk's store."""
        self._desk = desk
        self._orders = orders
        self._positions = orders.positions
        self._protection = protection
        self._checked_at: datetime | None = None

    def start(self) -> None:
        """Begin a new epoch, resolve every unfinished order, compare, and protect what is held."""
        now = self._desk.clock.now()
        control = self._desk.store.start_epoch(now, "start")
        self._orders.own(control)
        self._desk.journal.emit(ControlChanged(now, control.state.value, control.reason, control.set_by, control.epoch))
        self._orders.refresh()
        self.check()
        if self._desk.store.control().state is not ControlState.HALTED:
            for position in self._positions.open_positions():
                self._protect(position)
        log.info(
            "recovered positions=%s orders=%s state=%s epoch=%s",
            len(self._positions.open_positions()),
            len(self._orders.open_intents()),
            self._desk.store.control().state.value,
            control.epoch,
        )

    def check_if_due(self) -> None:
        """Compare when a minute has passed since the last time."""
        now = self._desk.clock.now()
        if self._checked_at is None or now - self._checked_at >= CHECK_EVERY:
            self.check()

    def check(self) -> None:
        """Compare orders and balances once; halts on an orphan order or an unexplained difference."""
        orphans = [
            report.client_id
            for report in self._desk.exchange.open_orders()
            if report.client_id.startswith(OUR_PREFIX) and self._desk.store.intent(report.client_id) is None
        ]
        self._checked_at = self._desk.clock.now()
        if orphans:
            self._halt(f"orphan_order: {', '.join(sorted(orphans))}")
            return
        differences: dict[str, Decimal] = {}
        for _ in range(LOOKS):
            if self._orders.unknown_symbols():
                return
            differences = self.differences()
            if not differences:
                return
            self._orders.refresh()
        table = ", ".join(f"{asset} {amount:+f}" for asset, amount in sorted(differences.items()))
        self._halt(f"unexplained_balance: exchange minus ledger {table}")

    def differences(self) -> dict[str, Decimal]:
        """Give exchange total minus ledger per asset, where it is not zero."""
        ledger = self._desk.store.ledger_balances()
        held = {asset: balance.total for asset, balance in self._desk.exchange.balances().items()}
        assets = sorted(set(ledger) | set(held))
        pairs = {asset: held.get(asset, ZERO) - ledger.get(asset, ZERO) for asset in assets}
        return {asset: amount for asset, amount in pairs.items() if amount != 0}

    def _protect(self, position: Position) -> None:
        try:
            self._protection.ensure(position)
        except MarketDataError as error:
            log.error("not protected yet symbol=%s reason=%s", position.symbol, error)

    def _halt(self, reason: str) -> None:
        if self._desk.store.control().state is ControlState.HALTED:
            return
        now = self._desk.clock.now()
        changed = self._desk.store.set_control(ControlState.HALTED, reason, "reconciliation", now)
        self._desk.journal.emit(ControlChanged(now, changed.state.value, changed.reason, changed.set_by, changed.epoch))
        log.critical("HALTED: %s", reason)
