"""Equity, months, distribution and rolling figures of a report."""

from __future__ import annotations

from collections.abc import Iterable

from bn_ml.domain.market import from_iso, to_ms
from evidence.report_parts import chart, folded, section, table
from evidence.report_reading import Part
from evidence.report_words import (
    count,
    days,
    escape,
    figure,
    money,
    percent,
    ratio,
    share,
    signed_figure,
    signed_money,
    signed_percent,
)
from evidence.svg_charts import Bar, Line, bar_chart, line_chart


def equity_section(report: Part) -> str:
    """Draw equity and drawdown on the same time axis."""
    equity, quote = report["equity"], report["run"]["quote_asset"].text
    points = [[part.value for part in row] for row in equity["points"]]
    worth = line_chart([Line("equity", series(points, 1), "line-a")], money)
    fall = line_chart([Line("drawdown", series(points, 2), "line-b", filled=True)], percent, zero=True, height=150)
    lead = (
        f"<p>At most {figure(equity['deepest'].number, percent)} below an earlier peak; longest below a peak "
        f"{figure(equity['longest_days'].number, days)}.</p>"
    )
    return section(
        "equity",
        "Equity and drawdown",
        chart(worth, f"Equity in {quote}", "After all costs. A steady fall is cost; a single step is one event."),
        chart(fall, "Drawdown", "Distance to the highest equity before. Never coming back to 0 is alarming."),
        lead,
    )


def months_section(report: Part) -> str:
    """Show calendar months as bars and as a table."""
    months = list(report["months"])
    bars = [Bar(month["month"].text, month["return"].number or 0.0) for month in months]
    rows = [
        [
            escape(month["month"].text),
            signed_figure(month["return"].number, signed_percent),
            figure(month["drawdown"].number, percent),
            figure(month["trades"].number, count),
            figure(month["win_rate"].number, share),
            signed_figure(month["net_quote"].number, signed_money),
            figure(month["fees_quote"].number, money),
        ]
        for month in months
    ]
    heads = ("month", "return", "drawdown inside", "trades closed", "win rate", "net", "fees")
    drawing = bar_chart(bars, percent, height=170) if len(bars) > 1 else ""
    drawn = chart(drawing, "Return by month", "One month that carries all others is alarming.") if drawing else ""
    return section("months", "Months", drawn, table(heads, rows))


def distribution_section(report: Part) -> str:
    """Show how results of trades spread."""
    spread = report["distribution"]
    bars = [
        Bar(
            percent(item["from"].number or 0.0),
            item["trades"].number or 0.0,
            tone="bar-gain" if (item["from"].number or 0.0) >= 0 else "bar-loss",
        )
        for item in spread["bins"]
    ]
    names = (
        ("worst", "Worst"),
        ("p05", "5 % quantile"),
        ("median", "Median"),
        ("mean", "Mean"),
        ("p95", "95 % quantile"),
        ("best", "Best"),
    )
    rows = [[escape(title), signed_figure(spread[key].number, signed_percent)] for key, title in names if spread[key]]
    if spread["deviation"].number is not None:
        rows.append(["Deviation", figure(spread["deviation"].number, percent)])
    sentence = (
        "Number of trades by net result over what was paid; the outer bars hold all beyond. "
        "A long left tail without a right one is alarming."
    )
    return section(
        "distribution",
        "Results of trades",
        chart(bar_chart(bars, count), "Distribution", sentence),
        table(("result", "net"), rows),
    )


def rolling_section(report: Part) -> str:
    """Draw figures over a moving window."""
    rolling = report["rolling"]
    by_days = [[part.value for part in row] for row in rolling["by_days"]]
    by_trades = [[part.value for part in row] for row in rolling["by_trades"]]
    span, trades = f"{rolling['days'].text} days", f"{rolling['trades'].text} trades"
    drawn = [
        (Line("return", _by_day(by_days, 1), "line-a"), percent, f"Return over {span}", "Staying below 0 is alarming."),
        (Line("Sharpe", _by_day(by_days, 2), "line-a"), ratio, f"Sharpe ratio over {span}", "A steady fall is decay."),
        (
            Line("won", series(by_trades, 1), "line-a"),
            share,
            f"Win rate over {trades}",
            "A fall below its usual range is decay.",
        ),
        (Line("mean", series(by_trades, 2), "line-a"), money, f"Mean net result over {trades}", "Below 0 loses."),
    ]
    charts = [
        chart(line_chart([line], shown, zero=True, height=160), title, sentence)
        for line, shown, title, sentence in drawn
    ]
    return section("rolling", "Rolling figures", *charts[:1], folded("More rolling figures", "".join(charts[1:])))


def series(rows: Iterable[list[object]], column: int) -> list[tuple[int, float]]:
    """Give (ms, value) of one column of rows that start with an ISO instant; rows without a number are left out."""
    return [
        (to_ms(from_iso(str(row[0]))), number)
        for row in rows
        if len(row) > column and (number := Part(row[column]).number) is not None
    ]


def _by_day(rows: Iterable[list[object]], column: int) -> list[tuple[int, float]]:
    return series([[f"{row[0]}T00:00:00Z", *row[1:]] for row in rows], column)
