"""How the account stands: figures with a yardstick, equity beside a benchmark, holdings, what closes earned."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.state_reader import CycleRow, EventRow, TradeRow
from monitoring.desk import Look
from monitoring.figures import ACCENT, GAIN, LOSS, NEUTRAL, Figure, axis, ink, layout, sign_colours, thinned
from monitoring.plain_values import instant, number
from monitoring.views_funnel import GATES, RISK, counts_of, gate_of
from monitoring.wording import amount

WINDOW = 20
"""Closed positions compared with as many before them."""
MOST_MARKS = 300
FLOW_CYCLES = 60


@dataclass(frozen=True, slots=True)
class Close:
    """A closed position: what it earned net of fees in the quote asset, and how long it was held."""

    at: datetime
    symbol: str
    reason: str
    pnl: float
    held_s: float


@dataclass(frozen=True, slots=True)
class Record:
    """Figures of a run of closed positions; NaN where none of that kind exists."""

    count: int
    win_rate: float
    profit_factor: float
    expectancy: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Prices of holding instead, oldest first."""

    name: str
    at: tuple[datetime, ...] = ()
    price: tuple[float, ...] = ()


def closes_of(events: Sequence[EventRow]) -> tuple[Close, ...]:
    """Give the closed positions told by `PositionClosed` facts, newest first; what is odd is left out."""
    found = []
    for row in events:
        pnl, held = amount(row.payload.get("pnl_quote")), number(row.payload.get("held_s"))
        if math.isfinite(pnl):
            found.append(Close(row.at, str(row.payload.get("symbol")), str(row.payload.get("reason")), pnl, held))
    return tuple(found)


def record_of(closes: Sequence[Close]) -> Record:
    """Give win rate (fraction), profit factor and mean result."""
    if not closes:
        return Record(0, math.nan, math.nan, math.nan)
    wins = [close.pnl for close in closes if close.pnl > 0.0]
    lost = -sum(close.pnl for close in closes if close.pnl < 0.0)
    factor = sum(wins) / lost if lost > 0.0 else math.nan
    return Record(len(closes), len(wins) / len(closes), factor, sum(close.pnl for close in closes) / len(closes))


def trend_note(now: float, before: float, written: str) -> tuple[str, bool | None]:
    """Say how a figure compares with the window before, with an arrow, and whether that is better.

    >>> trend_note(0.5, 0.4, "40.0 %")
    ('▲ before: 40.0 %', True)
    """
    if not (math.isfinite(now) and math.isfinite(before)):
        return "", None
    if math.isclose(now, before, abs_tol=1e-12):
        return f"= before: {written}", None
    return (f"▲ before: {written}", True) if now > before else (f"▼ before: {written}", False)


