"""The overview: why no trade, how the account stands, against what."""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st

from monitoring.desk import Desk
from monitoring.panels.parts import Tile, bar, chart, empty, heading, html, tiles
from monitoring.plain_values import mapping, number
from monitoring.views_funnel import Funnel, funnel_of, refusals_of
from monitoring.views_overview import (
    WINDOW,
    Benchmark,
    Close,
    allocation_figure,
    benchmark_from,
    closes_of,
    daily_figure,
    distribution_figure,
    equity_figure,
    equity_summary,
    flow_figure,
    record_of,
    trend_note,
)
from monitoring.views_positions import held_worth
from monitoring.wording import money, percent, signed, signed_percent

TITLE = "Overview"
QUESTION = "Am I losing, and against what? Why no trade?"
MOST_CLOSES = 10_000


def draw(desk: Desk) -> None:
    """Draw the panel."""
    _why_no_trade(desk)
    closes = _closes(desk)
    _figures(desk, closes)
    _equity(desk)
    left, right = st.columns(2)
    with left:
        heading("Allocation", "at the last prices seen")
        account = mapping(desk.book.summary().account)
        worth = held_worth(desk.book.positions(), mapping(desk.book.kv("account_book")))
        cash = number(account.get("equity")) - sum(worth.values())
        chart("allocation", allocation_figure(worth, cash, desk.look), "What the equity is made of, in quote units.")
    with right:
        heading("Cycle flow", "symbols stopped per gate")
        chart("flow", flow_figure(desk.book.cycles(), desk.look), "The last cycles, newest at the right.")
    _results(desk, closes)


def _why_no_trade(desk: Desk) -> None:
    cycles = desk.book.cycles()
    heading("Why no trade")
    if not cycles:
        empty(
            "No cycle yet.", "The funnel fills with the first one; bnml-doctor explain SYMBOL tells one symbol's gates."
        )
        return
    funnel = funnel_of(cycles[0], desk.book.kv("latest_scan"), desk.settings.model.ensemble.min_buy_proba)
    shown = desk.cycles()
    refusals = desk.shaped(
        f"refusals {desk.look.timeframe} {desk.filters}",
        lambda: refusals_of(shown),
        changes_with=(len(shown), cycles[0].id),
    )
    html(f'<div class="bn-note">Cycle {funnel.cycle}. {escape(funnel.sentence())}</div>')
    html(_funnel(funnel))
    top = "  ·  ".join(f"{reason} {percent(count / refusals.total, 0)}" for reason, count in refusals.reasons[:5])
    html(
        f'<div class="bn-note">In the chosen period: {refusals.cycles} cycles, {refusals.total:,} refusals'
        f"{': ' if top else ''}{escape(top)}</div>"
    )


def _funnel(funnel: Funnel) -> str:
    whole = max(funnel.scanned, 1)
    rows = [_stage("Scanned", funnel.scanned, whole, "")]
    for gate in funnel.gates:
        why = ""
        if gate.stopped:
            others = gate.stopped - gate.top_count
            why = f"{gate.top_reason} {gate.top_count}{f' + {others} other' if others else ''}"
            why += f"  (nearest {gate.nearest})" if gate.nearest else ""
        rows.append(_stage(gate.name, gate.passed, whole, why, ", ".join(gate.symbols)))
    rows.append(_stage("Bought", funnel.sent, whole, ""))
    return f'<div class="bn-funnel" role="list">{"".join(rows)}</div>'


def _stage(name: str, count: int, whole: int, why: str, symbols: str = "") -> str:
    return (
        f"<span>{escape(name)}</span>{bar(count / whole, label=f'{count} of {whole} passed {name}')}"
        f'<span class="bn-count">{count}</span>'
        f'<span class="bn-stop" title="{escape(symbols, quote=True)}">{escape(why)}</span>'
    )


def _closes(desk: Desk) -> tuple[Close, ...]:
    return desk.shaped(
        "closes",
        lambda: closes_of(desk.book.events("PositionClosed", MOST_CLOSES)),
        changes_with=(desk.book.summary().trades,),
    )


def _figures(desk: Desk, closes: tuple[Close, ...]) -> None:
    account = mapping(desk.book.summary().account)
    asset = str(account.get("exchange_quote_asset") or desk.settings.base_quote)
    whole, now, before = record_of(closes), record_of(closes[:WINDOW]), record_of(closes[WINDOW : 2 * WINDOW])
    rate, rate_better = trend_note(now.win_rate, before.win_rate, percent(before.win_rate))
    factor, factor_better = trend_note(now.profit_factor, before.profit_factor, f"{before.profit_factor:.2f}")
    mean, mean_better = trend_note(now.expectancy, before.expectancy, signed(before.expectancy))
    tiles(
        (
            Tile(
                "Capital",
                money(number(account.get("total_capital")), asset),
                f"peak {money(number(account.get('equity_peak')))}",
            ),
            Tile("Active capital", money(number(account.get("active_capital")), asset), "what may be put at risk"),
            Tile(
                "Today",
                signed_percent(number(account.get("daily_pnl_pct"))),
                f"realized {signed(number(account.get('daily_realized_usdt')))}",
            ),
            Tile(
                "This week",
                signed_percent(number(account.get("weekly_pnl_pct"))),
                f"realized {signed(number(account.get('weekly_realized_usdt')))}",
            ),
            Tile(
                "Unrealized",
                signed(number(account.get("unrealized_usdt")), asset),
                f"{desk.book.summary().open_positions} positions",
            ),
            Tile(f"Win rate ({whole.count})", percent(whole.win_rate), rate, rate_better),
            Tile(
                "Profit factor",
                f"{whole.profit_factor:.2f}" if whole.profit_factor == whole.profit_factor else "-",
                factor or "above 1 earns",
                factor_better,
            ),
            Tile("Mean result", signed(whole.expectancy, asset), mean or "per closed position", mean_better),
        )
    )


def _equity(desk: Desk) -> None:
    heading("Equity and drawdown", f"period {desk.look.timeframe}; dotted: the drawdown that halts trading")
    cycles = desk.cycles()
    if not cycles:
        empty("No cycle in this period.", "Choose a longer period or other days at the side.")
        return
    benchmark = _benchmark(desk)
    figure = desk.shaped(
        f"equity {desk.look} {desk.filters}",
        lambda: equity_figure(cycles, desk.trades(), benchmark, desk.settings.risk.max_drawdown_pct, desk.look),
        changes_with=(cycles[0].id, len(cycles), desk.book.summary().trades),
    )
    chart("equity", figure, equity_summary(cycles, benchmark))


def _benchmark(desk: Desk) -> Benchmark:
    path = Path(desk.settings.monitoring.metrics_dir) / "latest_market_intelligence.csv"
    name = str(desk.settings.santrade_intelligence.benchmark_symbol)
    last = desk.book.summary().last_cycle
    return desk.shaped("benchmark", lambda: benchmark_from(path, name), changes_with=(last.id if last else 0,))


def _results(desk: Desk, closes: tuple[Close, ...]) -> None:
    asked = tuple(close for close in closes if desk.filters.takes(close.symbol, close.at, "SELL"))
    if not asked:
        refusals = refusals_of(desk.book.cycles())
        empty("No closed position yet. " + refusals.sentence(desk.book.summary().trades))
        return
    left, right = st.columns(2)
    with left:
        heading("Results of closed positions", "net of fees")
        chart("distribution", distribution_figure(asked, desk.look), f"{len(asked)} closed positions.")
    with right:
        heading("Realized per day")
        chart("daily", daily_figure(asked, desk.look), "The last 90 days with a close, gains up, losses down.")
