"""What on the account is not ours: orders of other programs, and amounts declared foreign. Neither is ever touched."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from bn_ml.client_ids import is_client_id
from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.events import ForeignDeclared, ForeignOrderSeen, OrphanAdopted
from bn_ml.domain.orders import OrderReport
from bn_ml.journal import Journal
from bn_ml.state_store import StateStore

log = logging.getLogger(__name__)

SEEN = "foreign_orders"


@dataclass(frozen=True, slots=True)
class SeenOrders:
    """Open orders without an intent that were told of: other programs', orphans of our kind, and orphans accepted."""

    foreign: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()


class ForeignOrders:
    """Tells each open order that has no intent once, across restarts, as long as it is open."""

    def __init__(self, store: StateStore, journal: Journal) -> None:
        """Read what was told before."""
        self._store = store
        self._journal = journal
        kept = store.get(SEEN)
        self._seen = SeenOrders() if kept is None else from_plain(SeenOrders, kept)

    @property
    def foreign(self) -> tuple[str, ...]:
        """Client ids of the open orders of others."""
        return self._seen.foreign

    def orphans(self, reports: Sequence[OrderReport], at: datetime) -> tuple[str, ...]:
        """Take notice of the open orders; give the ids of our kind that no intent explains and nobody has accepted."""
        strange = [item for item in reports if self._store.intent(item.client_id) is None]
        accepted = [item.client_id for item in strange if item.client_id in self._seen.accepted]
        ours = [item for item in strange if is_client_id(item.client_id) and item.client_id not in accepted]
        others = [item for item in strange if not is_client_id(item.client_id)]
        now_seen = SeenOrders(_ids(others), _ids(ours), tuple(sorted(accepted)))
        if now_seen != self._seen:
            with self._store.transaction():
                self._tell(ours, others, at)
                self._keep(now_seen, at)
        return now_seen.orphans

    def accept_orphans(self, at: datetime) -> None:
        """Leave the orphans alone from here on, as if they were somebody else's."""
        seen = self._seen
        self._keep(replace(seen, orphans=(), accepted=tuple(sorted({*seen.accepted, *seen.orphans}))), at)

    def _tell(self, ours: Sequence[OrderReport], others: Sequence[OrderReport], at: datetime) -> None:
        for item in ours:
            if item.client_id not in self._seen.orphans:
                side, quantity = item.side.value, item.quantity
                self._journal.emit(OrphanAdopted(at, item.symbol, item.client_id, side, quantity, item.exchange_id))
                log.error("order of ours without an intent symbol=%s client_id=%s", item.symbol, item.client_id)
        for item in others:
            if item.client_id not in self._seen.foreign:
                self._journal.emit(ForeignOrderSeen(at, item.symbol, item.client_id, item.side.value, item.quantity))
                log.warning("order of somebody else symbol=%s client_id=%s", item.symbol, item.client_id)

    def _keep(self, seen: SeenOrders, at: datetime) -> None:
        self._store.put(SEEN, to_plain(seen), at)
        self._seen = seen


def declare(store: StateStore, journal: Journal, asset: str, amount: Decimal, *, at: datetime, note: str) -> None:
    """Declare an amount of an asset not ours, a negative one ours to explain again; journaled in one transaction."""
    if amount:
        with store.transaction():
            store.declare_foreign(asset, amount, at, note)
            journal.emit(ForeignDeclared(at, asset, amount, note))


def _ids(reports: Sequence[OrderReport]) -> tuple[str, ...]:
    return tuple(sorted(item.client_id for item in reports))
