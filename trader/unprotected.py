"""How long tranches stand without their stop: from the fill, the cancel or the discovery on, kept for readers.

The keyed value `unprotected` holds the seconds of the last such time and of the longest one ever, how many there were,
and since when one lasts at present (null when everything held has its stop).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.market import iso
from bn_ml.domain.orders import IntentRecord, IntentState, Purpose
from bn_ml.domain.positions import Position
from bn_ml.ports import Clock
from bn_ml.state_store import StateStore

KEY = "unprotected"
WHOLE = ""
"""Stands for a position that is not split into tranches yet."""


@dataclass(frozen=True, slots=True)
class UnprotectedRecord:
    """What is kept: seconds, a count, and the present state."""

    last_s: float = 0.0
    longest_s: float = 0.0
    count: int = 0
    since: str | None = None


class UnprotectedTime:
    """Follows which tranches are bare. Times run while the process lives; a restart begins them anew."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        """Take up the figures of earlier lives."""
        self._store = store
        self._clock = clock
        kept = store.get(KEY)
        self._record = UnprotectedRecord() if kept is None else from_plain(UnprotectedRecord, kept)
        self._since: dict[tuple[str, str], datetime] = {}

    def begin(self, position_id: str, label: str, at: datetime | None = None) -> None:
        """A tranche is without its stop from `at` (now when not given) on, unless it was already."""
        self._since.setdefault((position_id, label), at or self._clock.now())

    def end(self, position_id: str, label: str) -> None:
        """A tranche has its stop."""
        if (position_id, label) in self._since:
            self._end((position_id, label))

    def watch(self, position: Position, live: Iterable[IntentRecord]) -> None:
        """Bring the record up to what rests for a position."""
        bare = bare_labels(position, live)
        for label in bare:
            self.begin(position.position_id, label, position.opened_at if position.protected_at is None else None)
        for name in [name for name in self._since if name[0] == position.position_id and name[1] not in bare]:
            self._end(name)
        self._keep(replace(self._record, since=self._oldest()))

    def forget_closed(self, held: Collection[str]) -> None:
        """End the times of positions that are not held any more."""
        for name in [name for name in self._since if name[0] not in held]:
            self._end(name)
        self._keep(replace(self._record, since=self._oldest()))

    def since(self, position_id: str) -> datetime | None:
        """Give since when a position has had a bare tranche, None when all have their stops."""
        return min((at for (name, _), at in self._since.items() if name == position_id), default=None)

    def _end(self, name: tuple[str, str]) -> None:
        seconds = (self._clock.now() - self._since.pop(name)).total_seconds()
        if seconds > 0:
            longest = max(seconds, self._record.longest_s)
            self._keep(UnprotectedRecord(seconds, longest, self._record.count + 1, since=self._oldest()))

    def _oldest(self) -> str | None:
        return iso(min(self._since.values())) if self._since else None

    def _keep(self, record: UnprotectedRecord) -> None:
        if record == self._record:
            return
        self._record = record
        with self._store.transaction():
            self._store.put(KEY, to_plain(record), self._clock.now())


def bare_labels(position: Position, live: Iterable[IntentRecord]) -> frozenset[str]:
    """Give the tranches of an open position without a resting stop; `WHOLE` while it is not split yet."""
    if not position.is_open:
        return frozenset()
    if not position.tranches:
        return frozenset({WHOLE})
    live = tuple(live)
    over = half_over(live)
    stopped = {
        record.intent.tranche
        for record in live
        if record.intent.purpose is Purpose.STOP and record.state is IntentState.OPEN and record not in over
    }
    return frozenset(item.label for item in position.tranches) - stopped


def half_over(live: Sequence[IntentRecord]) -> tuple[IntentRecord, ...]:
    """Give the unfinished orders whose list has ended in its other leg: the exchange has ended them too.

    `live` holds every unfinished order of the positions concerned.
    """
    legs = Counter(record.intent.list_id for record in live if record.intent.list_id)
    return tuple(record for record in live if record.intent.list_id and legs[record.intent.list_id] == 1)


def is_covered(position: Position, live: Iterable[IntentRecord]) -> bool:
    """Tell whether every tranche of a position has its stop among the live orders."""
    return bool(position.tranches) and not bare_labels(position, live)
