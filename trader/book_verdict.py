"""What follows from comparing our books with the account: a halt with its table, or what an operator has accepted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.events import BalanceUnexplained
from bn_ml.domain.market import ZERO, iso
from bn_ml.domain.positions import Position
from trader.acceptance import acceptance_done
from trader.book_comparison import Difference
from trader.desk import Desk
from trader.foreign import ForeignOrders, declare
from trader.order_manager import OrderManager
from trader.position_manager import dust
from trader.restored_book import explain_halt, resume_when_equal
from trader.tightening import tighten

log = logging.getLogger(__name__)

RECONCILIATION = "reconciliation"
ACCEPTED = "accepted by the operator"
EQUAL, WAITING, UNEXPLAINED = "equal", "waiting", "unexplained"


class BookVerdict:
    """Tells, halts and settles. The present verdict lies in the keyed value `reconciliation` for readers."""

    def __init__(self, desk: Desk, orders: OrderManager, foreign: ForeignOrders) -> None:
        """All parts share the desk's store."""
        self._desk = desk
        self._orders = orders
        self._positions = orders.positions
        self._foreign = foreign
        self._told: dict[str, object] = {}

    def judge(
        self, now: datetime, orphans: Sequence[str], differences: Sequence[Difference], *, waiting: Sequence[str]
    ) -> None:
        """Tell how books and account stand and halt on an orphan order or an unexplained amount."""
        result = UNEXPLAINED if orphans or differences else WAITING if waiting else EQUAL
        is_news = self._is_news(result, orphans, differences, waiting)
        if result == EQUAL:
            resume_when_equal(self._desk, now)
        if not is_news and result != UNEXPLAINED:
            return
        with self._desk.store.transaction():
            if is_news:
                for row in differences:
                    self._tell(row, now)
                self._desk.store.put(RECONCILIATION, {"at": iso(now), **self._told}, now)
            if result == UNEXPLAINED:
                reason = _reason(orphans, differences)
                tighten(self._desk, ControlState.HALTED, reason, RECONCILIATION)
                explain_halt(self._desk, reason, now)

    def accept(self, now: datetime, differences: Sequence[Difference], *, waiting: bool) -> bool:
        """Take the present differences and orphans as known and not ours; False when some must wait for their turn.

        A surplus is foreign. A shortage is taken from the foreign amount, then from dust, then from the position that
        held it, whose orders are ended first.
        """
        losing = [position for row in differences for position in self._losers(row)]
        for position in losing:
            for record in self._orders.open_of(position.position_id):
                self._orders.cancel(record)
        if any(self._orders.open_of(position.position_id) for position in losing):
            return False
        if losing and any(self._desk.store.position(item.position_id) != item for item in losing):
            # The cancels have brought fills, so the table is another one.
            return False
        with self._desk.store.transaction():
            for row in differences:
                self._tell(row, now)
                self._settle(row, now)
            self._foreign.accept_orphans(now)
            if not waiting:
                acceptance_done(self._desk.store, now)
            self._is_news(EQUAL, (), (), ())
            rows = [row.as_dict() for row in differences]
            self._desk.store.put(RECONCILIATION, {"at": iso(now), **self._told, "accepted": rows}, now)
        return True

    def _settle(self, row: Difference, now: datetime) -> None:
        store, journal = self._desk.store, self._desk.journal
        from_foreign = row.taken_from_foreign()
        declare(store, journal, row.asset, max(row.amount, -from_foreign), at=now, note=ACCEPTED)
        gone = -row.amount - from_foreign
        if gone > 0:
            self._positions.take_out(row.asset, gone, now, ACCEPTED)

    def _losers(self, row: Difference) -> tuple[Position, ...]:
        """Give the position that loses by a shortage once foreign amount and dust have borne their part."""
        small = max(dust(self._desk.store).get(row.asset, ZERO), ZERO)
        gone: Decimal = -row.amount - row.taken_from_foreign() - small
        held = self._positions.open_positions() if gone > 0 else ()
        return tuple(position for position in held if position.symbol.base == row.asset)

    def _tell(self, row: Difference, now: datetime) -> None:
        self._desk.journal.emit(
            BalanceUnexplained(
                at=now,
                asset=row.asset,
                ledger=row.ledger,
                foreign=row.foreign,
                expected=row.expected,
                exchange=row.exchange,
                difference=row.amount,
                orders=row.orders,
                trades=row.trades,
            )
        )
        log.error(
            "unexplained asset=%s ledger=%s foreign=%s expected=%s exchange=%s difference=%s orders=%s trades=%s",
            row.asset,
            f"{row.ledger:f}",
            f"{row.foreign:f}",
            f"{row.expected:f}",
            f"{row.exchange:f}",
            f"{row.amount:+f}",
            ",".join(row.orders),
            "; ".join(row.trades),
        )

    def _is_news(
        self, result: str, orphans: Sequence[str], differences: Sequence[Difference], waiting: Sequence[str]
    ) -> bool:
        """Keep the verdict; False when it is the one told before."""
        verdict: dict[str, object] = {
            "result": result,
            "differences": [row.as_dict() for row in differences],
            "waiting": list(waiting),
            "orphan_orders": list(orphans),
            "foreign_orders": list(self._foreign.foreign),
        }
        is_news = verdict != self._told
        self._told = verdict
        return is_news


def _reason(orphans: Sequence[str], differences: Sequence[Difference]) -> str:
    reasons = [f"orphan_order: {', '.join(orphans)}"] if orphans else []
    if differences:
        table = ", ".join(f"{row.asset} {row.amount:+f}" for row in differences)
        reasons.append(f"unexplained_balance: exchange minus ledger {table}")
    return "; ".join(reasons)
