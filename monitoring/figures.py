"""Charts as plain Plotly mappings: colours, a common layout, and how many points a line may have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

Figure = Mapping[str, object]

GAIN = "#3b82f6"
LOSS = "#f08c2e"
NEUTRAL = "#8a94a6"
ACCENT = "#14b8a6"
WARN = "#d9a514"
SERIES = (GAIN, LOSS, ACCENT, "#b38cf0", NEUTRAL, WARN)
"""Blue and orange stay apart for every kind of colour blindness; a sign stands beside the colour all the same."""

MOST_POINTS = 2_000
_DARK = {"ink": "#d7dde8", "grid": "rgba(140,150,170,0.18)"}
_LIGHT = {"ink": "#243042", "grid": "rgba(60,70,90,0.16)"}

X = TypeVar("X")


def ink(*, dark: bool) -> str:
    """Give the colour of text and neutral lines."""
    return (_DARK if dark else _LIGHT)["ink"]


def axis(*, dark: bool, **more: object) -> Mapping[str, object]:
    """Give an axis with a quiet grid."""
    grid = (_DARK if dark else _LIGHT)["grid"]
    return {"gridcolor": grid, "zerolinecolor": grid, "linecolor": grid, "automargin": True, **more}


def layout(dark: bool, **more: object) -> Mapping[str, object]:
    """Give a layout without background of its own; `uirevision` never changes, so that zoom outlives new data."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": ink(dark=dark), "size": 12},
        "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
        "height": 300,
        "uirevision": "kept",
        "hovermode": "x unified",
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.12, "x": 0},
        "xaxis": axis(dark=dark),
        "yaxis": axis(dark=dark),
        **more,
    }


def thinned(xs: Sequence[X], ys: Sequence[float], most: int = MOST_POINTS) -> tuple[list[X], list[float]]:
    """Thin a line to at most `most` points, keeping the lowest and highest of each stretch, and both ends."""
    count = len(ys)
    if count <= most or most < 4:
        return list(xs), list(ys)
    stretches = (most - 2) // 2
    kept = {0, count - 1}
    for part in range(stretches):
        places = range(part * count // stretches, (part + 1) * count // stretches)
        numbers = [place for place in places if math.isfinite(ys[place])]
        if numbers:
            kept.add(min(numbers, key=lambda place: ys[place]))
            kept.add(max(numbers, key=lambda place: ys[place]))
    order = sorted(kept)
    return [xs[place] for place in order], [ys[place] for place in order]


def sign_colours(values: Sequence[float]) -> list[str]:
    """Give blue for each gain and orange for each loss."""
    return [LOSS if value < 0.0 else GAIN for value in values]
