"""What only the running process knows of itself: orders, answers, refusals, alerts, restarts, counted in memory.

The figures begin at nothing with the process. A snapshot of them is plain JSON of bounded size, for whoever keeps it
where other processes can read it.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from bn_ml.domain.events import Event, OrderFinished, OrderRejected, OrderSent
from bn_ml.domain.market import iso
from monitoring.measures import OTHER, Buckets, Counts

RUNTIME_METRICS = "runtime_metrics"
"""The keyed value under which the loop keeps the newest snapshot."""

LATENCY_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DURATION_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
MOST_ORDERS = 2_000
MARKET_DATA = "market_data"
UNUSABLE = "data_unavailable"
UNKNOWN_SIDE = "UNKNOWN"


class FinishedCycle(Protocol):
    """A finished cycle, as far as its figures go."""

    @property
    def funnel(self) -> Mapping[str, int]:
        """Symbols stopped per reason code."""

    @property
    def durations_ms(self) -> Mapping[str, float]:
        """How long each stage took."""


class RuntimeMetrics:
    """Counts, safe for any thread; nothing here waits, and nothing raises for what it is told.

    As an observer of facts it counts orders by side and result: `filled`, `canceled`, `expired`, `never_accepted`,
    `refused`.
    """

    def __init__(self, started_at: datetime) -> None:
        """Begin at nothing, `started_at` the start of the process."""
        self._started_at = started_at
        self._lock = threading.Lock()
        self._sides: OrderedDict[str, str] = OrderedDict()
        self._counters = {
            name: Counts()
            for name in ("orders", "exchange_errors", "gate_rejections", "alerts", "worker_restarts", "retrain", "ws")
        }
        self._latency = Buckets(LATENCY_BOUNDS_S)
        self._durations = Buckets(DURATION_BOUNDS_S)
        self._gauges: dict[str, float | str | None] = {}
        self._reconnects = 0

    def emit(self, event: Event) -> None:
        """Take notice of a fact."""
        with self._lock:
            if isinstance(event, OrderSent):
                self._remember(event.client_id, event.side)
            elif isinstance(event, OrderFinished):
                self._count_order(event.client_id, event.state.lower())
            elif isinstance(event, OrderRejected):
                self._count_order(event.client_id, "refused")

    def remember_order(self, client_id: str, side: str) -> None:
        """Know the side of an order an earlier process sent."""
        with self._lock:
            self._remember(client_id, side)

    def count_cycle(self, report: FinishedCycle) -> None:
        """Count what a cycle refused and how long its stages took."""
        with self._lock:
            for stage, length_ms in report.durations_ms.items():
                self._durations.observe(length_ms / 1000, stage)
            for reason, symbols in report.funnel.items():
                self._counters["gate_rejections"].add(reason, by=symbols)
            self._counters["exchange_errors"].add(MARKET_DATA, by=report.funnel.get(UNUSABLE, 0))

    def observe_order(self, seconds: float) -> None:
        """Take how long the exchange took to answer one request about an order."""
        with self._lock:
            self._latency.observe(seconds)

    def count_exchange_error(self, kind: str) -> None:
        """Count a request the exchange did not do."""
        self._add("exchange_errors", kind)

    def follow_alerts(self, totals: Mapping[tuple[str, str, str], int]) -> None:
        """Take how many alerts came to which end so far, by level, channel and result."""
        with self._lock:
            for labels, total in totals.items():
                self._counters["alerts"].raise_to(total, *labels)

    def count_worker_restart(self, worker: str) -> None:
        """Count a worker that was started again."""
        self._add("worker_restarts", worker)

    def count_retrain(self, trigger: str, result: str, number: int = 1) -> None:
        """Count symbols whose training ended."""
        with self._lock:
            self._counters["retrain"].add(trigger or OTHER, result, by=number)

    def follow_stream(self, connections: int) -> None:
        """Take how often the price stream was connected so far; every time but the first is a reconnect."""
        with self._lock:
            seen = max(connections - 1, 0)
            self._counters["ws"].add(by=seen - self._reconnects)
            self._reconnects = max(seen, self._reconnects)

    def set_gauge(self, name: str, value: float | str | None) -> None:
        """Keep a present value; None or a number that is not finite is unknown."""
        unknown = isinstance(value, float) and not math.isfinite(value)
        with self._lock:
            self._gauges[name] = None if unknown else value

    def snapshot(self, now: datetime) -> dict[str, object]:
        """Give all figures as plain JSON values."""
        with self._lock:
            return {
                "at": iso(now),
                "started_at": iso(self._started_at),
                "counters": {name: counts.plain() for name, counts in self._counters.items()},
                "histograms": {"order_latency": self._latency.plain(), "cycle_duration": self._durations.plain()},
                "gauges": dict(self._gauges),
            }

    def _add(self, name: str, *labels: str) -> None:
        with self._lock:
            self._counters[name].add(*labels)

    def _remember(self, client_id: str, side: str) -> None:
        self._sides[client_id] = side
        if len(self._sides) > MOST_ORDERS:
            self._sides.popitem(last=False)

    def _count_order(self, client_id: str, result: str) -> None:
        self._counters["orders"].add(self._sides.pop(client_id, UNKNOWN_SIDE), result)
