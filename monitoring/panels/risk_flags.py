"""The limits: each with its value and distance, the market's state, and how what is held moves together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from monitoring.desk import Desk
from monitoring.panels.parts import Tile, bar, empty, heading, html, table, tiles
from monitoring.panels.positions import held
from monitoring.plain_values import mapping, number, sequence
from monitoring.views_positions import loss_if_all_fall
from monitoring.views_risk import Limit, correlations_of, limits_of, market_of
from monitoring.wording import UNKNOWN, age, money, percent

TITLE = "Risk flags"
QUESTION = "What would stop us, how close is it?"
FALL = 0.10


def draw(desk: Desk) -> None:
    """Draw the panel."""
    summary = desk.book.summary()
    account = mapping(summary.account)
    if not account:
        empty("No figures yet.", "Breakers and limits are measured at the end of each cycle.")
        return
    limits = limits_of(account, desk.settings, summary.open_positions)
    tripped = [item.name for item in limits if item.is_tripped]
    heading("Limits and breakers", f"stopping entries now: {', '.join(tripped)}" if tripped else "none is reached")
    html(_table(limits, desk))
    scan = [mapping(row) for row in sequence(mapping(desk.book.kv("latest_scan")).get("rows"))]
    heading("Market")
    intelligence = mapping(desk.book.kv("santrade_intelligence"))
    tiles([Tile(name, text.replace("_", " ")) for name, text in market_of(account, len(scan), intelligence).items()])
    _together(desk, account, scan)


def _together(desk: Desk, account: Mapping[str, object], scan: Sequence[Mapping[str, object]]) -> None:
    holdings = held(desk)
    heading("What is held together", "correlation with the benchmark, from the newest scan")
    if not holdings:
        empty("Nothing is held, nothing can fall together.")
        return
    equity = number(account.get("equity"))
    rows = correlations_of({item.symbol: item.worth for item in holdings}, scan, equity)
    named = [
        (
            row.symbol,
            percent(row.share_of_equity),
            UNKNOWN if row.with_benchmark != row.with_benchmark else f"{row.with_benchmark:.2f}",
        )
        for row in rows
    ]
    table("held-together", ("symbol", "share of equity", "correlation"), named)
    with_stops, without = loss_if_all_fall(holdings, FALL)
    asset = str(account.get("exchange_quote_asset") or desk.settings.base_quote)
    tiles(
        (
            Tile(
                "If all held fall 10 %",
                f"-{money(with_stops, asset)}",
                f"{percent(with_stops / equity)} of equity, stops hold",
            ),
            Tile("The same without stops", f"-{money(without, asset)}", f"{percent(without / equity)} of equity"),
        )
    )


def _table(limits: tuple[Limit, ...], desk: Desk) -> str:
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("limit", "used", "value", "limit at", "distance", "clears", "measures")
    )
    return (
        f'<div class="bn-scroll" tabindex="0"><table class="bn-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(_row(item, desk) for item in limits)}</tbody></table></div>"
    )


def _row(item: Limit, desk: Desk) -> str:
    state = "REACHED" if item.is_tripped else percent(item.used, 0)
    clears = UNKNOWN
    if item.clears_at is not None:
        left = (item.clears_at - desk.market_now).total_seconds()
        clears = f"{desk.look.moment(item.clears_at)} ({f'in {age(left)}' if left > 0 else 'passed'})"
    tone = " bn-loss" if item.is_tripped or item.used > 0.8 else ""
    cells = (
        f"<b>{escape(item.name)}</b>",
        f'<span style="display:inline-block;width:90px">{bar(item.used, loud=item.used > 0.8)}</span> '
        f'<span class="{tone.strip()}">{state}</span>',
        escape(item.value),
        escape(item.limit),
        escape(item.distance),
        escape(clears),
        escape(item.says),
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
