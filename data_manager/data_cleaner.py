"""Bars as they come, checked and put right: what is wrong is removed and named, nothing is invented or smoothed.

Genuine moves survive however large they are: a bar goes only when it contradicts itself, its time or its neighbours'
times, never for its size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from bn_ml.domain.market import Timeframe
from data_manager.bars import Bars, BoolArray, IntArray

RELISTING_GAP_MS = 7 * Timeframe.D1.ms
LARGEST_JUMP_OVER_GAP = 0.35
ZERO_VOLUME_RUN = 4
PARTIAL_VOLUME_SHARE = 0.02
_VOLUME_WINDOW = 96
_MOST_IMPOSSIBLE = 0.02
_MOST_MISALIGNED = 0.5
_MOST_WITHOUT_BODY = 0.9
_ENOUGH_TO_JUDGE = 50
_POWER_TOLERANCE = 0.05


class Defect(Enum):
    """What can be wrong with a series of bars."""

    UNSORTED = "unsorted"
    DUPLICATE = "duplicate"
    MISALIGNED = "misaligned"
    NOT_FINITE = "not_finite"
    NON_POSITIVE = "non_positive"
    IMPOSSIBLE = "impossible_ohlc"
    PARTIAL_LAST = "partial_last_bar"
    ZERO_VOLUME = "zero_volume_run"
    GAP = "gap"
    RELISTED = "relisted"
    REDENOMINATED = "redenominated"
    REPRICED = "repriced_after_halt"
    FABRICATED = "fabricated"


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of defect: how many bars or places, between which open times, whether the bars were removed."""

    defect: Defect
    count: int
    first_ms: int
    last_ms: int
    removed: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CleanReport:
    """The bars that are left, in order and without duplicates, and everything found.

    `breaks` are the positions in `bars` where a new continuous piece begins: before and after are not one price series.
    """

    bars: Bars
    findings: tuple[Finding, ...] = ()
    breaks: tuple[int, ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether the series can be the record of a market at all."""
        return not any(finding.defect is Defect.FABRICATED for finding in self.findings)

    @property
    def removed(self) -> int:
        """Count the bars removed."""
        return sum(finding.count for finding in self.findings if finding.removed)

    def found(self, defect: Defect) -> Finding | None:
        """Give what was found of one kind."""
        return next((finding for finding in self.findings if finding.defect is defect), None)


def clean(bars: Bars, *, now_ms: int | None = None, judge_last_volume: bool = False) -> CleanReport:
    """Check and clean a series.

    With `now_ms` a last bar that had not closed by then is removed. With `judge_last_volume` a last bar that traded
    under 2 % of what is usual, and less than any of the 96 before it, counts as unfinished too: for files whose moment
    of download is unknown. Bars without defects come back as the same object.
    """
    findings: list[Finding] = []
    suspicion = _suspicion(bars)
    left = _without(bars, _wrong_values(bars), findings)
    left = _without(left, _wrong_times(left), findings)
    left = _ordered(left, findings)
    left = _without(left, _unfinished(left, now_ms, judge_last_volume), findings)
    findings += _zero_volume_runs(left)
    gaps, breaks = _gaps(left)
    findings += gaps
    if suspicion:
        findings.append(_finding(Defect.FABRICATED, bars.open_time, suspicion))
    return CleanReport(left, tuple(findings), breaks)


def last_continuous_piece(report: CleanReport) -> Bars:
    """Give the bars since the last relisting, redenomination or jump over a halt."""
    return report.bars.rows(report.breaks[-1], len(report.bars)) if report.breaks else report.bars


def _suspicion(bars: Bars) -> str:
    """Say why a series cannot come from a market; empty when it can."""
    if len(bars) < _ENOUGH_TO_JUDGE:
        return ""
    values = _wrong_values(bars)
    shares = {
        "bars contradict themselves": (float(np.mean(np.any(list(values.values()), axis=0))), _MOST_IMPOSSIBLE),
        "times lie off the timeframe": (float(np.mean(bars.open_time % bars.timeframe.ms != 0)), _MOST_MISALIGNED),
        "traded bars open where they close": (_without_body(bars), _MOST_WITHOUT_BODY),
    }
    return "; ".join(f"{share:.0%} of {reason}" for reason, (share, limit) in shares.items() if share > limit)


def _without_body(bars: Bars) -> float:
    traded = bars.volume > 0
    return float(np.mean(bars.open[traded] == bars.close[traded])) if np.sum(traded) >= _ENOUGH_TO_JUDGE else 0.0


def _wrong_values(bars: Bars) -> dict[Defect, BoolArray]:
    columns = np.stack((bars.open, bars.high, bars.low, bars.close, bars.volume))
    not_finite = ~np.all(np.isfinite(columns), axis=0)
    non_positive = ~not_finite & ((np.min(columns[:4], axis=0) <= 0) | (bars.volume < 0))
    inside = (bars.low <= np.minimum(bars.open, bars.close)) & (bars.high >= np.maximum(bars.open, bars.close))
    return {
        Defect.NOT_FINITE: not_finite,
        Defect.NON_POSITIVE: non_positive,
        Defect.IMPOSSIBLE: ~(inside | not_finite | non_positive),
    }


def _wrong_times(bars: Bars) -> dict[Defect, BoolArray]:
    return {Defect.MISALIGNED: bars.open_time % bars.timeframe.ms != 0}


def _unfinished(bars: Bars, now_ms: int | None, judge_last_volume: bool) -> dict[Defect, BoolArray]:
    unfinished = np.zeros(len(bars), dtype=np.bool_)
    if now_ms is not None:
        unfinished |= bars.close_time > now_ms
    before = bars.volume[-_VOLUME_WINDOW - 1 : -1]
    if judge_last_volume and len(before) == _VOLUME_WINDOW:
        last = bars.volume[-1]
        unfinished[-1] |= bool(0 < last < min(PARTIAL_VOLUME_SHARE * float(np.median(before)), float(np.min(before))))
    return {Defect.PARTIAL_LAST: unfinished}


def _without(bars: Bars, wrong: dict[Defect, BoolArray], findings: list[Finding]) -> Bars:
    found = {defect: rows for defect, rows in wrong.items() if np.any(rows)}
    if not found:
        return bars
    findings += [replace(_finding(defect, bars.open_time[rows]), removed=True) for defect, rows in found.items()]
    return bars.take(~np.any(list(found.values()), axis=0))


def _ordered(bars: Bars, findings: list[Finding]) -> Bars:
    steps = np.diff(bars.open_time)
    if np.all(steps > 0):
        return bars
    if np.any(steps < 0):
        findings.append(_finding(Defect.UNSORTED, bars.open_time[1:][steps < 0]))
    ordered = bars.take(np.argsort(bars.open_time, kind="stable"))
    # Of equal times the one received last is the exchange's later word.
    repeated = np.append(np.diff(ordered.open_time) == 0, False)
    return _without(ordered, {Defect.DUPLICATE: repeated}, findings)


def _zero_volume_runs(bars: Bars) -> list[Finding]:
    silent = np.concatenate([[False], bars.volume == 0, [False]])
    edges = np.flatnonzero(silent[1:] != silent[:-1])
    starts, ends = edges[::2], edges[1::2]
    long = ends - starts >= ZERO_VOLUME_RUN
    if not np.any(long):
        return []
    times = bars.open_time
    bars_in_runs = int(np.sum((ends - starts)[long]))
    detail = f"{int(np.sum(long))} runs of {ZERO_VOLUME_RUN} or more"
    first, last = int(times[starts[long][0]]), int(times[ends[long][-1] - 1])
    return [Finding(Defect.ZERO_VOLUME, bars_in_runs, first, last, detail=detail)]


def _gaps(bars: Bars) -> tuple[list[Finding], tuple[int, ...]]:
    absent = np.diff(bars.open_time) // bars.timeframe.ms - 1
    places = np.flatnonzero(absent > 0)
    if not len(places):
        return [], ()
    detail = f"{len(places)} gaps, longest {int(np.max(absent))} bars"
    first, last = int(bars.open_time[places[0]]), int(bars.open_time[places[-1] + 1])
    findings = [Finding(Defect.GAP, int(np.sum(absent[places])), first, last, detail=detail)]
    breaks: list[int] = []
    for place in places.tolist():
        ratio = float(bars.open[place + 1] / bars.close[place])
        defect = _break(ratio, int(absent[place]) * bars.timeframe.ms)
        if defect is not None:
            breaks.append(place + 1)
            after = f"price x {ratio:.6g} after {int(absent[place])} absent bars"
            findings.append(_finding(defect, bars.open_time[place + 1 : place + 2], after))
    return findings, tuple(breaks)


def _break(ratio: float, gap_ms: int) -> Defect | None:
    power = np.log10(ratio)
    if abs(power) > 0.5 and abs(power - np.round(power)) <= _POWER_TOLERANCE:
        return Defect.REDENOMINATED
    if gap_ms >= RELISTING_GAP_MS:
        return Defect.RELISTED
    if abs(np.log(ratio)) > LARGEST_JUMP_OVER_GAP:
        return Defect.REPRICED
    return None


def _finding(defect: Defect, times: IntArray, detail: str = "") -> Finding:
    return Finding(defect, len(times), int(np.min(times)), int(np.max(times)), detail=detail)
