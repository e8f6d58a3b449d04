"""The market's mood as files for spreadsheets and scripts: the newest as JSON, the last few hundred as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from monitoring.export_files import ExportFiles

HISTORY_ROWS = 500
COLUMNS = (
    "timestamp",
    "market_signal",
    "confidence",
    "market_score",
    "raw_market_score",
    "index_value",
    "market_regime",
    "profile",
    "total_symbols",
    "buy_ratio",
    "sell_ratio",
    "hold_ratio",
    "risk_pressure",
    "directional_streak",
    "model_samples",
    "model_ready",
    "model_speaks",
    "benchmark_price",
    "data_source",
)


class MoodExports:
    """Writes `latest_market_intelligence.json` and `.csv`, at each snapshot or only when flushed."""

    def __init__(self, folder: Path, *, each_cycle: bool) -> None:
        """Write into `folder`, made when needed; the history of an earlier process is taken up."""
        self._json = folder / "latest_market_intelligence.json"
        self._csv = folder / "latest_market_intelligence.csv"
        self._each_cycle = each_cycle
        self._rows: deque[tuple[str, ...]] = deque(_kept(self._csv) if each_cycle else (), maxlen=HISTORY_ROWS)
        self._newest: Mapping[str, object] | None = None
        self._files = ExportFiles()

    def take(self, snapshot: Mapping[str, object]) -> None:
        """Take a snapshot in the shape users see."""
        self._newest = snapshot
        self._rows.append(tuple(str(snapshot.get(name, "")) for name in COLUMNS))
        if self._each_cycle:
            self.flush()

    def flush(self) -> None:
        """Write the newest snapshot and the history."""
        if self._newest is None:
            return
        self._files.write(self._json, json.dumps(self._newest, indent=1, allow_nan=False) + "\n")
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(self._rows)
        self._files.write(self._csv, text.getvalue())


def _kept(path: Path) -> list[tuple[str, ...]]:
    """Give the rows of an earlier file with the same columns; none of one that cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    if not rows or tuple(rows[0]) != COLUMNS:
        return []
    return [tuple(row) for row in rows[1:] if len(row) == len(COLUMNS)]
