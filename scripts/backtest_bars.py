"""The stored bars of a backtest, checked: what cannot be a market's record takes no part, and everything is named.

Before and after a relisting, a redenomination or a jump over a halt stand different prices: a symbol takes part with
the one piece that is trading when the span begins, and is gone when that piece ends, as it was then.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe, from_ms, iso, to_ms
from data_manager.bars import Bars
from data_manager.data_cleaner import CleanReport, Defect, clean
from data_manager.history import HistoryStore
from data_manager.stored_rules import EXCHANGE_INFO_FILE
from evidence.run_card import LeftOut

BASE = Timeframe.M15
BARS = "bars"
_BREAKS = {
    Defect.RELISTED: "relisted",
    Defect.REDENOMINATED: "redenominated",
    Defect.REPRICED: "another price after a halt",
}


@dataclass(slots=True)
class StoredBars:
    """Base bars by symbol as they may be used, what is left out and why, and the symbols whose stored bars differ."""

    bars: dict[Symbol, Bars] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    mended: dict[Symbol, tuple[int, int]] = field(default_factory=dict)
    """Symbols whose files cannot be read as they stand, with the span [start, end) in ms that may be."""


def read_bars(store: HistoryStore, wanted: Sequence[Symbol], begin: datetime, end: datetime) -> StoredBars:
    """Read and check what is stored of the symbols; raises `MarketDataError` for a file that cannot be read."""
    found = StoredBars()
    for symbol in wanted:
        if not store.has(symbol, BASE):
            found.left_out.append(LeftOut(symbol, f"no {BASE.value} bars stored"))
            continue
        report = clean(store.read(symbol, BASE))
        suspicion = report.found(Defect.FABRICATED)
        if suspicion is not None:
            found.left_out.append(LeftOut(symbol, f"not a market's record: {suspicion.detail}"))
            continue
        _take(found, symbol, report, begin, end)
    return found


def placed(store: HistoryStore, found: StoredBars, folder: Path) -> Path:
    """Give the folder the run reads bars from: the store itself, or checked copies where a file had to be mended."""
    if not found.mended:
        return store.root
    copies = HistoryStore(folder / BARS)
    shutil.rmtree(copies.root, ignore_errors=True)
    for symbol in found.bars:
        first, last = found.mended.get(symbol, (0, 2**62))
        for timeframe in store.timeframes(symbol):
            # Longer bars are built from these.
            if timeframe.ms <= BASE.ms:
                copies.write(clean(store.read(symbol, timeframe)).bars.between(first, last))
    rules = store.root / EXCHANGE_INFO_FILE
    if rules.is_file():
        shutil.copyfile(rules, copies.root / EXCHANGE_INFO_FILE)
    return copies.root


def _take(found: StoredBars, symbol: Symbol, report: CleanReport, begin: datetime, end: datetime) -> None:
    piece, note = _piece(report, to_ms(begin), to_ms(end))
    inside = piece.between(to_ms(begin), to_ms(end))
    if not len(inside):
        held = f"{iso(from_ms(int(piece.open_time[0])))} to {iso(from_ms(piece.newest_close_ms))}" if len(piece) else ""
        found.left_out.append(LeftOut(symbol, f"no bars in the span, stored are {held or 'none'}"))
        return
    found.bars[symbol] = piece
    if len(piece) < len(report.bars) or report.removed or report.found(Defect.UNSORTED):
        found.mended[symbol] = (int(piece.open_time[0]), int(piece.open_time[-1]) + BASE.ms)
    reasons = [*_removed(report), *_absent(inside, begin, end, note)]
    found.left_out += [LeftOut(symbol, reason) for reason in reasons]


def _piece(report: CleanReport, begin_ms: int, end_ms: int) -> tuple[Bars, str]:
    """Give the continuous piece that trades at the beginning, else the first after it; and why it ends in the span."""
    bars = report.bars
    starts = bars.open_time[list(report.breaks)]
    after = int(np.searchsorted(starts, begin_ms, side="right"))
    edges = [0, *report.breaks, len(bars)]
    while after < len(report.breaks) and bars.open_time[edges[after + 1] - 1] < begin_ms:
        after += 1
    piece = bars.rows(edges[after], edges[after + 1])
    ends_inside = after < len(report.breaks) and bars.open_time[edges[after + 1]] < end_ms
    return piece, _why(report, int(starts[after])) if ends_inside else ""


def _why(report: CleanReport, start_ms: int) -> str:
    for defect, words in _BREAKS.items():
        for finding in report.findings:
            if finding.defect is defect and finding.first_ms <= start_ms <= finding.last_ms:
                return f"{words} at {iso(from_ms(start_ms))} ({finding.detail})"
    return f"another series from {iso(from_ms(start_ms))} on"


def _removed(report: CleanReport) -> list[str]:
    told = [f"{item.count} bars removed: {item.defect.value}" for item in report.findings if item.removed]
    unsorted = report.found(Defect.UNSORTED)
    return [*told, *([f"{unsorted.count} bars put in order"] if unsorted else [])]


def _absent(inside: Bars, begin: datetime, end: datetime, note: str) -> list[str]:
    """Name the parts of the span a symbol has no bars for."""
    found = []
    first, last = from_ms(int(inside.open_time[0])), from_ms(inside.newest_close_ms)
    if first > begin:
        found.append(f"only from {iso(first)}, its first bar")
    if last < end:
        found.append(f"only until {iso(last)}, its last bar" + (f"; then {note}" if note else ""))
    missing = (int(inside.open_time[-1]) - int(inside.open_time[0])) // BASE.ms + 1 - len(inside)
    if missing:
        found.append(f"{missing} bars missing between its first and its last")
    return found
