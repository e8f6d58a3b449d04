"""Charts of what the bot sees: heat over time, the matrix of scores, bars with fills, probabilities over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime

from monitoring.figures import GAIN, LOSS, NEUTRAL, Figure, axis, ink, layout
from monitoring.stored_bars import Candles, FillMark
from monitoring.views_opportunities import MATRIX_COLUMNS, BookLine, Heat, Ribbon, matrix_shades, matrix_values

AxisText = Callable[[datetime], str]
_LOWEST, _HIGHEST = LOSS, GAIN


def heat_chart(heat: Heat, text: AxisText, *, dark: bool) -> Figure:
    """Give `p_buy - usual` per symbol and time: blue above the usual rate, orange below, nothing where unknown."""
    return {
        "data": [
            {
                "type": "heatmap",
                "x": [text(start) for start in heat.starts],
                "y": list(heat.symbols),
                "z": [[_plain(value) for value in row] for row in heat.values],
                "zmin": -heat.reach,
                "zmax": heat.reach,
                "zmid": 0,
                "colorscale": _diverging(dark=dark),
                "hoverongaps": False,
                "hovertemplate": "%{y} %{x}<br>p BUY %{z:+.3f} against the usual rate<extra></extra>",
                "colorbar": {"tickformat": "+.2f", "title": {"text": "p BUY - usual"}},
            }
        ],
        "layout": layout(
            dark,
            height=80 + 24 * max(len(heat.symbols), 4),
            hovermode="closest",
            showlegend=False,
            yaxis=axis(dark=dark, autorange="reversed", type="category"),
        ),
    }


def matrix_chart(lines: Sequence[BookLine], *, dark: bool) -> Figure:
    """Give the numbers of each symbol side by side, each written in its cell."""
    values = matrix_values(lines)
    written = [[_cell(value, place) for place, value in enumerate(row)] for row in values]
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(MATRIX_COLUMNS),
                "y": [f"{line.symbol} {line.action}" for line in lines],
                "z": [[_plain(value) for value in row] for row in matrix_shades(values)],
                "text": written,
                "texttemplate": "%{text}",
                "textfont": {"color": ink(dark=dark)},
                "zmin": 0,
                "zmax": 1,
                "colorscale": [[0, "rgba(0,0,0,0)"], [1, _faded(GAIN)]],
                "showscale": False,
                "xgap": 2,
                "ygap": 2,
                "hovertemplate": "%{y}<br>%{x} %{text}<extra></extra>",
            }
        ],
        "layout": layout(
            dark,
            height=80 + 26 * max(len(lines), 4),
            hovermode="closest",
            showlegend=False,
            xaxis=axis(dark=dark, side="top", type="category"),
            yaxis=axis(dark=dark, autorange="reversed", type="category"),
        ),
    }


def bars_chart(candles: Candles, marks: Sequence[FillMark], text: AxisText, *, dark: bool) -> Figure:
    """Give candles as bodies and wicks, rising ones hollow, with our fills: purchases point up, sales down."""
    return {
        "data": [*_bodies(candles, text), *_marks(marks, text, dark=dark)],
        "layout": layout(dark, height=360, barmode="overlay", bargap=0.25, yaxis=axis(dark=dark, tickformat=",.6~g")),
    }


def ribbon_chart(ribbon: Ribbon, base_rate: float, threshold: float, text: AxisText, *, dark: bool) -> Figure:
    """Give the three probabilities stacked to 1, with the usual BUY rate and the limit BUY must pass."""
    times = [text(at) for at in ribbon.times]
    parts = (("BUY", ribbon.buy, GAIN), ("HOLD", ribbon.hold, NEUTRAL), ("SELL", ribbon.sell, LOSS))
    areas = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": times,
            "y": [_plain(value) for value in values],
            "stackgroup": "p",
            "line": {"width": 0.5, "color": colour},
            "fillcolor": _faded(colour),
            "hovertemplate": f"{name} %{{y:.3f}}<extra></extra>",
        }
        for name, values, colour in parts
    ]
    levels = (("usual BUY rate", base_rate, "dot"), ("limit of BUY", threshold, "dash"))
    lines = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{name} {level:.3f}",
            "x": [times[0], times[-1]],
            "y": [level, level],
            "line": {"width": 1.5, "dash": dash, "color": ink(dark=dark)},
            "hoverinfo": "skip",
        }
        for name, level, dash in levels
        if times and math.isfinite(level)
    ]
    return {
        "data": [*areas, *lines],
        "layout": layout(dark, height=240, yaxis=axis(dark=dark, range=[0, 1], tickformat=".1f")),
    }


def _bodies(candles: Candles, text: AxisText) -> list[object]:
    times = [text(at) for at in candles.times]
    rows = list(zip(candles.open, candles.high, candles.low, candles.close, strict=True))
    colours = [GAIN if close >= start else LOSS for start, _, _, close in rows]
    told = [f"open {o:g}<br>high {h:g}<br>low {low:g}<br>close {c:g} ({c - o:+g})" for o, h, low, c in rows]
    wicks: list[object] = []
    ends: list[object] = []
    for at, (_, high, low, _) in zip(times, rows, strict=True):
        wicks += [at, at, None]
        ends += [low, high, None]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "low to high",
            "x": wicks,
            "y": ends,
            "line": {"width": 1, "color": NEUTRAL},
            "hoverinfo": "skip",
            "showlegend": False,
        },
        {
            "type": "bar",
            "name": "open to close",
            "x": times,
            "base": [min(start, close) for start, _, _, close in rows],
            # A bar without any height is not drawn at all.
            "y": [max(abs(close - start), close * 1e-5) for start, _, _, close in rows],
            "marker": {
                "color": ["rgba(0,0,0,0)" if close >= start else LOSS for start, _, _, close in rows],
                "line": {"color": colours, "width": 1.2},
            },
            "text": told,
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
        },
    ]


def _marks(marks: Sequence[FillMark], text: AxisText, *, dark: bool) -> list[object]:
    shapes = (("BUY", "triangle-up", _HIGHEST), ("SELL", "triangle-down", _LOWEST))
    traces: list[object] = []
    for side, shape, colour in shapes:
        own = [mark for mark in marks if mark.side == side]
        if own:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": f"our {side}",
                    "x": [text(mark.at) for mark in own],
                    "y": [mark.price for mark in own],
                    "text": [mark.words for mark in own],
                    "marker": {
                        "symbol": shape,
                        "size": 12,
                        "color": colour,
                        "line": {"width": 1, "color": ink(dark=dark)},
                    },
                    "hovertemplate": "%{text} at %{y:,.6~g}<extra></extra>",
                }
            )
    return traces


def _diverging(*, dark: bool) -> list[list[object]]:
    return [[0, _LOWEST], [0.5, "#20242c" if dark else "#f4f5f7"], [1, _HIGHEST]]


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.35)"


def _cell(value: float, place: int) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.2f}" if place < 4 else f"{value:.1f}"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
