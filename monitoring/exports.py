"""Files for spreadsheets and scripts: the newest scan as CSV, what is held as JSON, written atomically.

They are copies for readers: one that cannot be written is told in the log and never disturbs the bot.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from bn_ml.domain.market import iso
from bn_ml.domain.positions import Position
from bn_ml.domain.signals import Opportunity, ScanReport
from monitoring.export_files import ExportFiles

COLUMNS = (
    "symbol",
    "signal",
    "confidence",
    "probas",
    "ml_score",
    "technical_score",
    "momentum_score",
    "global_score",
    "spread_pct",
    "depth_usdt",
    "correlation_btc",
    "reason",
    "data_source",
)


class ScannedCycle(Protocol):
    """A finished cycle, as far as the export of scans looks at it."""

    @property
    def scan(self) -> ScanReport | None:
        """The scan, None when the cycle ended before it."""


class TimedCycle(Protocol):
    """A finished cycle, as far as the export of positions looks at it."""

    @property
    def at(self) -> datetime:
        """When it ended."""

    @property
    def mode(self) -> str:
        """What its rows are marked with."""


class ScanExports:
    """Writes `latest_scan.csv` and `latest_opportunities.csv`, each cycle or only when flushed."""

    def __init__(self, folder: Path, *, each_cycle: bool) -> None:
        """Write into `folder`, which is made when needed."""
        self._folder = folder
        self._each_cycle = each_cycle
        self._newest: ScanReport | None = None
        self._files = ExportFiles()

    def __call__(self, report: ScannedCycle) -> None:
        """Take a finished cycle."""
        if report.scan is not None:
            self._newest = report.scan
        if self._each_cycle:
            self.flush()

    def flush(self) -> None:
        """Write the newest scan."""
        scan = self._newest
        if scan is None:
            return
        self._files.write(self._folder / "latest_scan.csv", _csv((*scan.opportunities, *scan.refused)))
        self._files.write(self._folder / "latest_opportunities.csv", _csv(scan.opportunities))


class PositionsExport:
    """Writes the open positions as one JSON object, each cycle or only when flushed."""

    def __init__(self, path: Path, held: Callable[[], Sequence[Position]], *, each_cycle: bool) -> None:
        """Write to `path` what `held` gives."""
        self._path = path
        self._held = held
        self._each_cycle = each_cycle
        self._newest: TimedCycle | None = None
        self._files = ExportFiles()

    def __call__(self, report: TimedCycle) -> None:
        """Take a finished cycle."""
        self._newest = report
        if self._each_cycle:
            self.flush()

    def flush(self) -> None:
        """Write what is held now, with the instant of the newest cycle."""
        if self._newest is None:
            return
        shown = {
            "at": iso(self._newest.at),
            "mode": self._newest.mode,
            "positions": [position.as_dict() for position in self._held()],
        }
        self._files.write(self._path, json.dumps(shown, indent=2, sort_keys=True) + "\n")


def _csv(items: Sequence[Opportunity]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for item in items:
        signal, quote = item.signal, item.quote
        probas = signal.probabilities
        writer.writerow(
            (
                item.symbol,
                signal.action.value,
                f"{signal.confidence:.6f}",
                f"{probas.sell:.6f}|{probas.hold:.6f}|{probas.buy:.6f}",
                f"{item.ml_score:.4f}",
                f"{item.technical_score:.4f}",
                f"{item.momentum_score:.4f}",
                f"{item.score:.4f}",
                f"{float(quote.spread_frac):.8f}" if quote else "",
                f"{float(quote.depth_quote):.2f}" if quote else "",
                f"{item.correlation_btc:.4f}",
                item.reason or signal.reason or "",
                signal.data_source,
            )
        )
    return text.getvalue()
