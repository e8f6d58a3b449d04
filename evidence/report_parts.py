"""The pieces a report page is made of: sections, tables, charts with their sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from evidence.report_words import escape

LONG = 60
_TAG = re.compile("<[^>]*>")


def section(name: str, title: str, *content: str) -> str:
    """Give a section with an anchor; empty content leaves nothing behind."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(content)}</section>'


def paragraph(text: str, tone: str = "") -> str:
    """Give a paragraph of plain text."""
    return f"<p{_class(tone)}>{escape(text)}</p>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", tone: str = "") -> str:
    """Give a table; cells are ready HTML, the first of a row names it. Without rows it says so."""
    lines = "".join(f'<tr><th scope="row">{row[0]}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in rows)
    if not lines:
        return paragraph(f"{caption}: nothing to show." if caption else "Nothing to show.", "absent")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    content = f"{told}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="wide"><table{_class(tone)}>{content}</table></div>'


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Give names and values below each other; values are ready HTML."""
    lines = "".join(
        f"<div{_class('long' if len(_TAG.sub('', value)) > LONG else '')}><dt>{escape(name)}</dt><dd>{value}</dd></div>"
        for name, value in rows
    )
    return f"<dl>{lines}</dl>"


def chart(drawing: str, title: str, sentence: str) -> str:
    """Give a chart with its title and the sentence that says what it shows and what would be alarming."""
    if not drawing:
        return paragraph(f"{title}: too little to draw.", "absent")
    return (
        f'<figure aria-label="{escape(f"{title}. {sentence}")}"><figcaption><strong>{escape(title)}.</strong> '
        f"{escape(sentence)}</figcaption>{drawing}</figure>"
    )


def folded(title: str, content: str) -> str:
    """Give content that opens on a click; print shows it as it stands."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def listed(items: Iterable[str], *, empty: str = "") -> str:
    """Give plain texts as a list, or a sentence when there are none."""
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{lines}</ul>" if lines else paragraph(empty, "absent") if empty else ""


def _cell(content: str) -> str:
    return f"<td>{content}</td>"


def _class(tone: str) -> str:
    return f' class="{tone}"' if tone else ""
