"""Everything the metrics are made of, read from the state database at one look."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bn_ml.domain.account import ControlState
from bn_ml.domain.orders import IntentState
from bn_ml.errors import StateError
from bn_ml.state_reader import StateReader
from monitoring.plain_values import mapping, number
from monitoring.runtime_metrics import RUNTIME_METRICS

LATEST_TRADES = 20
MOST_MODEL_ROWS = 2_000
_KEYS = (
    "account_state",
    "latest_scan",
    "heartbeat",
    "loop_beat",
    "training_status",
    "drift_status",
    "santrade_intelligence",
    "backup_status",
    "unprotected",
    RUNTIME_METRICS,
)
_LEFTOVERS = ("", "-wal")


@dataclass(frozen=True, slots=True)
class BotFacts:
    """What a database says of its bot, as of `at`.

    `kept` holds keyed values as they were written; `models` the newest record of each symbol; `slippages` fractions of
    the newest trades, newest first. `problem` says why the rest is empty.
    """

    at: datetime
    kept: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    control: ControlState | None = None
    open_positions: int | None = None
    trades: int | None = None
    unknown_orders: int | None = None
    data_source: str = ""
    slippages: tuple[float, ...] = ()
    models: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    db_bytes: int | None = None
    disk_free_bytes: int | None = None
    problem: str = ""

    def value(self, key: str) -> Mapping[str, object]:
        """Give a keyed value, empty when there is none."""
        return self.kept.get(key, {})


def read_facts(reader: StateReader, now: datetime) -> BotFacts:
    """Read what there is; a database that is absent or unreadable gives facts that name the problem."""
    size, free = _sizes(reader.path)
    try:
        summary = reader.summary()
        doubtful = (IntentState.SENT, IntentState.UNKNOWN)
        last = summary.last_cycle
        return BotFacts(
            at=now,
            kept={key: mapping(reader.kv(key)) for key in _KEYS},
            control=summary.control.state,
            open_positions=summary.open_positions,
            trades=summary.trades,
            unknown_orders=sum(record.state in doubtful for record in reader.open_orders()),
            data_source=str(last.data.get("data_source", "")) if last else "",
            slippages=tuple(number(row.extra.get("slippage_pct")) for row in reader.trades(limit=LATEST_TRADES)),
            models=_models(reader),
            db_bytes=size,
            disk_free_bytes=free,
        )
    except StateError as error:
        return BotFacts(now, db_bytes=size, disk_free_bytes=free, problem=str(error))


def _models(reader: StateReader) -> Mapping[str, Mapping[str, object]]:
    """Give the newest record of each symbol's bundle; rows about something else carry an `event`."""
    newest: dict[str, Mapping[str, object]] = {}
    for row in reader.latest_metrics(limit=MOST_MODEL_ROWS):
        symbol = row.metrics.get("symbol")
        if isinstance(symbol, str) and "event" not in row.metrics:
            newest.setdefault(symbol, row.metrics)
    return newest


def _sizes(path: Path) -> tuple[int | None, int | None]:
    """Give the bytes of the database with its log, and those free beside it; None where that cannot be known."""
    files = [Path(f"{path}{ending}") for ending in _LEFTOVERS]
    try:
        size = sum(file.stat().st_size for file in files if file.exists()) if path.exists() else None
        return size, shutil.disk_usage(path.parent).free
    except OSError:
        return None, None
