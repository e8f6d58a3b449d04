"""Charts of the bundles: skill with its interval, and which inputs count."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monitoring.figures import ACCENT, GAIN, LOSS, Figure, axis, layout
from monitoring.views_models import ModelLine, Weight


def skill_chart(lines: Sequence[ModelLine], *, dark: bool) -> Figure:
    """Give the held-out skill of each bundle with its 90 % interval; left of 0 it knows less than the class shares."""
    known = [line for line in reversed(lines) if math.isfinite(line.skill)]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * line.skill for line in known],
                "y": [f"{line.symbol} {line.verdict.lower()}" for line in known],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_reach(line.skill_high - line.skill) for line in known],
                    "arrayminus": [_reach(line.skill - line.skill_low) for line in known],
                },
                "marker": {
                    "size": 10,
                    "color": [GAIN if line.is_tradable else LOSS for line in known],
                    "symbol": ["circle" if line.is_tradable else "x" for line in known],
                },
                "hovertemplate": "%{y}<br>skill %{x:+.2f} %<extra></extra>",
            }
        ],
        "layout": layout(
            dark,
            height=90 + 28 * max(len(known), 3),
            showlegend=False,
            hovermode="closest",
            xaxis=axis(dark=dark, title={"text": "skill over the class shares, %"}, zeroline=True, zerolinewidth=2),
            yaxis=axis(dark=dark, type="category"),
        ),
    }


def importance_chart(weights: Sequence[Weight], *, dark: bool) -> Figure:
    """Give the share of each input."""
    ordered = list(reversed(weights))
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": [100 * weight.share for weight in ordered],
                "y": [weight.name for weight in ordered],
                "text": [f"{100 * weight.share:.1f} %" for weight in ordered],
                "marker": {"color": ACCENT},
                "hovertemplate": "%{y} %{text}<extra></extra>",
            }
        ],
        "layout": layout(
            dark,
            height=80 + 20 * max(len(ordered), 4),
            showlegend=False,
            hovermode="closest",
            xaxis=axis(dark=dark, title={"text": "share, %"}),
            yaxis=axis(dark=dark, type="category"),
        ),
    }


def _reach(distance: float) -> float:
    return 100 * distance if math.isfinite(distance) and distance > 0 else 0.0