def benchmark_from(path: Path, name: str) -> Benchmark:
    """Read the benchmark's prices from the exported market history; empty when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Benchmark(name)
    points = []
    for row in csv.DictReader(io.StringIO(text)):
        at, price = instant(row.get("timestamp")), amount(row.get("benchmark_price"))
        if at is not None and math.isfinite(price) and price > 0.0:
            points.append((at, price))
    points.sort()
    return Benchmark(name, tuple(at for at, _ in points), tuple(price for _, price in points))


def equity_figure(
    cycles: Sequence[CycleRow], trades: Sequence[TradeRow], benchmark: Benchmark, limit: float, look: Look
) -> Figure:
    """Draw equity with the benchmark and fills above, drawdown against its limit below, on one time axis."""
    points = [
        (row.at, number(row.data.get("equity")), number(row.data.get("drawdown_pct"))) for row in reversed(cycles)
    ]
    points = [point for point in points if math.isfinite(point[1])]
    at, equity = thinned([point[0] for point in points], [point[1] for point in points])
    down_at, down = thinned([point[0] for point in points], [-100.0 * point[2] for point in points])
    lines: list[Mapping[str, object]] = [
        _line("Equity", [look.axis(moment) for moment in at], equity, GAIN, "y"),
        *_held_instead(benchmark, at, equity, look),
        *_fills(trades, at, equity, look),
        {
            **_line("Drawdown", [look.axis(moment) for moment in down_at], down, LOSS, "y2"),
            "fill": "tozeroy",
            "hovertemplate": "%{y:.2f} %",
        },
    ]
    bottom = -100.0 * limit
    level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y2", "y0": bottom, "y1": bottom}
    dark = look.dark
    return {
        "data": lines,
        "layout": layout(
            dark,
            height=380,
            yaxis=axis(dark=dark, domain=[0.34, 1.0], title={"text": "equity"}),
            yaxis2=axis(dark=dark, domain=[0.0, 0.26], title={"text": "drawdown %"}, range=[1.15 * bottom, 0.0]),
            xaxis=axis(dark=dark, anchor="y2"),
            shapes=[{**level, "line": {"color": LOSS, "dash": "dot", "width": 1}}],
        ),
    }


def equity_summary(cycles: Sequence[CycleRow], benchmark: Benchmark) -> str:
    """Say what the equity chart shows."""
    known = [(row.at, number(row.data.get("equity"))) for row in cycles]
    known = [point for point in known if math.isfinite(point[1])]
    if len(known) < 2:
        return "Equity: fewer than two cycles in this period."
    last, first = known[0], known[-1]
    said = f"Equity {last[1]:,.2f}, {100 * (last[1] / first[1] - 1):+.2f} % over {len(known)} cycles"
    held = [price for at, price in zip(benchmark.at, benchmark.price, strict=True) if first[0] <= at <= last[0]]
    if len(held) < 2:
        return f"{said}; no price of {benchmark.name} on record for this period."
    return f"{said}; holding {benchmark.name} {100 * (held[-1] / held[0] - 1):+.2f} %."


def allocation_figure(holdings: Mapping[str, float], cash: float, look: Look) -> Figure:
    """Draw what the equity is made of: each position and the cash, in the quote asset."""
    names = [*sorted(holdings, key=lambda name: -holdings[name]), "cash"]
    values = [*(holdings[name] for name in names[:-1]), max(cash, 0.0)]
    colours = [*([GAIN] * len(holdings)), NEUTRAL]
    bars = {"type": "bar", "orientation": "h", "x": values, "y": names, "marker": {"color": colours}}
    shown = {**bars, "text": [f"{value:,.0f}" for value in values], "textposition": "auto", "showlegend": False}
    height = 90 + 26 * len(names)
    yaxis = axis(dark=look.dark, autorange="reversed")
    return {"data": [shown], "layout": layout(look.dark, height=height, hovermode="closest", yaxis=yaxis)}


def distribution_figure(closes: Sequence[Close], look: Look) -> Figure:
    """Draw how closed positions ended, losses and gains apart."""
    traces = [
        {"type": "histogram", "x": values, "name": name, "marker": {"color": colour}, "nbinsx": 30}
        for name, colour, values in (
            ("losses (-)", LOSS, [close.pnl for close in closes if close.pnl < 0.0]),
            ("gains (+)", GAIN, [close.pnl for close in closes if close.pnl >= 0.0]),
        )
        if values
    ]
    return {"data": traces, "layout": layout(look.dark, height=260, bargap=0.05, barmode="overlay")}


def flow_figure(cycles: Sequence[CycleRow], look: Look) -> Figure:
    """Draw how many symbols each gate stopped in the last cycles, oldest first."""
    rows = list(reversed(cycles[:FLOW_CYCLES]))
    at = [look.axis(row.at) for row in rows]
    shades = ("#5b6b8c", "#7d8bb0", "#a7b2cf", "#c58a4b", "#f08c2e", "#d9a514", "#8a94a6", "#b38cf0")
    names = [*(gate for gate, _ in GATES), RISK]
    traces: list[Mapping[str, object]] = []
    for name, shade in zip(names, shades, strict=True):
        stopped = [sum(count for reason, count in counts_of(row).items() if gate_of(reason) == name) for row in rows]
        if any(stopped):
            traces.append({"type": "bar", "x": at, "y": stopped, "name": name, "marker": {"color": shade}})
    opened = [row.opened_positions for row in rows]
    traces.append({"type": "bar", "x": at, "y": opened, "name": "bought", "marker": {"color": ACCENT}})
    return {"data": traces, "layout": layout(look.dark, height=240, barmode="stack", bargap=0.1)}


def daily_figure(closes: Sequence[Close], look: Look) -> Figure:
    """Draw what was realized per day, gains and losses by colour and direction."""
    days: dict[str, float] = {}
    for close in reversed(closes):
        day = f"{close.at.astimezone(look.zone):%Y-%m-%d}"
        days[day] = days.get(day, 0.0) + close.pnl
    names, values = list(days)[-90:], list(days.values())[-90:]
    bars = {"type": "bar", "x": names, "y": values, "name": "realized per day", "showlegend": False}
    coloured = {**bars, "marker": {"color": sign_colours(values)}}
    return {"data": [coloured], "layout": layout(look.dark, height=260, xaxis=axis(dark=look.dark, type="category"))}


def _line(name: str, at: Sequence[str], values: Sequence[float], colour: str, place: str) -> Mapping[str, object]:
    shown = {"type": "scatter", "mode": "lines", "name": name, "x": at, "y": values, "yaxis": place}
    return {**shown, "line": {"color": colour, "width": 1.6}}


def _held_instead(
    benchmark: Benchmark, at: Sequence[datetime], equity: Sequence[float], look: Look
) -> list[Mapping[str, object]]:
    """Draw the benchmark as if the equity of its first price had been put into it."""
    if not at:
        return []
    inside = [
        (moment, price)
        for moment, price in zip(benchmark.at, benchmark.price, strict=True)
        if at[0] <= moment <= at[-1]
    ]
    if len(inside) < 2:
        return []
    start = next(value for moment, value in zip(at, equity, strict=True) if moment >= inside[0][0])
    xs, ys = thinned([moment for moment, _ in inside], [start * price / inside[0][1] for _, price in inside])
    line = _line(f"holding {benchmark.name}", [look.axis(moment) for moment in xs], ys, NEUTRAL, "y")
    return [{**line, "line": {"color": ink(dark=look.dark), "width": 1, "dash": "dash"}}]


def _fills(
    trades: Sequence[TradeRow], at: Sequence[datetime], equity: Sequence[float], look: Look
) -> list[Mapping[str, object]]:
    """Mark the newest fills on the line; both orders of time are walked once."""
    marks: dict[str, list[tuple[str, float, str]]] = {"BUY": [], "SELL": []}
    place = len(at) - 1
    for row in trades:
        if not at or row.at < at[0] or sum(map(len, marks.values())) >= MOST_MARKS:
            break
        while place > 0 and at[place] > row.at:
            place -= 1
        if row.side in marks:
            marks[row.side].append((look.axis(row.at), equity[place], str(row.symbol)))
    shapes = {"BUY": ("triangle-up", GAIN), "SELL": ("triangle-down", LOSS)}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": side.lower(),
            "x": [mark[0] for mark in found],
            "y": [mark[1] for mark in found],
            "text": [mark[2] for mark in found],
            "marker": {"symbol": shapes[side][0], "color": shapes[side][1], "size": 8},
            "hovertemplate": "%{text}",
        }
        for side, found in marks.items()
        if found
    ]
