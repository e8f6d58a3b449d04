"""Stops: from the end of an entry until the position is closed its whole sellable quantity has a resting stop."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.checker.book_rows import Book, EventRow
from tests.checker.findings import Complaints, Limits
from tests.checker.story import PAST_FACTS, Holding, Story


@dataclass
class ProtectionWatcher:
    """Looks at the end of every instant, and at the end of every cycle.

    A position one of whose orders nobody can account for yet (after a crash between commit and send, say) is counted as
    in doubt, not as unprotected.
    """

    limits: Limits
    complain: Complaints
    in_doubt: set[tuple[str, int]] = field(default_factory=set)
    _bare_since: dict[str, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def before(self, event: EventRow, story: Story) -> None:
        """Judge the instant that ends with a later fact."""
        if event.kind in PAST_FACTS or event.at_ms <= story.now_ms:
            return
        for holding in story.holdings.values():
            if self._is_covered(holding, story):
                self._bare_since.pop(holding.position_id, None)
                continue
            since = self._bare_since.setdefault(holding.position_id, story.now_ms)
            if event.at_ms - since > self.limits.grace_ms and holding.position_id not in self._told:
                self._told.add(holding.position_id)
                self.complain.add(
                    "protected", f"{holding.position_id} has {holding.sellable} units without full stop from {since}"
                )

    def after(self, event: EventRow, story: Story) -> None:
        """Judge the end of a cycle."""
        if event.kind != "CycleFinished":
            return
        for holding in story.holdings.values():
            covered = self._is_covered(holding, story)
            self.complain.demand(
                "protected", covered, f"{holding.position_id} is not covered at the end of cycle {event.facts['cycle']}"
            )
            self._check_promised(holding, story)

    def finish(self, story: Story) -> None:
        """Judge the last instant."""
        for holding in story.holdings.values():
            covered = self._is_covered(holding, story)
            self.complain.demand("protected", covered, f"{holding.position_id} is not covered at the end")

    def _is_covered(self, holding: Holding, story: Story) -> bool:
        if holding.sellable <= 0 or holding.entry_ended_ms is None:
            return True
        stops = list(story.orders_of(holding.position_id, purpose="stop"))
        if sum(story.left(row) for row in stops) >= holding.sellable:
            return True
        if any(story.book.intent_of[name].position_id == holding.position_id for name in story.doubtful):
            self.in_doubt.add((holding.position_id, story.now_ms))
            return True
        return False

    def _check_promised(self, holding: Holding, story: Story) -> None:
        """Orders that can fill together never sell more than is held; the legs of a list exclude each other."""
        promised: dict[str, int] = {}
        for row in story.orders_of(holding.position_id):
            if row.side == "SELL":
                name = row.list_id or row.client_id
                promised[name] = max(promised.get(name, 0), story.left(row))
        total = sum(promised.values())
        self.complain.demand(
            "never_oversell", total <= holding.quantity, f"{holding.position_id}: {total} of {holding.quantity} offered"
        )


def check_stops(book: Book, limits: Limits, complain: Complaints, entry_ends: dict[str, int]) -> float:
    """Check stop prices and the delay of each first stop; gives the longest delay in seconds.

    `entry_ends` holds by position when the bot knew its entry to be over.
    """
    highest: dict[tuple[str, str], int] = {}
    first_exit: dict[str, int] = {}
    for row in book.intents:
        if row.purpose == "entry":
            continue
        first_exit.setdefault(row.position_id, row.created_ms)
        if row.purpose == "stop":
            tranche = (row.position_id, row.tranche)
            price = row.stop_level
            complain.demand("stop_price", price > 0, f"stop {row.client_id} has no stop price")
            complain.demand(
                "stop_never_lowered", price >= highest.get(tranche, 0), f"{row.client_id} of {tranche}: {price}"
            )
            highest[tranche] = max(price, highest.get(tranche, 0))
    return max([_delay(book, limits, complain, item, first_exit) for item in entry_ends.items()], default=0.0)


def _delay(
    book: Book, limits: Limits, complain: Complaints, entry: tuple[str, int], first_exit: dict[str, int]
) -> float:
    position_id, ended_ms = entry
    buys = [fill for fill in book.fills_by_position.get(position_id, ()) if fill.side == "BUY"]
    rests = any(row.time_in_force == "GTC" for row in book.intents_by_position.get(position_id, ()))
    bought_ms = ended_ms if rests or not buys else buys[-1].at_ms
    sent = first_exit.get(position_id)
    if sent is None:
        position = book.position_of.get(position_id)
        complain.demand(
            "first_stop", position is not None and position.status == "CLOSED", f"{position_id}: no stop was ever sent"
        )
        return 0.0
    delay_ms = max(sent - bought_ms, 0)
    complain.demand("first_stop", delay_ms <= limits.grace_ms, f"{position_id}: {delay_ms} ms after the entry")
    return delay_ms / 1000
