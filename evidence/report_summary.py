"""The first screens of a report: verdict, run card, headline table, definitions."""

from __future__ import annotations

from evidence.report_parts import folded, listed, pairs, paragraph, section, table
from evidence.report_reading import Part
from evidence.report_words import (
    Shown,
    basis_points,
    count,
    days,
    escape,
    figure,
    instant,
    money,
    percent,
    ratio,
    share,
    signed_figure,
    signed_money,
    signed_percent,
)

FIGURES: tuple[tuple[str, str, Shown, bool, str], ...] = (
    ("total_return", "Total return", signed_percent, True, "last equity / capital - 1, after all costs"),
    ("max_drawdown", "Deepest drawdown", percent, False, "largest of 1 - equity / highest equity before it"),
    ("trade_count", "Closed trades", count, False, "positions bought and sold entirely"),
    ("win_rate", "Win rate", share, False, "trades with a net result above 0 / trades"),
    ("profit_factor", "Profit factor", ratio, False, "sum of wins / sum of losses; below 1 loses"),
    ("expectancy", "Expectancy a trade", signed_money, True, "sum of net results / trades, quote asset"),
    ("sharpe_ratio", "Sharpe ratio", ratio, False, "mean / deviation of daily returns x sqrt(365)"),
    ("sortino_ratio", "Sortino ratio", ratio, False, "mean / root mean square of losing days x sqrt(365)"),
    ("calmar_ratio", "Calmar ratio", ratio, False, "yearly return / deepest drawdown"),
    ("exposure", "Exposure", percent, False, "mean over cycles of what is held / equity"),
    ("fees", "Fees", money, False, "all fees of all fills, quote asset"),
    ("turnover", "Turnover", ratio, False, "quote amount of all fills / mean equity"),
    ("best_trade", "Best trade", signed_percent, True, "net result / what was paid for it"),
    ("worst_trade", "Worst trade", signed_percent, True, "net result / what was paid for it"),
    ("longest_drawdown_days", "Longest drawdown", days, False, "longest time below an earlier peak"),
    ("positive_day_share", "Days with a gain", share, False, "UTC days whose return is above 0 / days"),
    ("days", "Days", count, False, "UTC days of the equity curve"),
)


def verdict_section(report: Part) -> str:
    """Say first what follows from everything below."""
    said = report["verdict"]
    return (
        f'<section id="verdict" class="verdict said-{escape(said["code"].text)}"><h2>Verdict</h2>'
        f"<p><strong>{escape(said['sentence'].text)}</strong> {escape(said['advice'].text)}</p></section>"
    )


def run_section(report: Part) -> str:
    """Tell what ran: period, mode, models, costs, hashes, what was left out."""
    run = report["run"]
    quote = run["quote_asset"].text
    rows = [
        ("Kind", escape(f"{run['kind'].text}, mode {run['mode'].text}, data source {run['data_source'].text}")),
        ("Period (UTC)", f"{_instant(run['begin'])} to {_instant(run['end'])}, {_number(run['days'], days)}"),
        ("Cycles", _number(run["cycles"], count)),
        ("Capital", f"{_number(run['capital'], money)} {escape(quote)}"),
        ("Last equity", f"{_number(run['last_equity'], money)} {escape(quote)}"),
        ("Symbols", _many([symbol.text for symbol in run["symbols"]])),
        ("Models", escape(run["models"].text)),
        (
            "Costs a side",
            f"{_number(run['fees_frac'], percent)} fee, {_number(run['slippage_frac'], percent)} slippage",
        ),
        ("Seed", _seed(report)),
        ("Configuration", _hash(run["config_sha256"].text)),
        ("Data", _hash(run["data_sha256"].text)),
        ("Still held", _many([symbol.text for symbol in run["held"]]) or "nothing"),
    ]
    left_out = [f"{item['symbol'].text}: {item['reason'].text}" for item in run["left_out"]]
    halts = [halt.text for halt in run["halts"]]
    parts = [pairs(rows)]
    if halts:
        parts += ["<h3>Halted for</h3>", listed(halts)]
    parts += ["<h3>Left out</h3>", listed(left_out, empty="Nothing was left out.")]
    return section("run", "Run card", *parts)


def headline_section(report: Part) -> str:
    """Show the headline figures beside what they are judged against."""
    head = report["headline"]
    rows = []
    for key, title, shown, by_sign, meaning in FIGURES:
        value = head[key].number
        why = head["notes"][key].text
        cell = (signed_figure if by_sign else figure)(value, shown)
        if value is None and why:
            cell = escape(why)
        rows.append([escape(title), cell, escape(meaning)])
    return section(
        "headline", "Headline figures", table(("figure", "this run", "meaning"), rows, tone="told"), _beside(report)
    )


def limits_section(report: Part) -> str:
    """List the assumptions of the run and the limits of every report."""
    assumed = [item.text for item in report["run"]["assumptions"]]
    return section(
        "assumptions",
        "Assumptions and limits",
        listed(assumed, empty="The run states no assumptions of its own."),
        folded("Limits of every report", listed(LIMITS)),
    )


LIMITS = (
    "One period of one market was seen. Another period may differ in volatility, liquidity and costs.",
    "Trades of one day move together: as evidence they are fewer than their number.",
    "A trade counts when it is closed; what is still held is in equity at its last price.",
    "Sharpe, Sortino and Calmar ratios of less than a year are extrapolations.",
    "Confidence is the probability of BUY at the entry, not a promise that the trade wins after costs.",
)


def _beside(report: Part) -> str:
    control, holding = report["proof"]["random_entry"], report["proof"]["holding"]
    rows = [
        ["This run", *_held(report["headline"]), _per_trade(report)],
        ["Random entries", "", "", signed_figure(control["control_mean"].number, _bp)],
        ["Holding all symbols in equal parts", *_held(holding["equal"]), ""],
        ["Holding the benchmark", *_held(holding["benchmark"]), ""],
        ["Doing nothing", "0.0 %", "0.0 %", ""],
    ]
    told = "" if report["proof"] else paragraph(f"No control and no benchmark: {report['no_proof'].text}.", "absent")
    heads = ("beside", "total return", "deepest drawdown", "mean result of a trade")
    return told + table(heads, rows, caption="What else the money could have done")


def _held(part: Part) -> list[str]:
    return [
        signed_figure(part["total_return"].number, signed_percent),
        figure(part["max_drawdown"].number, percent),
    ]


def _per_trade(report: Part) -> str:
    value = report["distribution"]["mean"].number
    return signed_figure(value, _bp)


def _bp(fraction: float) -> str:
    return basis_points(10_000 * fraction)


def _number(part: Part, shown: Shown) -> str:
    return figure(part.number, shown)


def _instant(part: Part) -> str:
    return f'<time datetime="{escape(part.text)}">{escape(instant(part.text))}</time>'


def _hash(text: str) -> str:
    return f'<code title="SHA-256 {escape(text)}">{escape(text[:16])}</code>' if text else "not recorded"


def _seed(report: Part) -> str:
    if report["run"]["seed"].number is not None:
        return _number(report["run"]["seed"], count)
    drawn = report["proof"]["seed"]
    return f"{_number(drawn, count)}, of the statistics" if drawn.number is not None else "nothing was drawn"


def _many(names: list[str]) -> str:
    if len(names) <= 12:
        return escape(", ".join(names))
    return f"{len(names)}: {escape(', '.join(names))}"
