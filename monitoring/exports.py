"""Files for spreadsheets and scripts: the newest scan and its opportunities as CSV, written atomically."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bn_ml.domain.signals import Opportunity, ScanReport

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
    """A finished cycle, as far as the exports look at it."""

    @property
    def scan(self) -> ScanReport | None:
        """The scan, None when the cycle ended before it."""


class ScanExports:
    """Writes `latest_scan.csv` and `latest_opportunities.csv`, each cycle or only when flushed."""

    def __init__(self, folder: Path, *, each_cycle: bool) -> None:
        """Write into `folder`, which is made when needed."""
        self._folder = folder
        self._each_cycle = each_cycle
        self._newest: ScanReport | None = None

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
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / "latest_scan.csv", _csv((*scan.opportunities, *scan.refused)))
        write_atomically(self._folder / "latest_opportunities.csv", _csv(scan.opportunities))


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


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
