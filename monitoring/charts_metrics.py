"""Charts of the machine: how long cycles take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from monitoring.figures import ACCENT, LOSS, Figure, axis, layout, thinned
from monitoring.views_metrics import CycleTime


def cycle_chart(times: Sequence[CycleTime], p95_ms: float, text: Callable[[datetime], str], *, dark: bool) -> Figure:
    """Give how long each cycle took, oldest first, with the level 95 % of them stay under."""
    instants, lengths = thinned([time.at for time in times], [time.length_ms for time in times])
    shown = [text(at) for at in instants]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "whole cycle",
                "x": shown,
                "y": lengths,
                "line": {"width": 1, "color": ACCENT},
                "hovertemplate": "%{y:,.0f} ms<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"p95 {p95_ms:,.0f} ms",
                "x": [*shown[:1], *shown[-1:]],
                "y": [p95_ms] * (2 if shown else 0),
                "line": {"width": 1.5, "dash": "dash", "color": LOSS},
                "hoverinfo": "skip",
            },
        ],
        "layout": layout(dark, height=240, yaxis=axis(dark=dark, title={"text": "ms"}, rangemode="tozero")),
    }
