"""Which labels each series of the bot and its API carries, histograms by the names they are scraped under."""

from __future__ import annotations

from collections.abc import Mapping

from monitoring.metric_names import CATALOGUE
from public_api.api_metrics import DURATIONS, REQUESTS, SOCKETS
from tests.fakes.promql import asked

TARGET = frozenset({"job", "instance"})


def series() -> Mapping[str, frozenset[str]]:
    """Give the labels of every series that a scrape can bring, those of the target included."""
    known = {"up": TARGET}
    for family in (*CATALOGUE, REQUESTS, DURATIONS, SOCKETS):
        labels = frozenset(family.labels) | TARGET
        if family.kind == "histogram":
            known |= {f"{family.name}_bucket": labels | {"le"}}
            known |= {f"{family.name}_sum": labels, f"{family.name}_count": labels}
        else:
            known[family.name] = labels
    return known


def problems_of(expression: str) -> list[str]:
    """Say which names and labels of an expression no scrape brings."""
    known, found = series(), asked(expression)
    told = [f"no series {name}" for name in found.selected if name not in known]
    told += [
        f"{name} has no label {label}"
        for name, labels in found.selected.items()
        for label in sorted(labels | found.grouped)
        if name in known and label not in known[name]
    ]
    return told
