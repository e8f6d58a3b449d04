"""What the API counts of itself, with labels from fixed sets: no request can add a series."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from monitoring.exposition import Distribution, Family, Sample, exposition

UNKNOWN = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUESTS = Family(
    "bnml_api_http_requests_total", "counter", "Requests answered by the API", ("method", "path", "status")
)
DURATIONS = Family(
    "bnml_api_http_request_duration_seconds", "histogram", "Seconds until the API had answered", ("method", "path")
)
SOCKETS = Family("bnml_api_ws_clients", "gauge", "Websockets open")


class ApiMetrics:
    """Counts requests by method, route template and status, and how long they took. For one thread."""

    def __init__(self) -> None:
        """Count from nothing."""
        self.sockets = 0
        self._templates: frozenset[str] = frozenset()
        self._prefixes: tuple[str, ...] = ()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._spread: dict[tuple[str, str], list[int]] = {}
        self._totals: dict[tuple[str, str], float] = {}

    def know(self, templates: Iterable[str]) -> None:
        """Learn the routes; what stands before a parameter is a prefix."""
        known = frozenset(templates)
        self._prefixes = tuple(sorted(name for name in known if "{" in name))
        self._templates = known - set(self._prefixes)

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one request."""
        names = (method if method in _METHODS else "other", self.template(path))
        self._requests[(*names, str(status))] += 1
        counts = self._spread.get(names)
        if counts is None:
            counts = self._spread[names] = [0] * (len(_BOUNDS) + 1)
        counts[bisect_left(_BOUNDS, seconds)] += 1
        self._totals[names] = self._totals.get(names, 0.0) + seconds

    def template(self, path: str) -> str:
        """Give the route a path belongs to."""
        if path in self._templates:
            return path
        return next((name for name in self._prefixes if path.startswith(name.partition("{")[0])), UNKNOWN)

    def text(self) -> str:
        """Give the metrics as Prometheus text."""
        requests = [Sample(float(count), key) for key, count in sorted(self._requests.items())]
        durations = [
            Distribution(_BOUNDS, tuple(counts), self._totals[names], names)
            for names, counts in sorted(self._spread.items())
        ]
        return exposition(((REQUESTS, requests), (DURATIONS, durations), (SOCKETS, [Sample(float(self.sockets))])))
