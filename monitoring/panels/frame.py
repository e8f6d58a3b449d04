"""The page around the panels: header, strips, filters, and a boundary that keeps a failing panel from the others."""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta, timezone, tzinfo
from html import escape

import streamlit as st

from bn_ml.clock import SystemClock
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from monitoring.dashboard_state import BookQueries, BookState
from monitoring.desk import PERIODS, WATCHLIST_LEAST, WATCHLIST_MOST, Desk, Filters, Look
from monitoring.panels.panel_list import BY_NAME, PANELS, Draw, Panel, drawing_of
from monitoring.panels.parts import bar, empty, html
from monitoring.views import (
    Header,
    Pulse,
    Steps,
    Strip,
    Tone,
    beats_of,
    first_steps,
    header_of,
    newest_write,
    strip_of_condition,
    strips_of,
)
from monitoring.wording import age, money, percent, signed_percent

log = logging.getLogger(__name__)

ACTIONS = ("BUY", "SELL", "HOLD")
_CLOCK = SystemClock()


def header_now(book: BookQueries, settings: Settings) -> Header:
    """Give the header as of this instant; raises `StateError`."""
    written = newest_write(book.path)
    beats = beats_of(book.kv("heartbeat"), book.kv("loop_beat"), _instant(written) if written else None)
    return header_of(book.summary(), book.kv("latest_scan"), beats, settings, _CLOCK.now())


def draw_header(book: BookQueries, settings: Settings, look: Look) -> None:
    """Draw the strips and the header, or what is wrong with the book."""
    condition = book.condition()
    strip = strip_of_condition(condition)
    if strip is not None:
        _strips((strip,))
        if condition.state is BookState.MISSING:
            _steps(first_steps(None, None, None))
        return
    header = header_now(book, settings)
    _strips(strips_of(header))
    _header(header, look)
    if not header.cycles or header.pulse is Pulse.NEVER:
        _steps(first_steps(book.summary(), book.kv("latest_scan"), book.kv("training_status")))


def draw_panel(panel: Panel, book: BookQueries, settings: Settings, choice: tuple[Filters, Look]) -> None:
    """Draw one panel inside its boundary."""
    if book.condition().state is not BookState.READABLE:
        empty(f"{panel.title}: waiting for a readable book.", "It is looked for again by itself.")
        return
    now = _CLOCK.now()

    def draw() -> None:
        market_now = header_now(book, settings).market_now
        _drawing(panel)(Desk(book, settings, now, market_now, *choice))

    bounded(panel.title, draw)


def bounded(title: str, draw: Callable[[], None]) -> None:
    """Draw; what goes wrong becomes a short message with an id whose details the log holds."""
    try:
        draw()
    except StateError as error:
        _fault(title, "the book could not be read", error, "bnml-doctor check")
    # A panel may hold any mistake; the page around it and the other panels must go on.
    except Exception as error:  # noqa: BLE001
        _fault(title, "this panel could not be drawn", error, "see the log under this id")


def sidebar(settings: Settings, symbols: Sequence[str]) -> tuple[Panel, Filters, Look]:
    """Draw the choices and give what was chosen; all of it is kept in the URL."""
    wanted = settings.monitoring.dashboard
    with st.sidebar:
        name = _chosen_panel()
        link = f"?embed=true&embed_options=show_toolbar&panel={name}"
        html(f'<a href="{link}" target="_blank" rel="noopener">Open this panel alone in a new tab</a>')
        timeframe = st.selectbox(
            "Period of the charts",
            list(PERIODS),
            index=list(PERIODS).index(wanted.timeframe_default),
            key="period",
            bind="query-params",
        )
        filters = _filters(symbols)
        watchlist = st.slider("Watchlist", WATCHLIST_LEAST, WATCHLIST_MOST, 12, key="watch", bind="query-params")
        local = st.toggle("Local time instead of UTC", key="local", bind="query-params")
        html('<div class="bn-note">R draws everything anew. Light or dark: menu at the top right, Settings.</div>')
    dark = (st.context.theme.type or wanted.theme) == "dark"
    return BY_NAME[name], filters, Look(dark, _zone(local=local), timeframe, watchlist)


