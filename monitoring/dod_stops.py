"""Stops: from the end of its entry until it is closed, all that can be sold of a position has a resting stop."""

from __future__ import annotations

from dataclasses import dataclass, field

from bn_ml.domain.market import from_ms, iso, to_ms
from monitoring.dod_findings import Findings, Violation
from monitoring.dod_rows import Rows
from monitoring.dod_story import Holding, Step, Story

LIVE_GRACE_MS = 5000
"""How long a position may wait for its stop where time passes; where it jumps from bar to bar it may not wait."""


@dataclass
class StopWatcher:
    """Looks at the end of every instant. A position with an order nobody can account for is in doubt, not bare."""

    findings: Findings
    grace_ms: int
    _bare_since: dict[str, int] = field(default_factory=dict)

    def before(self, step: Step, story: Story) -> None:
        """Judge the instant that ends with a later step."""
        if step.at_ms > story.now_ms:
            self.until(step.at_ms, story)

    def after(self, step: Step, story: Story) -> None:
        """Nothing is judged in the middle of an instant."""

    def until(self, at_ms: int, story: Story) -> None:
        """Judge the time from the present instant of the story until another one."""
        window = self.findings.window
        for held in story.holdings.values():
            if not _is_bare(held, story):
                self._bare_since.pop(held.position_id, None)
                if window.holds(story.now_ms):
                    self.findings.judged[Violation.NO_STOP] += 1
                continue
            since = self._bare_since.setdefault(held.position_id, story.now_ms)
            reaches_in = min(at_ms, window.end_ms) > max(since, window.begin_ms)
            if reaches_in and min(at_ms, window.end_ms) - since > self.grace_ms:
                left = held.sellable - story.stops_left(held.position_id)
                detail = f"{held.symbol}: {left / 1e8:g} of {held.sellable / 1e8:g} without a stop from "
                self.findings.blame(Violation.NO_STOP, held.position_id, detail + iso(from_ms(since)))


def check_held_now(rows: Rows, findings: Findings, limit: int) -> None:
    """Check what was open at the end of the day and is so still: not more than may be, each with a stop level.

    Both the exact book and the positions that people read count, whatever orders and trades say.
    """
    end_ms = findings.window.end_ms
    held = {row.symbol: row.stop for row in rows.readable if row.opened_ms < end_ms}
    exact = [item for item in rows.positions if item.closed_at is None and to_ms(item.opened_at) < end_ms]
    symbols = {*held, *(item.symbol for item in exact)}
    if len(symbols) > limit:
        findings.blame(Violation.MAX_POSITIONS, "open positions", f"{len(symbols)} open, limit {limit}")
    levels = [*held.items(), *((item.symbol, None if item.stop is None else float(item.stop)) for item in exact)]
    for symbol, stop in levels:
        if stop is None or not stop > 0:
            findings.blame(Violation.NO_STOP, symbol, f"open with stop level {stop}")


def _is_bare(held: Holding, story: Story) -> bool:
    if held.sellable <= 0 or held.entry_ended_ms is None:
        return False
    covered = story.stops_left(held.position_id) >= held.sellable
    return not covered and not story.is_in_doubt(held.position_id)
