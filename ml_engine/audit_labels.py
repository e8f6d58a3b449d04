"""Whether a label depends on its own window alone, and rows without a whole window are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from data_manager.bars import Bars, IntArray
from ml_engine.audit_findings import Check, Notes
from ml_engine.labeling import ABSENT, Labels

Labeler = Callable[[Bars], Labels]
_HOLE_BARS = 12


@dataclass(frozen=True, slots=True)
class LabelAudit:
    """The labels of one symbol's bars under audit; `window_bars` is how many bars after t both outcomes may need."""

    label: Labeler
    bars: Bars
    window_bars: int
    rows: int
    seed: int

    def checks(self) -> list[Check]:
        """Run every check of the labels."""
        labels = self.label(self.bars)
        return [self.recomputed(labels), self.incomplete(labels)]

    def recomputed(self, labels: Labels) -> Check:
        """Change every bar after t1 beyond recognition: class, width, trade and end of the row must stay."""
        notes = Notes("label recomputed")
        chosen = self._chosen(labels)
        for place in chosen.tolist():
            end_ms = int(max(labels.t1_class[place], labels.t1_trade[place]))
            again = self.label(_disturbed(self.bars, end_ms))
            for name in ("label", "width", "trade_gross", "t1_class", "t1_trade"):
                before, after = getattr(labels, name)[place], getattr(again, name)[place]
                if before != after and not (np.isnan(before) and np.isnan(after)):
                    notes.add(
                        f"{name} was {before:.6g}, is {after:.6g} when bars after its end change",
                        column=name,
                        row_ms=int(labels.t0[place]),
                    )
        return notes.close(len(chosen), min(self.rows, 10))

    def incomplete(self, labels: Labels) -> Check:
        """Rows whose window is not over, or crosses a hole, must be absent."""
        notes = Notes("incomplete rows")
        last = len(self.bars) - self.window_bars
        for place in np.flatnonzero(labels.label[last:] != ABSENT).tolist():
            notes.add("has a label though its window is not over", column="label", row_ms=int(labels.t0[last + place]))
        middle = len(self.bars) // 2
        holed = self.bars.take(np.delete(np.arange(len(self.bars)), np.arange(middle, middle + _HOLE_BARS)))
        cut = self.label(holed)
        for place in range(middle - self.window_bars, middle):
            if place >= 0 and cut.label[place] != ABSENT:
                notes.add("has a label though its window crosses a hole", column="label", row_ms=int(cut.t0[place]))
        return notes.close(2 * self.window_bars, 2 * self.window_bars)

    def _chosen(self, labels: Labels) -> IntArray:
        present = np.flatnonzero(labels.present)
        count = min(len(present), self.rows, 10)
        if not count:
            return present
        chosen: IntArray = np.sort(np.random.default_rng(self.seed).choice(present, size=count, replace=False))
        return chosen


def _disturbed(bars: Bars, after_ms: int) -> Bars:
    """Give the bars with every one that closes after an instant at twice its price and range."""
    factor = np.where(bars.close_time > after_ms, 2.0, 1.0)
    return replace(
        bars,
        open=bars.open * factor,
        high=bars.high * factor * factor,
        low=bars.low,
        close=bars.close * factor,
    )
