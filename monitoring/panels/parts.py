"""The building blocks panels are drawn with: tiles, tables, charts that keep their zoom, empty states, downloads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import streamlit as st

from monitoring.figures import Figure

ROWS_A_PAGE = 200
_SIGNED = re.compile(r"^([+-])\d[\d,.]*( %| R|$| [A-Z]{2,10}$)")
_NUMERIC = re.compile(r"^[+-]?\d[\d,.]*( ?(%|s|ms|min|h|d|R|[A-Z]{2,10}))?$")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure with what it is compared with; `better` says whether that is good, None when it is neither."""

    label: str
    value: str
    note: str = ""
    better: bool | None = None


def style() -> None:
    """Put the style sheet into the page."""
    st.html(f"<style>{_text('desk.css')}</style>")


def html(content: str) -> None:
    """Draw markup whose texts were escaped by the caller."""
    st.html(content)


def tiles(shown: Sequence[Tile]) -> None:
    """Draw figures side by side, as many as fit."""
    html(f'<div class="bn-tiles">{"".join(map(_tile, shown))}</div>')


def empty(sentence: str, hint: str = "") -> None:
    """Say why there is nothing to see and what to do next."""
    more = f'<div class="bn-hint">{escape(hint)}</div>' if hint else ""
    html(f'<div class="bn-empty" role="status">{escape(sentence)}{more}</div>')


def heading(text: str, note: str = "") -> None:
    """Draw the title of a block and what it says."""
    more = f'<span class="bn-note">{escape(note)}</span>' if note else ""
    html(f'<h3 class="bn-heading">{escape(text)} {more}</h3>')


def table(key: str, columns: Sequence[str], rows: Sequence[Sequence[str | float | int]], *, caption: str = "") -> None:
    """Draw a table, 200 rows a page; a cell that begins with a sign is coloured by it, numbers stand right."""
    pages = max(-(-len(rows) // ROWS_A_PAGE), 1)
    page = 1
    if pages > 1:
        page = int(st.selectbox(f"Page of {pages} ({len(rows)} rows)", range(1, pages + 1), key=f"{key}-page"))
    first = (page - 1) * ROWS_A_PAGE
    shown = rows[first : first + ROWS_A_PAGE]
    head = "".join(_head(name, [row[place] for row in shown]) for place, name in enumerate(columns))
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in shown)
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    html(
        f'<div class="bn-scroll" tabindex="0"><table class="bn-table">{named}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def chart(key: str, figure: Figure, summary: str) -> None:
    """Draw a chart; zoom outlives new data. `summary` is its sentence for those who cannot see it."""
    with st.container(key=f"chart-{key}"):
        _CHART(key=key, data={"figure": figure, "summary": summary}, height="content")
        html(f'<div class="bn-note">{escape(summary)}</div>')


def download(key: str, label: str, filename: str, make_bytes: Callable[[], bytes]) -> None:
    """Offer a file that is made only when it is asked for."""
    st.download_button(label, data=make_bytes, file_name=filename, key=key, on_click="ignore")


def bar(share: float, *, loud: bool = False, label: str = "") -> str:
    """Give the markup of a bar filled to a share; the caller writes the number beside it."""
    width = min(max(share, 0.0), 1.0) * 100.0
    tone = " bn-loud" if loud else ""
    return (
        f'<span class="bn-bar{tone}" title="{escape(label, quote=True)}">'
        f'<span class="bn-fill" style="width:{width:.1f}%"></span></span>'
    )


def _tile(tile: Tile) -> str:
    tone = {True: " bn-gain", False: " bn-loss", None: ""}[tile.better]
    return (
        f'<div class="bn-tile"><div class="bn-label">{escape(tile.label)}</div>'
        f'<div class="bn-value{_sign(tile.value)}">{escape(tile.value)}</div>'
        f'<div class="bn-note{tone}">{escape(tile.note)}</div></div>'
    )


def _sign(text: str) -> str:
    found = _SIGNED.match(text)
    if found is None or not re.search(r"[1-9]", text):
        return ""
    return " bn-gain" if found.group(1) == "+" else " bn-loss"


def _head(name: str, below: Sequence[str | float]) -> str:
    numbers = any(not isinstance(value, str) or _NUMERIC.match(value) for value in below)
    side = ' class="bn-number"' if numbers else ""
    return f'<th scope="col"{side}>{escape(name)}</th>'


def _cell(value: str | float) -> str:
    text = value if isinstance(value, str) else f"{value:,}"
    side = " bn-number" if _NUMERIC.match(text) else ""
    return f'<td class="bn-cell{_sign(text)}{side}">{escape(text)}</td>'


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


_CHART = st.components.v2.component("bnml_chart", js=_text("chart.js"), isolate_styles=False)
