"""What each entry planned to lose, and what its first stop really left to lose, in the quote asset."""

from __future__ import annotations

from collections import defaultdict

from monitoring.dod_rows import FillRow, IntentRow, Rows
from monitoring.dod_story import NEVER_PLACED

UNDERSTATED = 1.05
"""A plan may fall this far short of what a position really risked: stops are rounded to ticks, prices move."""

UNIT = 1e-8


class PlannedLosses:
    """Answers for the entries of one book."""

    def __init__(self, rows: Rows, stop_frac: float) -> None:
        """Index the book; `stop_frac` is the configured stop distance, for what was sold before it had a stop."""
        self._plans = {name: float(plan.planned_loss_quote) for name, plan in rows.plans.items()}
        self._kept = {item.position_id: float(item.planned_loss_quote) for item in rows.positions}
        self._stop_frac = stop_frac
        self._fills: defaultdict[str, list[FillRow]] = defaultdict(list)
        for fill in rows.fills:
            self._fills[fill.client_id].append(fill)
        self._first_stop: dict[str, int] = {}
        for row in rows.intents:
            if row.purpose == "stop" and row.stop_px and row.state not in NEVER_PLACED:
                self._first_stop.setdefault(row.position_id, row.stop_px)

    def planned(self, entry: IntentRow) -> float:
        """Give the loss an entry was planned with; what its first stop left to lose where that is clearly more."""
        told = self._plans.get(entry.position_id, self._kept.get(entry.position_id))
        risked = self._risked(entry)
        return risked if told is None or risked > told * UNDERSTATED else told

    def _risked(self, entry: IntentRow) -> float:
        bought = self._fills[entry.client_id]
        paid = sum(fill.quote + fill.quote_fee for fill in bought) * UNIT
        stop = self._first_stop.get(entry.position_id)
        if stop is None:
            return paid * self._stop_frac
        quantity = sum(fill.qty - fill.base_fee for fill in bought) * UNIT
        return paid - quantity * stop * UNIT
