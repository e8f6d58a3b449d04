"""Charts of where the money goes: from gross to net, by exit reason, and what was promised beside what came."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.figures import MOST_POINTS, NEUTRAL, Figure, axis, layout, sign_colours
from monitoring.views_trades import CostSteps, Promise, ReasonLine
from monitoring.wording import signed


def cost_chart(steps: CostSteps, asset: str, *, dark: bool) -> Figure:
    """Give the way from gross to net as steps, each written with its sign."""
    after_slippage = steps.gross - steps.slippage
    # label, where it begins, how far it goes
    bars = (
        ("gross", 0.0, steps.gross),
        ("slippage", steps.gross, -steps.slippage),
        ("fees", after_slippage, -steps.fees),
        ("net", 0.0, steps.net),
    )
    ends = [begin + change for _, begin, change in bars]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = (high - low or 1.0) * 0.15
    return {
        "data": [
            {
                "type": "bar",
                "x": [label for label, _, _ in bars],
                "base": [begin for _, begin, _ in bars],
                "y": [change for _, _, change in bars],
                "text": [signed(change, asset) for _, _, change in bars],
                "textposition": "outside",
                "marker": {"color": sign_colours([change for _, _, change in bars])},
                "hovertemplate": "%{x} %{text}<extra></extra>",
            }
        ],
        "layout": layout(
            dark,
            showlegend=False,
            hovermode="closest",
            xaxis=axis(dark=dark, type="category"),
            yaxis=axis(dark=dark, title={"text": asset}, range=[low - room, high + room]),
        ),
    }


def reason_chart(reasons: Sequence[ReasonLine], asset: str, *, dark: bool) -> Figure:
    """Give what the sales of each reason brought in all."""
    ordered = list(reversed(reasons))
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": [line.pnl_quote for line in ordered],
                "y": [f"{line.reason} ({line.sales})" for line in ordered],
                "text": [signed(line.pnl_quote, asset) for line in ordered],
                "marker": {"color": sign_colours([line.pnl_quote for line in ordered])},
                "hovertemplate": "%{y}<br>%{text}<extra></extra>",
            }
        ],
        "layout": layout(
            dark,
            showlegend=False,
            hovermode="closest",
            xaxis=axis(dark=dark, title={"text": asset}),
            yaxis=axis(dark=dark, type="category"),
        ),
    }


def promise_chart(promise: Promise, *, dark: bool, most: int = MOST_POINTS) -> Figure:
    """Give each position's expected and realised return; on the dotted line both are the same."""
    expected, realised = promise.expected[-most:], promise.realised[-most:]
    ends = [min(expected, default=0.0), max(expected, default=0.0)]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "name": "position",
                "x": [100 * value for value in expected],
                "y": [100 * value for value in realised],
                "text": list(promise.labels[-most:]),
                "marker": {
                    "color": sign_colours(realised),
                    "size": 7,
                    "symbol": ["triangle-up" if value >= 0 else "triangle-down" for value in realised],
                },
                "hovertemplate": "%{text}<br>expected %{x:+.2f} %, realised %{y:+.2f} %<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "as promised",
                "x": [100 * value for value in ends],
                "y": [100 * value for value in ends],
                "line": {"color": NEUTRAL, "dash": "dot"},
                "hoverinfo": "skip",
            },
        ],
        "layout": layout(
            dark,
            hovermode="closest",
            xaxis=axis(dark=dark, title={"text": "expected, % of cost"}),
            yaxis=axis(dark=dark, title={"text": "realised, % of cost"}),
        ),
    }
