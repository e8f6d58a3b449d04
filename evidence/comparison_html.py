"""A comparison as one HTML page, drawn only from its JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from evidence.report_charts import series
from evidence.report_html import page
from evidence.report_parts import chart, folded, paragraph, section, table
from evidence.report_reading import Part
from evidence.report_summary import FIGURES
from evidence.report_words import (
    Shown,
    count,
    escape,
    figure,
    instant,
    percent,
    price,
    ratio,
    signed_figure,
    signed_money,
    signed_percent,
)
from evidence.svg_charts import Line, line_chart

FEW = 60
_WHERE = {"both": "in both, different", "a": "only in A", "b": "only in B"}
_HEADS = ("opened (UTC)", "symbol", "where", "cause", "entry", "size", "exit", "net A", "net B", "A - B")


def comparison_html(data: Mapping[str, object]) -> str:
    """Draw the page of a comparison; the same JSON gives the same bytes."""
    report = Part(data)
    title = f"BN-ML: {_named(report['a'])} against {_named(report['b'])}"
    body = "".join(
        (_summary(report), _differs(report), _headline(report), _equity(report), _causes(report), _every(report))
    )
    return page(title, f"<h1>{escape(title)}</h1>{body}")


def _named(side: Part) -> str:
    return f"{side['run']['kind'].text} {side['path'].text}"


def _summary(report: Part) -> str:
    told = f"<p><strong>{escape(report['sentence'].text)}</strong></p>"
    return f'<section id="verdict" class="verdict"><h2>Comparison</h2>{told}</section>'


def _differs(report: Part) -> str:
    rows = [[escape(item["what"].text), _value(item["a"]), _value(item["b"])] for item in report["differs"]]
    if not rows:
        return section("differences", "What the runs are", paragraph("Both cards are equal."))
    return section("differences", "What differs between the runs", table(("", "A", "B"), rows, tone="words"))


def _headline(report: Part) -> str:
    named = {key: (title, shown) for key, title, shown, _, _ in FIGURES}
    rows = []
    for item in report["headline"]:
        title, shown = named.get(item["figure"].text, (item["figure"].text.replace("_", " "), ratio))
        cells = [figure(item[side].number, shown) for side in ("a", "b")]
        rows.append([escape(title), *cells, signed_figure(item["difference"].number, _with_sign(shown))])
    return section("headline", "Headline figures", table(("figure", "A", "B", "A - B"), rows))


def _equity(report: Part) -> str:
    lines = [
        Line(name, [(at, value - 1.0) for at, value in series(_points(report[side]), 1)], tone)
        for side, name, tone in (("a", "A", "line-a"), ("b", "B", "line-c"))
    ]
    sentence = "Both on one axis, from their own capital. Lines that part at one instant have one cause; look below."
    return section(
        "equity", "Equity", chart(line_chart(lines, signed_percent, zero=True), "Return since the start", sentence)
    )


def _causes(report: Part) -> str:
    counts = report["counts"]
    rows = [
        [
            escape(item["cause"].text),
            escape(_WHERE.get(item["where"].text, item["where"].text)),
            figure(item["trades"].number, count),
            signed_figure(item["net_difference"].number, signed_money),
        ]
        for item in report["causes"]
    ]
    common = [part.text for part in report["common"]]
    told = f"Trades entered {instant(common[0])} to {instant(common[1])}" if common else "The runs share no period"
    lead = (
        f"<p>{escape(told)}: {figure(counts['equal'].number, count)} equal, "
        f"{figure(counts['differ'].number, count)} different, {figure(counts['only_a'].number, count)} only in A, "
        f"{figure(counts['only_b'].number, count)} only in B.</p>"
    )
    heads = ("cause", "where", "trades", "net result A - B")
    return section(
        "causes", "Divergence by cause", lead, table(heads, rows, caption="Largest sum first") if rows else ""
    )


def _every(report: Part) -> str:
    rows = [_row(item) for item in report["divergences"]]
    if not rows:
        return ""
    listed = table(_HEADS, rows, tone="dense")
    content = listed if len(rows) <= FEW else folded(f"All {len(rows)} divergent trades", listed)
    return section("divergences", "Divergent trades", content)


def _row(item: Part) -> list[str]:
    more = item["detail"].text not in ("", item["cause"].text)
    return [
        escape(instant(item["opened_at"].text)),
        escape(item["symbol"].text),
        escape(_WHERE.get(item["where"].text, item["where"].text)),
        escape(item["cause"].text) + (f'<div class="note">{escape(item["detail"].text)}</div>' if more else ""),
        _change(item, "entry_price", "entry_price_frac"),
        _change(item, "quantity", "size_frac"),
        _change(item, "exit_price", "exit_price_frac"),
        _net(item["a"]),
        _net(item["b"]),
        signed_figure(item["net_difference"].number, signed_money),
    ]


def _change(item: Part, key: str, relative: str) -> str:
    change = item[relative].number
    if change:
        return figure(change, signed_percent)
    value = item.first("a", "b")[key].number
    return "" if value is None else figure(value, price)


def _net(side: Part) -> str:
    return signed_figure(side["net_quote"].number, signed_money) if side else ""


def _points(side: Part) -> list[list[object]]:
    return [[part.value for part in row] for row in side["equity"]["points"]]


def _value(part: Part) -> str:
    if part.number is not None:
        return figure(part.number, ratio if abs(part.number) >= 1 else percent)
    return escape(part.text or "not recorded")


def _with_sign(shown: Shown) -> Shown:
    return lambda value: f"+{shown(value)}" if value > 0 and not shown(value).startswith("+") else shown(value)