def _chosen_panel() -> str:
    """Draw the list of panels and keep the choice in the URL under its name, not its title."""
    names = [panel.name for panel in PANELS]
    asked = st.query_params.get("panel", names[0])

    def note() -> None:
        st.query_params["panel"] = st.session_state["panel-choice"]

    return st.radio(
        "Panel",
        names,
        index=names.index(asked) if asked in names else 0,
        format_func=lambda name: BY_NAME[name].title,
        key="panel-choice",
        on_change=note,
    )


def _filters(symbols: Sequence[str]) -> Filters:
    chosen = st.multiselect("Symbols", list(symbols), key="symbol", bind="query-params", placeholder="all symbols")
    since = st.date_input("From (UTC)", value=None, key="since", bind="query-params")
    until = st.date_input("To (UTC)", value=None, key="until", bind="query-params")
    actions = st.multiselect("Actions", ACTIONS, key="action", bind="query-params", placeholder="all actions")
    return Filters(tuple(chosen), _day(since), _day(until), tuple(actions))


def _day(chosen: object) -> date | None:
    return chosen if isinstance(chosen, date) else None


def _zone(*, local: bool) -> tzinfo:
    if not local:
        return timezone.utc
    offset = st.context.timezone_offset
    return _CLOCK.now().astimezone().tzinfo or timezone.utc if offset is None else _offset(offset)


def _offset(minutes: int) -> tzinfo:
    return timezone(timedelta(minutes=-minutes))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _drawing(panel: Panel) -> Draw:
    return drawing_of(panel.name)


def _fault(title: str, what: str, error: Exception, command: str) -> None:
    text = "".join(traceback.format_exception(error))
    mark = hashlib.blake2s(text.encode(), digest_size=3).hexdigest()
    log.error("panel failed panel=%s id=%s", title, mark, exc_info=error)
    html(
        f'<div class="bn-fault" role="alert"><b>{escape(title)}</b>: {escape(what)} (id {mark}).'
        f'<div class="bn-hint">{escape(command)}. It is tried again at the next refresh.</div></div>'
    )


def _strips(strips: Sequence[Strip]) -> None:
    names = {Tone.ALARM: "bn-alarm", Tone.WARNING: "bn-warning", Tone.INFO: "bn-info"}
    for strip in strips:
        command = f" <code>{escape(strip.command)}</code>" if strip.command else ""
        role = "alert" if strip.tone is Tone.ALARM else "status"
        html(f'<div class="bn-strip {names[strip.tone]}" role="{role}">{escape(strip.text)}{command}</div>')


def _header(header: Header, look: Look) -> None:
    beat = f"at {look.clock(header.beat_at)}" if header.beat_at else ""
    drawdown = header.drawdown / header.drawdown_limit
    exposure = header.exposure / header.exposure_limit
    cells = (
        ("Mode", escape(header.mode), f"control {escape(header.control)}"),
        ("Heartbeat", age(header.beat_age_s), escape(f"{header.pulse.value} {beat}")),
        ("Equity", money(header.equity, header.asset), f"{signed_percent(header.day_change)} today"),
        ("Drawdown", percent(header.drawdown), _against(drawdown, percent(header.drawdown_limit))),
        ("Exposure", percent(header.exposure), _against(exposure, percent(header.exposure_limit))),
        ("Positions", f"{header.positions} / {header.most_positions}", "held / most at a time"),
        ("Data", escape((header.source or "none yet").replace("_", " ")), f"scan {age(header.data_age_s)} old"),
    )
    grey = " bn-grey" if header.is_grey else ""
    boxes = "".join(
        f'<div class="bn-tile"><div class="bn-label">{label}</div><div class="bn-value">{value}</div>'
        f'<div class="bn-note">{note}</div></div>'
        for label, value, note in cells
    )
    html(f'<div class="bn-header{grey}">{boxes}</div>')


def _against(share: float, limit: str) -> str:
    return f"{bar(share, loud=share > 0.8)} of {limit}"


def _steps(steps: Steps) -> None:
    rows = "".join(
        f"<li>{'&#10003;' if reached else '&#9675;'} <b>{escape(name)}</b> "
        f'<span class="bn-note">{escape(detail)}</span></li>'
        for name, reached, detail in steps.rows
    )
    html(f'<div class="bn-tile"><b>First start</b><ul class="bn-steps">{rows}</ul></div>')
