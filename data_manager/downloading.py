"""Filling the history from a source: onward from where it stands, and exactly where it has holes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from bn_ml.domain.market import Symbol, Timeframe
from data_manager.bars import Bars, empty_bars
from data_manager.data_cleaner import Defect, clean
from data_manager.history import HistoryStore, Holes
from data_manager.inspecting import missing_ranges
from data_manager.source import DataSource

PORTION_BARS = 20_000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Download:
    """What a download or repair did: bars now stored anew, and holes the source itself has no bars for."""

    symbol: str
    timeframe: str
    added: int
    holes_filled: int = 0
    holes_marked: int = 0


def download(
    store: HistoryStore, source: DataSource, symbol: Symbol, timeframe: Timeframe, span: tuple[int, int]
) -> Download:
    """Store all closed bars of `span` = [start_ms, end_ms), asking only for what lies outside the stored range.

    Each portion is stored before the next is fetched, so an interrupted download goes on where it stopped. Raises
    `MarketDataError` or `ExchangeError`.
    """
    added = 0
    for start, end in _outside(store, symbol, timeframe, span):
        for first, last in _portions(start, end, PORTION_BARS * timeframe.ms, backwards=end < span[1]):
            found = clean(source.bars(symbol, timeframe, first, last)).bars
            if len(found):
                added += store.merge(found)
            log.info("history extended symbol=%s timeframe=%s bars=%d", symbol, timeframe.value, len(found))
    return Download(str(symbol), timeframe.value, added)


def repair(store: HistoryStore, source: DataSource, symbol: Symbol, timeframe: Timeframe) -> Download:
    """Remove defective bars, fetch exactly the holes, and mark those the source has no bars for either."""
    report = clean(store.read(symbol, timeframe))
    known = store.holes(symbol, timeframe)
    if report.removed or report.found(Defect.UNSORTED):
        store.write(report.bars, holes=known)
    added = filled = 0
    absent: list[tuple[int, int]] = []
    for hole in missing_ranges(report.bars):
        if hole in known:
            continue
        found = clean(source.bars(symbol, timeframe, *hole)).bars
        added += store.merge(found) if len(found) else 0
        left = _left(hole, found)
        absent += left
        filled += not left
    if absent:
        store.merge(empty_bars(symbol, timeframe, source.name), holes=tuple(absent))
    return Download(str(symbol), timeframe.value, added, filled, len(absent))


def _outside(store: HistoryStore, symbol: Symbol, timeframe: Timeframe, span: tuple[int, int]) -> Holes:
    """Give the parts of a span before and after what is stored, earliest first and always adjoining it."""
    start, end = span
    if not store.has(symbol, timeframe):
        return ((start, end),)
    stored = store.describe(symbol, timeframe)
    if not stored.rows:
        return ((start, end),)
    before = (start, stored.first_ms)
    after = (stored.last_ms + timeframe.ms, end)
    return tuple(part for part in (before, after) if part[0] < part[1])


def _portions(start: int, end: int, size: int, *, backwards: bool) -> Iterator[tuple[int, int]]:
    """Split a span so that each stored portion adjoins what is stored: before it backwards, after it forwards."""
    edges = range(end, start, -size) if backwards else range(start, end, size)
    for edge in edges:
        yield (max(start, edge - size), edge) if backwards else (edge, min(end, edge + size))


def _left(hole: tuple[int, int], found: Bars) -> Holes:
    if not len(found):
        return (hole,)
    step = found.timeframe.ms
    head = (hole[0], int(found.open_time[0]))
    tail = (int(found.open_time[-1]) + step, hole[1])
    return tuple(part for part in (head, *missing_ranges(found), tail) if part[0] < part[1])
