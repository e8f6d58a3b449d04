"""The state database: one durable transaction per cycle against a commit per row."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from benchmarks.bench_base import Result, faster, wall_seconds
from benchmarks.bench_market import BEGIN_MS
from bn_ml.domain.events import CycleStarted
from bn_ml.domain.market import from_ms
from bn_ml.state_store import StateStore

ROWS = 150
RUNS = 9
BEGIN = from_ms(BEGIN_MS)


def measure(folder: Path) -> list[Result]:
    """P15, in wall time: what a commit costs is the wait for the disk."""
    store = StateStore(folder / "cycles.db")

    def rows() -> None:
        for number in range(ROWS):
            store.add_event(CycleStarted(BEGIN + timedelta(seconds=number), number), number)

    def one_transaction() -> None:
        with store.transaction():
            rows()

    one_transaction()
    together, apart = wall_seconds(one_transaction, runs=RUNS), wall_seconds(rows, runs=RUNS)
    store.close()
    note = f"{ROWS} journal rows, WAL, synchronous FULL, wall time because commits wait for the disk"
    return [
        faster("P15_one_transaction", together * 1e3, apart * 1e3, bar=8.0, runs=RUNS, unit="ms wall", note=note),
    ]
