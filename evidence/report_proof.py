"""What tells luck from skill, as a report shows it: control, sensitivity, resampling, search, promises."""

from __future__ import annotations

from evidence.report_parts import chart, paragraph, section, table
from evidence.report_reading import Part
from evidence.report_words import (
    Shown,
    basis_points,
    count,
    escape,
    figure,
    p_value,
    percent,
    ratio,
    share,
    signed_figure,
    signed_percent,
)
from evidence.svg_charts import Bar, bar_chart

_SHOWN = frozenset(
    {"random_entry", "sensitivity", "bootstrap", "shuffled_trades", "selection_luck", "expected_value"}
    | {"headline", "holding", "costs", "break_even", "seed"}
)
_SENSITIVITY = (
    ("base", "As it was"),
    ("fees_doubled", "Every fee paid twice"),
    ("later", "Entering and leaving one bar later"),
    ("without_best_1", "Without the best trade"),
    ("without_best_3", "Without the 3 best trades"),
    ("without_best_5", "Without the 5 best trades"),
    ("without_best_day", "Without the best day"),
)


def proof_section(report: Part) -> str:
    """Show the statistics, or why there are none."""
    proof = report["proof"]
    if not proof:
        told = report["no_proof"].text
        return section(
            "proof", "Luck or skill", paragraph(f"Random entries and benchmarks were not made: {told}.", "absent")
        )
    return section(
        "proof",
        "Luck or skill",
        _control(proof["random_entry"]),
        _sensitivity(proof["sensitivity"]),
        _resampled(proof),
        _search(proof["selection_luck"]),
        _promises(proof["expected_value"]),
        "".join(_plain(name, part) for name, part in proof.entries if name not in _SHOWN),
    )


def _control(control: Part) -> str:
    why = control["why"].text
    if why:
        return "<h3>Random entries</h3>" + paragraph(f"Not tried: {why}.", "absent")
    rows = [
        _row("Trades compared", control["trades"], count),
        _row("Trades without a possible random entry", control["left_out"], count),
        _row("Runs of random entries", control["runs"], count),
        _row("Costs charged to each", control["cost"], _bp),
        _row("Mean net result of a trade", control["actual"], _bp),
        _row("Random entries: mean", control["control_mean"], _bp),
        _row("Random entries: 5 % quantile", control["control_low"], _bp),
        _row("Random entries: 95 % quantile", control["control_high"], _bp),
        _row("p-value of the runs", control["p_value"], p_value),
        _row("Excess over a random entry", control["excess"]["mean"], _bp),
        _row("p-value, trades of a day counted together", control["excess"]["p_value"], p_value),
        _row("p-value used (the larger)", control["strict_p_value"], p_value),
    ]
    told = "As many trades of the same symbols with the same exits and costs, entered at any time of the period."
    return f"<h3>Random entries</h3>{paragraph(told)}{table(('control', 'value'), rows)}"


def _sensitivity(found: Part) -> str:
    rows = [
        [escape(title), signed_figure(found[key].number, signed_percent)]
        for key, title in _SENSITIVITY
        if found[key].number is not None
    ]
    absent = [title.lower() for key, title in _SENSITIVITY if found[key].number is None]
    told = paragraph(f"Not tried: {', '.join(absent)}.", "absent") if absent else ""
    return f"<h3>Sensitivity</h3>{table(('the same run', 'total return'), rows)}{told}"


def _resampled(proof: Part) -> str:
    days, trades = proof["bootstrap"], proof["shuffled_trades"]
    rows = [
        _row("Total return, 5 % of resampled days", days["total_return"]["low"], signed_percent),
        _row("Total return, 95 % of resampled days", days["total_return"]["high"], signed_percent),
        _row("Sharpe ratio, 5 % of resampled days", days["sharpe_ratio"]["low"], ratio),
        _row("Sharpe ratio, 95 % of resampled days", days["sharpe_ratio"]["high"], ratio),
        _row("Resamples that lost", days["loss_share"], share),
        _row("Drawdown of closed trades in another order, median", trades["median"], percent),
        _row("Drawdown of closed trades in another order, 95 %", trades["quantile_95"], percent),
    ]
    why = [part["why"].text for part in (days, trades) if part["why"]]
    told = "".join(paragraph(f"Not known: {text}.", "absent") for text in why)
    return f"<h3>How else it could have gone</h3>{table(('resampled', 'value'), rows)}{told}"


def _search(luck: Part) -> str:
    rows = [
        _row("Configurations tried", luck["trials"], count),
        _row("Days", luck["days"], count),
        _row("Deflated Sharpe ratio (probability)", luck["deflated_sharpe"], ratio),
        _row("Probability of overfitting", luck["overfitting"], ratio),
    ]
    why = [luck[key].text for key in ("why", "why_no_overfitting") if luck[key]]
    told = "".join(paragraph(f"Not known: {text}.", "absent") for text in why)
    return f"<h3>Luck of the search</h3>{table(('search', 'value'), rows)}{told}"


def _promises(found: Part) -> str:
    title, why = "<h3>Promised against realised</h3>", found["why"].text
    if why:
        return title + paragraph(f"Not compared: {why}.", "absent")
    rows = [
        _row("Trades with a promise", found["trades"], count),
        _row("Promised on average", found["promised"], _bp),
        _row("Realised on average", found["realised"], _bp),
        _row("Slope of realised on promised", found["slope"], ratio),
    ]
    bars = [
        Bar(_bp(item["promised"].number or 0.0), item["realised"].number or 0.0, mark=item["promised"].number)
        for item in found["tenths"]
    ]
    sentence = (
        "Bars: realised net result by tenth of the promise; ticks: the promise. Bars that do not rise are alarming."
    )
    return title + chart(bar_chart(bars, percent, height=180), "By tenth", sentence) + table(("promise", "value"), rows)


def _plain(name: str, part: Part) -> str:
    """Show numbers that no section of their own has, so that nothing of the statistics is left out."""
    rows = [_row(key.replace("_", " "), item, _any) for key, item in part.entries if item.number is not None]
    return f"<h3>{escape(name.replace('_', ' ').capitalize())}</h3>{table(('figure', 'value'), rows)}" if rows else ""


def _any(value: float) -> str:
    return f"{value:.6g}"


def _row(title: str, part: Part, shown: Shown) -> list[str]:
    return [escape(title), figure(part.number, shown)]


def _bp(fraction: float) -> str:
    return basis_points(10_000 * fraction)
