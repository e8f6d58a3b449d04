"""Order in time: control states, cycles, and that the journal tells each thing exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from tests.checker.book_rows import TERMINAL, Book, EventRow, units
from tests.checker.findings import Complaints, Limits, near
from tests.checker.story import PAST_FACTS, Story

PERMITTED = {
    "NORMAL": {"entry", "stop", "target", "exit"},
    "REDUCE_ONLY": {"stop", "target", "exit"},
    "HALTED": {"exit"},
}


@dataclass
class OrderWatcher:
    """Watches instants and cycle numbers of the journal."""

    limits: Limits
    complain: Complaints
    restarts: int = 0
    finished: dict[int, EventRow] = field(default_factory=dict)
    days: set[str] = field(default_factory=set)
    _latest_fact_ms: int = 0
    _started: int = 0
    _restarted: bool = False

    def before(self, event: EventRow, story: Story) -> None:
        """Check that time does not run backwards and no fact lies in the future."""
        if event.kind in PAST_FACTS:
            self._latest_fact_ms = max(self._latest_fact_ms, event.at_ms)
            return
        back_ms = max(story.now_ms, self._latest_fact_ms) - event.at_ms
        self.complain.demand(
            "time_forward", back_ms <= self.limits.grace_ms, f"journal {event.id} {event.kind} is {back_ms} ms back"
        )

    def after(self, event: EventRow, story: Story) -> None:
        """Follow restarts and cycles."""
        # A process that has begun no cycle yet writes under cycle 0.
        if event.kind == "ControlChanged" and (event.facts["set_by"] == "start" or event.cycle == 0):
            self.restarts += 1
            self._restarted = True
        elif event.kind == "CycleStarted":
            self._start(int(event.facts["cycle"]))
        elif event.kind == "CycleFinished":
            self._finish(event, story)

    def _start(self, cycle: int) -> None:
        lowest = max(self.finished, default=0) + 1
        expected = (lowest,) if self._restarted else (self._started + 1,)
        self.complain.demand("cycle_numbers", cycle in expected, f"cycle {cycle} started, expected {expected}")
        self._started, self._restarted = cycle, False

    def _finish(self, event: EventRow, story: Story) -> None:
        cycle = int(event.facts["cycle"])
        ahead = cycle > max(self.finished, default=0) and cycle == self._started
        self.complain.demand("cycle_numbers", ahead, f"cycle {cycle} finished after {max(self.finished, default=0)}")
        held = len(story.holdings)
        self.complain.equal("cycle_positions", f"cycle {cycle} open positions", event.facts["open_positions"], held)
        self.finished[cycle] = event
        at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=event.at_ms)
        self.days.add(at.strftime("%Y-%m-%d"))


def check_control(book: Book, limits: Limits, complain: Complaints) -> None:
    """Check the control states and that every order was permitted by the state it was committed under."""
    epochs = [row.epoch for row in book.control]
    complain.equal("control_epochs", "epochs", epochs, list(range(1, len(epochs) + 1)))
    for before, after in zip(book.control, book.control[1:], strict=False):
        back_ms = before.at_ms - after.at_ms
        complain.demand("control_time", back_ms <= limits.grace_ms, f"epoch {after.epoch} is {back_ms} ms back")
    states = {row.epoch: row for row in book.control}
    newest = 0
    for intent in book.intents:
        control = states.get(intent.epoch)
        complain.demand("intent_epoch", intent.epoch >= newest, f"{intent.client_id}: epoch {intent.epoch} < {newest}")
        newest = max(newest, intent.epoch)
        if control is None:
            complain.add("intent_epoch", f"{intent.client_id}: no control state of epoch {intent.epoch}")
        else:
            permitted = intent.purpose in PERMITTED[control.state]
            complain.demand("control_state", permitted, f"{intent.client_id}: {intent.purpose} while {control.state}")
    told = [event.facts for event in book.events if event.kind == "ControlChanged"]
    for fact in told:
        control = states.get(fact["epoch"])
        complain.equal("control_told", f"epoch {fact['epoch']}", control and control.state, fact["state"])


def check_journal(book: Book, complain: Complaints) -> None:
    """Check that the journal tells of every intent, fill, end and position exactly once and in the books' order."""
    by_kind: dict[str, list[EventRow]] = {}
    for event in book.events:
        by_kind.setdefault(event.kind, []).append(event)
    sent = [event.facts["client_id"] for event in by_kind.get("OrderSent", [])]
    complain.equal("journal_orders", "orders sent", sent, [row.client_id for row in book.intents])
    _check_filled(book, by_kind.get("OrderFilled", []), complain)
    ended = [*by_kind.get("OrderFinished", []), *by_kind.get("OrderRejected", [])]
    expected = Counter((row.client_id, row.state) for row in book.intents if row.state in TERMINAL)
    states = Counter((event.facts["client_id"], event.facts.get("state", "REFUSED")) for event in ended)
    complain.equal("journal_orders", "orders ended", dict(states - expected), {})
    complain.equal("journal_orders", "orders not told ended", dict(expected - states), {})
    closed = Counter(event.facts["position_id"] for event in by_kind.get("PositionClosed", []))
    books = Counter(row.position_id for row in book.positions if row.status == "CLOSED")
    complain.equal("journal_positions", "closed", dict(closed - books) | dict(books - closed), {})
    _check_cycles(book, by_kind.get("CycleFinished", []), complain)


def _check_filled(book: Book, events: list[EventRow], complain: Complaints) -> None:
    complain.equal("journal_fills", "fills told", len(events), len(book.fills))
    for event, fill in zip(events, book.fills, strict=False):
        told = event.facts
        names = (told["symbol"], told["trade_id"], told["client_id"], told["side"], told["fee_asset"])
        amounts = tuple(units(told[name]) for name in ("price", "quantity", "fee"))
        mine = (fill.symbol, fill.trade_id, fill.client_id, fill.side, fill.fee_asset)
        complain.equal(
            "journal_fills", f"journal {event.id}", (*names, *amounts), (*mine, fill.price, fill.qty, fill.fee)
        )
        complain.equal("journal_fills", f"journal {event.id} time", event.at_ms, fill.at_ms)


def _check_cycles(book: Book, events: list[EventRow], complain: Complaints) -> None:
    """The readable cycles are the newest of those the journal tells of; older ones may have been pruned."""
    tail = events[len(events) - len(book.cycles) :]
    complain.demand("readable_cycle", len(book.cycles) <= len(events), f"{len(book.cycles)} rows, {len(events)} facts")
    for row, event in zip(book.cycles, tail, strict=False):
        told = (event.facts["cycle"], event.facts["open_positions"], event.facts["opened"])
        complain.equal("readable_cycle", "row", (row["cycle"], row["open_positions"], row["opened"]), told)
        good = near(row["equity"], float(event.facts["equity"]))
        complain.demand("readable_cycle", good, f"cycle {row['cycle']}: equity {row['equity']}")
