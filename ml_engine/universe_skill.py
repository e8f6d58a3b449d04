"""Judging many bundles at once: among many slope tests some look proven by chance alone.

The procedure of *Benjamini and Hochberg (1995)*: of the m p-values sorted upwards, the k smallest are accepted for the
largest k whose k-th p-value is at most k / m times the rate; at most that rate of the accepted are then false.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

FALSE_DISCOVERY_RATE = 0.1

Name = TypeVar("Name")


def largest_accepted(p_values: Iterable[float], *, rate: float = FALSE_DISCOVERY_RATE) -> float:
    """Give the limit up to which a p-value of the set is accepted; infinite for an empty set.

    When none is accepted the limit is what the smallest would have had to reach.

    >>> largest_accepted([0.001, 0.04, 0.5, 0.9])
    0.05
    """
    ordered = sorted(p_values)
    if not ordered:
        return float("inf")
    share = rate / len(ordered)
    accepted = max((place for place, value in enumerate(ordered, 1) if value <= place * share), default=1)
    return accepted * share


def accepted(p_values: Mapping[Name, float], *, rate: float = FALSE_DISCOVERY_RATE) -> frozenset[Name]:
    """Give the names whose p-values are accepted together."""
    limit = largest_accepted(p_values.values(), rate=rate)
    return frozenset(name for name, value in p_values.items() if value <= limit)
