"""What the prediction log, the blotter and the bar store know of symbols, read for a span of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.prediction_log import BAR_MS, PredictionLog, PredictionRecord, RefusalRecord, log_beside
from monitoring.blotter import all_lines
from monitoring.desk import PERIODS, Desk
from monitoring.stored_bars import Candles, FillMark, marks_of, read_candles
from monitoring.views_opportunities import span_ms

LEAST_HEAT = timedelta(hours=4)
LEAST_STORY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of market time in ms since 1970, `since_ms` inclusive and `until_ms` exclusive."""

    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Story:
    """One symbol over a span: what was said, what scans made of it, its bars and our fills, all oldest first."""

    span: Span
    said: Sequence[PredictionRecord]
    refusals: Sequence[RefusalRecord]
    candles: Candles
    marks: Sequence[FillMark]


def span_of(desk: Desk, least: timedelta) -> Span:
    """Give the chosen period up to the end of the running bar: at least `least`, at most what the log keeps."""
    until_ms = (to_ms(desk.market_now) // BAR_MS + 1) * BAR_MS
    longest = timedelta(days=desk.settings.storage.retention_days.telemetry)
    length_ms = span_ms(PERIODS.get(desk.look.timeframe), least=least, longest=longest)
    return Span(until_ms - length_ms, until_ms)


def read_said(desk: Desk, symbols: Sequence[str], span: Span) -> Mapping[str, Sequence[PredictionRecord]]:
    """Give what was said of each symbol; a log that is absent or unreadable says nothing."""
    log = PredictionLog(log_beside(desk.book.path))
    # One entry, whatever the ranking and the clock say: each may hold a month of every symbol.
    stamp = (scan_stamp(desk), span, tuple(symbols))
    return desk.shaped(
        "predictions",
        lambda: {symbol: log.read(Symbol(symbol), span.since_ms, span.until_ms) for symbol in symbols},
        changes_with=stamp,
    )


def read_story(desk: Desk, symbol: str) -> Story:
    """Give everything about one symbol for the chosen period; raises `StateError` when the book cannot be read."""
    span = span_of(desk, LEAST_STORY)
    log = PredictionLog(log_beside(desk.book.path))
    name, history = Symbol(symbol), Path(desk.settings.data.history_dir)

    def read() -> Story:
        return Story(
            span=span,
            said=log.read(name, span.since_ms, span.until_ms),
            refusals=log.refusals(name, span.since_ms, span.until_ms),
            candles=read_candles(history, name, since_ms=span.since_ms, until_ms=span.until_ms),
            marks=marks_of(all_lines(desk), symbol, from_ms(span.since_ms)),
        )

    return desk.shaped(f"story {symbol}", read, changes_with=(scan_stamp(desk), len(desk.book.trades()), span))


def scan_stamp(desk: Desk) -> str:
    """Give what changes with each scan: nothing new is said between two of them."""
    scan = desk.book.kv("latest_scan")
    return str(scan.get("at")) if isinstance(scan, dict) else ""
