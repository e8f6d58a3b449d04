"""The positions: cards with a bar from stop to target, and the same as a table."""

from __future__ import annotations

from datetime import timedelta
from html import escape

from monitoring.dashboard_state import BookQueries
from monitoring.desk import Desk
from monitoring.panels.parts import Tile, empty, heading, html, table, tiles
from monitoring.plain_values import mapping
from monitoring.views_funnel import refusals_of
from monitoring.views_positions import Holding, Shield, holdings_of, prices_of
from monitoring.wording import UNKNOWN, age, money, percent, price, signed, signed_percent

TITLE = "Positions"
QUESTION = "Is each one protected, how far is it to the exits?"
COLUMNS = (
    "symbol",
    "size",
    "entry",
    "now",
    "unrealized",
    "%",
    "R",
    "stop",
    "to stop",
    "TP1",
    "to TP1",
    "TP2",
    "to TP2",
    "protection",
    "fees so far",
    "time left",
    "opened",
)


def held(desk: Desk) -> tuple[Holding, ...]:
    """Give the open positions at the last prices seen."""
    book = desk.book
    return holdings_of(
        book.positions(),
        prices_of(book.kv("account_book"), book.kv("latest_scan")),
        timedelta(hours=desk.settings.risk.max_holding_period),
        desk.market_now,
        on_exchange=_is_live(book),
    )


def draw(desk: Desk) -> None:
    """Draw the panel."""
    every = held(desk)
    shown = [item for item in every if not desk.filters.symbols or item.symbol in desk.filters.symbols]
    if not shown:
        _nothing(desk, len(every))
        return
    asset = str(mapping(desk.book.summary().account).get("exchange_quote_asset") or desk.settings.base_quote)
    bare = [item.symbol for item in shown if item.shield is Shield.MISSING]
    tiles(
        (
            Tile(
                "Held",
                f"{len(shown)} of {desk.settings.risk.max_open_positions}",
                money(sum(i.worth for i in shown), asset),
            ),
            Tile("Unrealized", signed(sum(i.unrealized for i in shown), asset), "before the exit fee"),
            Tile("Protection", "MISSING" if bare else "all stops rest", ", ".join(bare), False if bare else None),
            Tile("Fees so far", money(sum(i.cost_so_far for i in shown), asset), "entries and parts sold"),
        )
    )
    heading("Cards", "orange: towards the stop, blue: towards the targets; nearest to its stop first")
    html(f'<div class="bn-cards">{"".join(_card(item, asset, desk) for item in shown)}</div>')
    heading("Table")
    table("positions", COLUMNS, [_row(item, desk) for item in shown])


def _is_live(book: BookQueries) -> bool:
    identity = book.summary().identity
    return identity is not None and identity.mode == "live"


def _nothing(desk: Desk, others: int) -> None:
    if others:
        empty("None of the chosen symbols is held.", f"{others} others are; clear the symbol filter at the side.")
        return
    told = refusals_of(desk.book.cycles()).sentence(desk.book.summary().trades)
    empty("Nothing is held.", f"{told} The overview's funnel tells where symbols stop.")


def _card(item: Holding, asset: str, desk: Desk) -> str:
    tone = "bn-loss" if item.unrealized < 0 else "bn-gain"
    pairs = (
        ("size", f"{item.quantity:g} = {money(item.worth, asset)}"),
        ("stop", f"{price(item.stop)} ({signed_percent(item.distance(item.stop))})"),
        ("TP1", f"{price(item.target_1)} ({signed_percent(item.distance(item.target_1))})"),
        ("TP2", f"{price(item.target_2)} ({signed_percent(item.distance(item.target_2))})"),
        ("time left", _time_left(item)),
        ("fees so far", money(item.cost_so_far, asset)),
        ("realized", signed(item.realized, asset)),
        ("opened", desk.look.moment(item.opened_at)),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in pairs)
    blocked = f'<div class="bn-note">close blocked: {escape(item.blocked)}</div>' if item.blocked else ""
    return (
        f'<section class="bn-card" aria-label="{escape(item.symbol, quote=True)}"><div class="bn-card-top">'
        f'<span>{escape(item.symbol)}</span><span class="{tone}">{signed(item.unrealized, asset)} '
        f"({signed_percent(item.unrealized_frac)})</span></div>{_track(item)}{_badges(item)}{blocked}"
        f'<dl class="bn-pairs">{listed}</dl></section>'
    )


def _track(item: Holding) -> str:
    places = item.places()
    marks = []
    for name, place in places.items():
        edge = " bn-first" if place < 0.06 else " bn-last" if place > 0.94 else ""
        now = " bn-now" if name == "now" else ""
        text = f"now {price(item.now)}" if name == "now" else name
        marks.append(
            f'<div class="bn-mark{now}{edge}" style="left:{place * 100:.1f}%"><span>{escape(text)}</span></div>'
        )
    entry = places.get("entry", 0.0) * 100
    told = ", ".join(f"{name} {price(level)}" for name, level in item.levels().items())
    return (
        f'<div class="bn-track" style="--entry:{entry:.1f}%" role="img" aria-label="{escape(told, quote=True)}">'
        f"{''.join(marks)}</div>"
    )


def _badges(item: Holding) -> str:
    shield = " bn-bad" if item.shield is Shield.MISSING else ""
    found = [f'<span class="bn-badge{shield}">{escape(item.shield.value)}</span>']
    for name, on in (("TRAIL", item.is_trailing), ("TP1", item.is_target_1_hit), ("TP2", item.is_target_2_hit)):
        if on:
            found.append(f'<span class="bn-badge bn-on">{name}{"" if name == "TRAIL" else " taken"}</span>')
    found.append(f'<span class="bn-badge">{escape(_units(item))}</span>')
    return f"<div>{''.join(found)}</div>"


def _row(item: Holding, desk: Desk) -> tuple[str, ...]:
    return (
        item.symbol,
        f"{item.quantity:g}",
        price(item.entry),
        price(item.now),
        signed(item.unrealized),
        signed_percent(item.unrealized_frac),
        _units(item),
        price(item.stop),
        percent(-item.distance(item.stop), 2),
        price(item.target_1),
        percent(item.distance(item.target_1), 2),
        price(item.target_2),
        percent(item.distance(item.target_2), 2),
        item.shield.value,
        money(item.cost_so_far),
        _time_left(item),
        desk.look.moment(item.opened_at),
    )


def _units(item: Holding) -> str:
    if item.risk_units != item.risk_units:
        return "risk free" if item.stop >= item.entry else UNKNOWN
    units = round(item.risk_units, 2) or 0.0
    return f"{units:+.2f} R"


def _time_left(item: Holding) -> str:
    return f"{age(item.time_left_s)}" if item.time_left_s > 0 else "due now"
