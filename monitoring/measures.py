"""Counters and histograms with few labels, kept in memory. Not thread-safe: who shares them holds a lock."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence

Labels = tuple[str, ...]

MOST_SERIES = 100
LONGEST_LABEL = 80
OTHER = "other"
"""What a label is called once there are too many different ones."""


class Counts:
    """Numbers that only grow, one for each combination of labels; beyond `most` combinations all count as `other`."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        """Begin at nothing."""
        self._most = most
        self._counts: dict[Labels, float] = {}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count `by` more; what is negative or not finite counts nothing."""
        if math.isfinite(by) and by > 0:
            place = _place(self._counts, labels, self._most)
            self._counts[place] = self._counts.get(place, 0.0) + by

    def raise_to(self, total: float, *labels: str) -> None:
        """Take a count kept elsewhere; a lower one than is known changes nothing."""
        place = _place(self._counts, labels, self._most)
        self._counts[place] = max(self._counts.get(place, 0.0), total)

    def plain(self) -> list[object]:
        """Give `[labels, count]` for each combination, in order of the labels."""
        return [[list(labels), count] for labels, count in sorted(self._counts.items())]


class Buckets:
    """How many observations fell under each of a few fixed bounds, and their sum, for each combination of labels."""

    def __init__(self, bounds: Sequence[float], most: int = MOST_SERIES) -> None:
        """`bounds` rise; what lies above the last one is counted too."""
        self._bounds = tuple(bounds)
        self._most = most
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation; one that is not finite is none."""
        if math.isfinite(value):
            place = _place(self._counts, labels, self._most)
            counts = self._counts.setdefault(place, [0] * (len(self._bounds) + 1))
            counts[bisect.bisect_left(self._bounds, value)] += 1
            self._sums[place] = self._sums.get(place, 0.0) + value

    def plain(self) -> Mapping[str, object]:
        """Give the bounds and, for each combination of labels, `[labels, counts, sum]`; counts are not cumulative."""
        series = [[list(labels), list(counts), self._sums[labels]] for labels, counts in sorted(self._counts.items())]
        return {"bounds": list(self._bounds), "series": series}


def _place(known: Mapping[Labels, object], labels: Labels, most: int) -> Labels:
    place = tuple(label[:LONGEST_LABEL] for label in labels)
    return place if place in known or len(known) < most else (OTHER,) * len(labels)
