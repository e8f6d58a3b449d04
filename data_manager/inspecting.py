"""What a stored series holds: coverage, holes, defects and a hash to compare by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe, from_ms, iso
from data_manager.bars import Bars
from data_manager.data_cleaner import Defect, clean
from data_manager.history import HistoryStore, Holes, content_hash

_OUTLIER_DEVIATIONS = 20.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """One stored series. `coverage` is the share of expected bars present; `known_absent` the missing bars the exchange
    is known not to have. `outliers` are moves over 20 robust deviations: genuine more often than not, never removed.
    """

    symbol: str
    timeframe: str
    first: str
    last: str
    bars: int
    coverage: float
    missing: int
    known_absent: int
    gaps: int
    duplicates: int
    bad_ohlc: int
    zero_volume: int
    outliers: int
    breaks: int
    trusted: bool
    source: str
    hash: str

    @property
    def sound(self) -> bool:
        """Whether nothing is left to repair."""
        return self.trusted and not (self.duplicates or self.bad_ohlc or self.missing > self.known_absent)


def inspect(store: HistoryStore, symbol: Symbol, timeframe: Timeframe) -> Inspection:
    """Inspect one stored series. Raises `MarketDataError` when it is absent or unreadable."""
    bars = store.read(symbol, timeframe)
    report = clean(bars)
    counts = {finding.defect: finding.count for finding in report.findings}
    holes = missing_ranges(report.bars)
    missing = _bars_in(holes, timeframe)
    absent = _bars_in(tuple(hole for hole in holes if _covered(hole, store.holes(symbol, timeframe))), timeframe)
    kept = report.bars
    return Inspection(
        symbol=str(symbol),
        timeframe=timeframe.value,
        first=iso(from_ms(int(kept.open_time[0]))) if len(kept) else "",
        last=iso(from_ms(int(kept.open_time[-1]))) if len(kept) else "",
        bars=len(bars),
        coverage=round(len(kept) / (len(kept) + missing), 6) if len(kept) else 0.0,
        missing=missing,
        known_absent=absent,
        gaps=len(holes),
        duplicates=counts.get(Defect.DUPLICATE, 0) + counts.get(Defect.UNSORTED, 0),
        bad_ohlc=sum(counts.get(item, 0) for item in (Defect.NOT_FINITE, Defect.NON_POSITIVE, Defect.IMPOSSIBLE)),
        zero_volume=int(np.sum(kept.volume == 0)),
        outliers=outliers(kept),
        breaks=len(report.breaks),
        trusted=report.trusted,
        source=bars.source,
        hash=content_hash(bars),
    )


def missing_ranges(bars: Bars) -> Holes:
    """Give the ranges `[start_ms, end_ms)` inside a series that hold no bar."""
    places = np.flatnonzero(np.diff(bars.open_time) > bars.timeframe.ms)
    starts = bars.open_time[places] + bars.timeframe.ms
    return tuple(zip(starts.tolist(), bars.open_time[places + 1].tolist(), strict=True))


def outliers(bars: Bars) -> int:
    """Count moves from close to close beyond 20 robust standard deviations (median absolute deviation)."""
    if len(bars) < 3:
        return 0
    moves = np.diff(np.log(bars.close))
    spread = 1.4826 * float(np.median(np.abs(moves - np.median(moves))))
    return int(np.sum(np.abs(moves) > _OUTLIER_DEVIATIONS * spread)) if spread else 0


def _covered(hole: tuple[int, int], known: Holes) -> bool:
    return any(start <= hole[0] and hole[1] <= end for start, end in known)


def _bars_in(holes: Holes, timeframe: Timeframe) -> int:
    return sum((end - start) // timeframe.ms for start, end in holes)
