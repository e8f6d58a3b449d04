"""Trades, costs, calibration and what kept entries out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evidence.report_parts import chart, folded, paragraph, section, table
from evidence.report_reading import Part
from evidence.report_words import (
    ABSENT,
    Shown,
    basis_points,
    count,
    escape,
    figure,
    hours,
    instant,
    money,
    percent,
    price,
    ratio,
    share,
    signed_figure,
    signed_money,
    signed_percent,
)
from evidence.svg_charts import Bar, bar_chart

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = {"net of closed trades": "net", "open positions and dust": "still held", "change of equity": "change"}
_TRADE_HEADS = (
    "opened (UTC)",
    "symbol",
    "held h",
    "entry",
    "exit",
    "paid",
    "fees",
    "net",
    "net %",
    "confidence",
    "reason",
    "bundle",
)


def costs_section(report: Part) -> str:
    """Show the way from what prices gave to what the account gained."""
    costs, quote = report["costs"], report["run"]["quote_asset"].text
    steps = list(costs["steps"])
    rows = [
        [
            escape(step["name"].text),
            signed_figure(step["quote"].number, signed_money),
            signed_figure(step["bp"].number, basis_points),
        ]
        for step in steps
    ]
    told = "" if costs["slippage_measured"].value else "Slippage was not measured here: it is inside gross. "
    sentence = f"{told}Costs larger than gross mean that no order size makes this profitable."
    return section(
        "costs",
        "Costs",
        chart(bar_chart(_waterfall(steps), money), f"From gross to the change of equity, {quote}", sentence),
        table(("step", quote, "of the money put in"), rows),
        _break_even(costs["break_even"]),
        _unvalued(costs),
    )


def trades_section(report: Part) -> str:
    """Show trades by symbol, hour, weekday and reason, their durations and excursions, and every one of them."""
    trades = report["trades"]
    held = trades["duration"]
    durations = [
        [escape(title), figure(held[key].number, hours)]
        for key, title in (
            ("median_hours", "Median"),
            ("mean_hours", "Mean"),
            ("winners_mean_hours", "Mean of winners"),
            ("losers_mean_hours", "Mean of losers"),
            ("longest_hours", "Longest"),
        )
    ]
    hourly = [Bar(item["hour"].text, item["net_quote"].number or 0.0) for item in trades["by_hour"]]
    return section(
        "trades",
        "Trades",
        _groups("Exit reason", trades["by_reason"], "reason"),
        _groups("Symbol", trades["by_symbol"], "symbol"),
        table(("held", "time"), durations, caption="How long trades were held") if held else "",
        _excursions(trades["excursions"]),
        folded(
            "By hour and weekday of the entry (UTC)",
            chart(bar_chart(hourly, money, height=160), "Net result by hour of entry", "Single hours prove nothing.")
            + _groups("Hour", trades["by_hour"], "hour")
            + _groups("Weekday", trades["by_weekday"], "weekday"),
        ),
        _every(list(trades["rows"])),
    )


def calibration_section(report: Part) -> str:
    """Show whether more confidence won more often."""
    tenths = list(report["calibration"])
    bars = [
        Bar(
            f"{item['from'].number or 0:.1f}-{item['to'].number or 0:.1f}",
            item["won"].number or 0.0,
            tone="bar-plain",
            mark=item["mean_confidence"].number,
        )
        for item in tenths
    ]
    rows = [
        [
            escape(bar.name),
            figure(item["trades"].number, count),
            figure(item["mean_confidence"].number, share),
            figure(item["won"].number, share),
            signed_figure(item["mean_return"].number, signed_percent),
        ]
        for bar, item in zip(bars, tenths, strict=True)
    ]
    sentence = (
        "Bars: share of trades that won after costs, by confidence at the entry; ticks: mean confidence. "
        "Bars that do not rise to the right mean that confidence tells nothing apart."
    )
    heads = ("confidence", "trades", "mean confidence", "won", "mean net")
    return section(
        "calibration",
        "Calibration",
        chart(bar_chart(bars, share, height=200), "Confidence against winners", sentence),
        table(heads, rows),
    )


def funnel_section(report: Part) -> str:
    """Show what kept entries out, most frequent first."""
    rows = [
        [escape(item["reason"].text), figure(item["count"].number, count), figure(item["share"].number, percent)]
        for item in report["funnel"]
    ]
    lead = paragraph("How often each reason code kept a symbol out, over all cycles.")
    return section("funnel", "Why no trade", lead, table(("reason", "times", "share"), rows))


def _waterfall(steps: Sequence[Part]) -> list[Bar]:
    bars, level = [], 0.0
    for place, step in enumerate(steps):
        amount = step["quote"].number or 0.0
        is_sum = place == 0 or step["name"].text in ("net of closed trades", "change of equity")
        name = _SHORT.get(step["name"].text, step["name"].text)
        bars.append(Bar(name, amount, base=0.0 if is_sum else level, tone="bar-plain" if is_sum else ""))
        level = amount if is_sum else level + amount
    return bars


def _break_even(found: Part) -> str:
    needed, paid = found["cost_per_side"].number, found["paid_per_side"].number
    if needed is None or paid is None:
        return paragraph("Break-even cost: there were no trades.", "absent")
    return (
        f"<p>Nothing would be left at a cost of {signed_figure(needed, signed_percent)} a side; "
        f"{figure(paid, percent)} was paid{'' if found['with_slippage'].value else ', slippage not counted'}.</p>"
    )


def _unvalued(costs: Part) -> str:
    number = costs["unvalued_fees"].number or 0
    if not number:
        return ""
    return f"<p>{figure(number, count)} fees were paid in a third asset, whose price the book does not know.</p>"


def _groups(title: str, rows: Iterable[Part], key: str) -> str:
    lines = [
        [
            escape(WEEKDAYS[int(row[key].number or 1) - 1] if key == "weekday" else row[key].text),
            figure(row["trades"].number, count),
            figure(row["win_rate"].number, share),
            signed_figure(row["mean_return"].number, signed_percent),
            signed_figure(row["net_quote"].number, signed_money),
        ]
        for row in rows
    ]
    return table((title.lower(), "trades", "win rate", "mean net", "net"), lines, caption=f"By {title.lower()}")


def _excursions(found: Part) -> str:
    if not found["trades"].number:
        return paragraph(
            "How far prices went for and against each trade (MAE, MFE) is left out: the bars were not at hand.",
            "absent",
        )
    rows = [
        ["Against (MAE)", *(figure(found[f"adverse_{key}"].number, percent) for key in ("median", "p95"))],
        ["For (MFE)", *(figure(found[f"favourable_{key}"].number, percent) for key in ("median", "p95"))],
    ]
    told = f"Excursions from the entry price ({found['trades'].text} of {found['of'].text} trades had bars)"
    return table(("excursion", "median", "95 % quantile"), rows, caption=told)


def _every(rows: Sequence[Part]) -> str:
    measured = any(row["adverse"].number is not None for row in rows)
    heads = (*_TRADE_HEADS, *(("MAE", "MFE") if measured else ()))
    lines = [_trade(row, measured=measured) for row in rows]
    return folded(f"All {len(rows)} trades", table(heads, lines, tone="dense"))


def _trade(row: Part, *, measured: bool) -> list[str]:
    net = row["net_quote"].number
    tone = "gain" if (net or 0) > 0 else "loss"
    cells = [
        escape(instant(row["opened_at"].text)),
        escape(row["symbol"].text),
        _plain(row["hours"], ratio),
        _plain(row["entry_price"], price),
        _plain(row["exit_price"], price),
        _plain(row["cost_quote"], money),
        _plain(row["fees_quote"], money),
        f'<span class="{tone}">{_plain(row["net_quote"], signed_money)}</span>',
        _plain(row["return"], signed_percent),
        _plain(row["confidence"], ratio),
        escape(row["reason"].text),
        escape(row["bundle_version"].text or "-"),
    ]
    if measured:
        cells += [_plain(row["adverse"], percent), _plain(row["favourable"], percent)]
    return cells


def _plain(part: Part, shown: Shown) -> str:
    value = part.number
    return ABSENT if value is None else escape(shown(value))
