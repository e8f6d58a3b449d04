"""What just happened: each cycle with its counts, refusals, errors and where its time went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from bn_ml.state_reader import CycleRow
from monitoring.desk import Look
from monitoring.figures import SERIES, Figure, layout
from monitoring.plain_values import mapping, number, sequence
from monitoring.views_funnel import counts_of
from monitoring.wording import UNKNOWN, signed_percent

STAGES = ("adopt", "manage", "scan", "enter")
DRAWN = 120


@dataclass(frozen=True, slots=True)
class CycleLine:
    """One cycle. `seconds` is the time its measured stages took together, NaN when none was measured."""

    number: int
    at: datetime
    scanned: int
    opportunities: int
    opened: int
    closed: int
    held: int
    equity: float
    day: str
    control: str
    top_refusal: str
    errors: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How long cycles take, in seconds: the middle and the 95th of a hundred; NaN when none was measured."""

    cycles: int
    middle: float
    slow: float
    with_errors: int


def lines_of(cycles: Sequence[CycleRow]) -> tuple[CycleLine, ...]:
    """Give the cycles as lines, in the order given."""
    return tuple(_line(row) for row in cycles)


def pace_of(lines: Sequence[CycleLine]) -> Pace:
    """Give how long the cycles took."""
    known = sorted(line.seconds for line in lines if math.isfinite(line.seconds))
    wrong = sum(1 for line in lines if line.errors)
    if not known:
        return Pace(len(lines), math.nan, math.nan, wrong)
    return Pace(len(lines), median(known), known[min(int(0.95 * len(known)), len(known) - 1)], wrong)


def duration_figure(cycles: Sequence[CycleRow], look: Look) -> Figure:
    """Draw the seconds of each stage of the last cycles."""
    rows = list(reversed(cycles[:DRAWN]))
    at = [look.axis(row.at) for row in rows]
    names = sorted({str(name) for row in rows for name in mapping(row.data.get("durations_ms"))}, key=_stage_order)
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": at,
            "y": [_seconds(mapping(row.data.get("durations_ms")).get(name)) for row in rows],
            "marker": {"color": SERIES[place % len(SERIES)]},
        }
        for place, name in enumerate(names)
    ]
    return {"data": traces, "layout": layout(look.dark, height=240, barmode="stack", bargap=0.1)}


def _line(row: CycleRow) -> CycleLine:
    data = row.data
    stopped = counts_of(row)
    taken = [number(value) for value in mapping(data.get("durations_ms")).values()]
    known = [value for value in taken if math.isfinite(value)]
    top = next(iter(sorted(stopped.items(), key=lambda item: (-item[1], item[0]))), None)
    cycle = number(data.get("cycle"))
    return CycleLine(
        number=row.id if math.isnan(cycle) else int(cycle),
        at=row.at,
        scanned=sum(stopped.values()) + row.opened_positions,
        opportunities=row.opportunities,
        opened=row.opened_positions,
        closed=_count(data.get("full_closes")) + _count(data.get("partial_closes")),
        held=_count(data.get("open_positions")),
        equity=number(data.get("equity")),
        day=signed_percent(number(data.get("daily_pnl_pct"))),
        control=str(data.get("control_state") or UNKNOWN),
        top_refusal=f"{top[0]} {top[1]}" if top else UNKNOWN,
        errors=tuple(str(error) for error in sequence(data.get("errors"))),
        seconds=sum(known) / 1000.0 if known else math.nan,
    )


def _count(value: object) -> int:
    found = number(value)
    return int(found) if math.isfinite(found) else 0


def _seconds(value: object) -> float:
    found = number(value)
    return found / 1000.0 if math.isfinite(found) else 0.0


def _stage_order(name: str) -> tuple[int, str]:
    return (STAGES.index(name) if name in STAGES else len(STAGES), name)
