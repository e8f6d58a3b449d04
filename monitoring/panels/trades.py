"""The trades panel: every fill with its reason and costs, and the way of the money from gross to net."""

from __future__ import annotations

import streamlit as st

from monitoring.blotter import all_lines, all_round_trips
from monitoring.charts_trades import cost_chart, promise_chart, reason_chart
from monitoring.desk import Desk
from monitoring.lazy_rows import LazyRows, Row
from monitoring.panels import parts
from monitoring.trades_csv import csv_bytes, csv_name
from monitoring.views_trades import (
    CostSteps,
    RoundTrip,
    Totals,
    TradeLine,
    by_reason,
    cost_steps,
    promise_of,
    reasons_in,
    refusals_sentence,
    shown,
    totals_of,
)
from monitoring.wording import age, money, percent, price, signed, signed_percent

TITLE = "Trades"
QUESTION = "Where does the money go?"

COLUMNS = (
    "time",
    "symbol",
    "side",
    "reason",
    "quantity",
    "price",
    "size",
    "fee",
    "slippage",
    "PnL net",
    "PnL %",
    "held",
    "EV promised",
    "mode",
    "data",
)


def draw(desk: Desk) -> None:
    """Draw the panel; raises `StateError`."""
    lines = all_lines(desk)
    if not lines:
        parts.empty(
            refusals_sentence(desk.book.summary().cycles, desk.book.cycles()),
            "Why each symbol was refused: panel Opportunities, or bnml-doctor explain SYMBOL.",
        )
        return
    reasons = st.multiselect("Reasons", reasons_in(lines), key="reason", bind="query-params", placeholder="all reasons")
    chosen = tuple(sorted(str(reason) for reason in reasons))
    stamp = (len(lines), lines[0].id, desk.filters, chosen)
    asked = desk.shaped("trades shown", lambda: shown(lines, desk.filters.takes, chosen), changes_with=stamp)
    if not asked:
        parts.empty(
            f"None of the {len(lines):,} trades passes the filters.", "Clear the filters in the sidebar or above."
        )
        return
    asset = asked[0].symbol.quote
    _totals(desk.shaped("trades totals", lambda: totals_of(asked), changes_with=stamp), asset)
    _blotter(desk, asked)
    _where_it_goes(_trips(desk, chosen), asset, dark=desk.look.dark)
    _reasons(asked, asset, dark=desk.look.dark)


def _trips(desk: Desk, chosen: tuple[str, ...]) -> tuple[RoundTrip, ...]:
    return tuple(
        trip
        for trip in all_round_trips(desk)
        if desk.filters.takes(str(trip.symbol), trip.closed_at) and (not chosen or trip.reason in chosen)
    )


def _totals(totals: Totals, asset: str) -> None:
    unconverted = f", {totals.third_asset_fees} fees in a third asset not in it" if totals.third_asset_fees else ""
    gained = f"{totals.wins:,} of {signed(totals.mean_win)} on average"
    lost = f"{totals.losses:,} of {signed(totals.mean_loss)} {asset}"
    parts.heading("Totals of what is shown", f"{totals.trades:,} fills, amounts in {asset}")
    parts.tiles(
        (
            parts.Tile("PnL net of fees", signed(totals.pnl_quote, asset), f"of {totals.sales:,} sales"),
            parts.Tile("Fees paid", money(totals.fees_quote, asset), f"of {totals.trades:,} fills{unconverted}"),
            parts.Tile("Slippage", money(totals.slippage_quote, asset), "+ is worse than the price asked"),
            parts.Tile("Bought", money(totals.bought_quote, asset), f"{totals.buys:,} fills"),
            parts.Tile("Sold", money(totals.sold_quote, asset), f"{totals.sales:,} fills"),
            parts.Tile("Sales with a gain", percent(totals.win_share), f"{gained}, {lost}"),
        )
    )


def _blotter(desk: Desk, lines: tuple[TradeLine, ...]) -> None:
    parts.heading("Blotter", "newest first; slippage + is worse than asked; PnL of sales only, net of all fees")

    def write(line: TradeLine) -> Row:
        asset = line.symbol.quote
        return (
            desk.look.moment(line.at),
            str(line.symbol),
            line.side,
            line.reason or "-",
            f"{price(line.quantity)} {line.symbol.base}",
            price(line.price),
            money(line.size_quote, asset),
            f"{price(line.fee)} {line.fee_asset}",
            f"{percent(line.slippage_frac, 3)}",
            signed(line.pnl_quote, asset),
            signed_percent(line.pnl_frac),
            age(line.held_s),
            signed_percent(line.expected_frac),
            line.mode.upper(),
            line.data_source or "-",
        )

    parts.table("trades-blotter", COLUMNS, LazyRows(lines, write))
    name = csv_name(lines, desk.now)
    parts.download("trades-csv", f"Download {len(lines):,} trades as CSV", name, lambda: csv_bytes(lines))


def _where_it_goes(trips: tuple[RoundTrip, ...], asset: str, *, dark: bool) -> None:
    parts.heading("From gross to net", "closed positions only; the spread is part of the prices asked")
    if not trips:
        parts.empty("No position of these has been closed yet.", "The figures come with the first closed position.")
        return
    steps = cost_steps(trips)
    parts.chart("trades-costs", cost_chart(steps, asset, dark=dark), _cost_words(steps, asset))
    promise = promise_of(trips)
    if promise.expected:
        words = (
            f"{len(promise.expected)} closed positions: expected {signed_percent(promise.mean_expected)} on average, "
            f"realised {signed_percent(promise.mean_realised)}. Alarming: points well below the dotted line."
        )
        parts.chart("trades-promise", promise_chart(promise, dark=dark), words)


def _cost_words(steps: CostSteps, asset: str) -> str:
    unknown = f" Fees of {steps.unknown_fees} positions in a third asset are not in it." if steps.unknown_fees else ""
    return (
        f"{steps.positions} closed positions: {signed(steps.gross, asset)} at the prices asked, "
        f"{signed(-steps.slippage, asset)} slippage, {signed(-steps.fees, asset)} fees, "
        f"{signed(steps.net, asset)} net. Alarming: costs larger than gross.{unknown}"
    )


def _reasons(lines: tuple[TradeLine, ...], asset: str, *, dark: bool) -> None:
    reasons = by_reason(lines)
    if not reasons:
        return
    parts.heading("Exit reasons", "sales of what is shown")
    worst = min(reasons, key=lambda line: line.pnl_quote)
    words = f"Most frequent: {reasons[0].reason}. Lowest result: {worst.reason} {signed(worst.pnl_quote, asset)}."
    parts.chart("trades-reasons", reason_chart(reasons, asset, dark=dark), words)
    rows = [
        (
            line.reason,
            line.sales,
            percent(line.share),
            signed(line.pnl_quote, asset),
            signed_percent(line.mean_frac),
        )
        for line in reasons
    ]
    parts.table("trades-reason-table", ("reason", "sales", "share of sales", "PnL net", "mean PnL %"), rows)
