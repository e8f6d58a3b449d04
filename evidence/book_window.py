"""A part of a book between two instants, as if it had begun and ended there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from bn_ml.domain.market import iso
from bn_ml.errors import StateError
from evidence.book import Book
from trader.performance import EquityPoint


def window(book: Book, begin: datetime | None, end: datetime | None, funnel: Mapping[str, int] | None = None) -> Book:
    """Give the part of a book in `[begin, end)`; `funnel` counts its cycles, None keeps that of the whole.

    Its capital is the equity at `begin`. Trades are those opened and closed inside: what was held over an edge changes
    the equity and is no trade. Raises `StateError` when no cycle lies inside, naming what the book holds.
    """
    if begin is None and end is None:
        return book
    first, last = begin or book.begin, end
    inside = [
        place for place, point in enumerate(book.curve[1:]) if first <= point.at and (not last or point.at < last)
    ]
    if not inside:
        asked = f"{iso(first)} to {iso(last) if last else iso(book.end)}"
        raise StateError(f"no cycle from {asked}; this book holds {iso(book.begin)} to {iso(book.end)}")
    before = [point for point in book.curve if point.at < first]
    opening = before[-1].equity if before else book.curve[0].equity
    points = tuple(book.curve[place + 1] for place in inside)
    until = last or book.end
    return replace(
        book,
        capital=opening,
        curve=(EquityPoint(min(first, points[0].at), opening), *points),
        exposure_frac=tuple(book.exposure_frac[place] for place in inside if place < len(book.exposure_frac)),
        closed=tuple(
            position
            for position in book.closed
            if position.opened_at >= first and position.closed_at is not None and position.closed_at <= until
        ),
        held=tuple(position for position in book.held if position.opened_at <= until),
        fills=tuple(fill for fill in book.fills if first <= fill.at <= until),
        funnel=book.funnel if funnel is None else funnel,
    )
