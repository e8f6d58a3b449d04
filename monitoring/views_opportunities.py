"""What the bot sees: the newest scan ranked, the matrix of its scores, a watchlist, and what was said over time.

Probabilities, spreads and expected results are fractions, scores run from 0 to 10, times are aware UTC or ms since
1970. A number nobody knows is NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bn_ml.domain.market import from_ms
from bn_ml.prediction_log import BAR_MS, PredictionRecord
from bn_ml.state_reader import MetricsRow
from monitoring.bundle_figures import BundleFigures
from monitoring.plain_values import age_s, instant, mapping, number, sequence
from monitoring.wording import UNKNOWN, signed_percent

MOST_COLUMNS = 96
"""Time steps of the heatmap."""

MOST_RIBBON = 600
"""Points of a line of probabilities."""

BUY_GATE = "proba_below_min"
"""The gate that compares the probability of a BUY with its limit."""

NET_RETURN_GATE = "ev_not_positive"
_GATE_UNITS = {
    "no_bundle": "h since valid",
    "bundle_stale": "h old",
    "data_stale": "s old",
    "nan_feature": "unknown inputs",
    "outlier": "distance",
}

MATRIX_COLUMNS = ("p BUY", "p HOLD", "p SELL", "usual BUY", "ML", "technical", "momentum", "score")


@dataclass(frozen=True, slots=True)
class BookLine:
    """One symbol of the newest scan; `base_rate` is the BUY share of the rows its bundle was trained on."""

    rank: int
    symbol: str
    action: str
    buy: float
    hold: float
    sell: float
    base_rate: float
    expected_frac: float
    score: float
    ml_score: float
    technical_score: float
    momentum_score: float
    spread_frac: float
    depth_quote: float
    price: float
    correlation_btc: float
    reason: str
    bundle_version: int | None
    data_source: str

    @property
    def is_known(self) -> bool:
        """Whether a bundle answered; without one the probabilities mean nothing."""
        return self.bundle_version is not None

    @property
    def edge(self) -> float:
        """By how much BUY is likelier than usual, NaN without a bundle or a base rate."""
        return self.buy - self.base_rate if self.is_known else math.nan

    @property
    def is_open_to_entry(self) -> bool:
        """Whether the scan refused nothing: a BUY that goes on to the risk rules."""
        return self.action == "BUY" and not self.reason


@dataclass(frozen=True, slots=True)
class Scan:
    """The newest scan; `age_s` is NaN when there was none."""

    lines: tuple[BookLine, ...] = ()
    at: datetime | None = None
    age_s: float = math.nan
    data_source: str = ""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many symbols are shown as what."""
        said = [line.action for line in self.lines]
        return {action: said.count(action) for action in ("BUY", "HOLD", "SELL")}


@dataclass(frozen=True, slots=True)
class Heat:
    """`p_buy - base rate` per symbol (rows) and time step (columns); NaN where no bundle answered."""

    symbols: tuple[str, ...]
    starts: tuple[datetime, ...]
    values: tuple[tuple[float, ...], ...]
    step_ms: int

    @property
    def reach(self) -> float:
        """The largest distance from the usual rate, so that colours lie evenly around 0; at least 0.01."""
        known = [abs(value) for row in self.values for value in row if math.isfinite(value)]
        return max([0.01, *known])


@dataclass(frozen=True, slots=True)
class Ribbon:
    """The three probabilities of one symbol over time, oldest first; gaps are NaN."""

    times: tuple[datetime, ...] = ()
    sell: tuple[float, ...] = ()
    hold: tuple[float, ...] = ()
    buy: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class GateLine:
    """One gate: what it looks at, what was measured, the limit, and whether it let the signal pass."""

    reason: str
    value: float
    limit: float
    passed: bool

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return "pass" if self.passed else "FAIL"

    @property
    def value_text(self) -> str:
        """What was measured, with its unit."""
        return _measure(self.reason, self.value)

    @property
    def limit_text(self) -> str:
        """The limit, with its unit."""
        return _measure(self.reason, self.limit)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one symbol at the close of one bar."""

    at: datetime
    action: str
    buy: float
    hold: float
    sell: float
    reason: str
    version: int | None
    data_source: str
    gates: tuple[GateLine, ...]


def scan_of(content: object, rates: Mapping[str, float], now: datetime) -> Scan:
    """Read the keyed value `latest_scan`; those open to entry come first, then by score."""
    scan = mapping(content)
    rows = [mapping(row) for row in sequence(scan.get("rows"))]
    lines = sorted((_line(row, rates) for row in rows if row.get("symbol")), key=_order)
    ranked = tuple(_ranked(line, place) for place, line in enumerate(lines, start=1))
    at = instant(scan.get("at"))
    return Scan(ranked, at, age_s(at, now), str(scan.get("data_source") or ""))


def base_rates(records: Iterable[MetricsRow]) -> Mapping[str, float]:
    """Give the BUY share of each symbol's newest bundle; `records` come newest first."""
    rates: dict[str, float] = {}
    for record in records:
        symbol, counts = record.metrics.get("symbol"), mapping(record.metrics.get("label_counts"))
        total = sum(number(counts.get(name)) for name in ("SELL", "HOLD", "BUY"))
        if isinstance(symbol, str) and "event" not in record.metrics and total > 0:
            rates.setdefault(symbol, number(counts.get("BUY")) / total)
    return rates


def rates_of(bundles: Iterable[BundleFigures]) -> Mapping[str, float]:
    """Give the BUY share of each bundle on disk that tells it."""
    told = ((str(bundle.metadata.get("symbol")), mapping(bundle.metadata.get("base_rates"))) for bundle in bundles)
    return {symbol: number(shares.get("BUY")) for symbol, shares in told if math.isfinite(number(shares.get("BUY")))}


def watchlist(scan: Scan, wanted: Sequence[str], size: int) -> tuple[BookLine, ...]:
    """Give the first `size` symbols of the ranked book, of those wanted or of all when none is named."""
    chosen = frozenset(wanted)
    kept = [line for line in scan.lines if not chosen or line.symbol in chosen]
    return tuple(kept[: max(size, 0)])


def matrix_values(lines: Iterable[BookLine]) -> tuple[tuple[float, ...], ...]:
    """Give the numbers of `MATRIX_COLUMNS` per symbol, in their own units."""
    return tuple(
        (
            *((line.buy, line.hold, line.sell) if line.is_known else (math.nan,) * 3),
            line.base_rate,
            line.ml_score if line.is_known else math.nan,
            line.technical_score,
            line.momentum_score,
            line.score,
        )
        for line in lines
    )


def matrix_shades(values: Iterable[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Give the matrix with every number between 0 and 1: probabilities as they are, scores over 10."""
    return tuple(tuple(value if place < 4 else value / 10 for place, value in enumerate(row)) for row in values)


def heat_of(
    said: Mapping[str, Sequence[PredictionRecord]],
    rates: Mapping[str, float],
    *,
    since_ms: int,
    until_ms: int,
    most: int = MOST_COLUMNS,
) -> Heat:
    """Lay what was said on a grid of at most `most` equal steps of whole bars; several bars in one step are averaged.

    Steps end at `until_ms`; bars outside `since_ms <= close < until_ms` are left out.
    """
    bars = max(-(-(until_ms - since_ms) // BAR_MS), 1)
    step_ms = -(-bars // max(most, 1)) * BAR_MS
    columns = max(-(-(until_ms - since_ms) // step_ms), 1)
    first_ms = until_ms - columns * step_ms
    rows = tuple(
        _heat_row(records, rates.get(symbol, math.nan), (first_ms, since_ms, until_ms), step_ms, columns)
        for symbol, records in said.items()
    )
    starts = tuple(from_ms(first_ms + place * step_ms) for place in range(columns))
    return Heat(tuple(said), starts, rows, step_ms)


def span_ms(period: timedelta | None, *, least: timedelta, longest: timedelta) -> int:
    """Give how far back to look for a chosen period (None is everything), in ms, between `least` and `longest`."""
    length = longest if period is None else min(max(period, least), longest)
    return int(length.total_seconds() * 1000)


def ribbon_of(records: Sequence[PredictionRecord], most: int = MOST_RIBBON) -> Ribbon:
    """Give the probabilities over time, oldest first, at most about `most` of them; bars in one step are averaged.

    Where bars or answers are absent the line is broken.
    """
    known = [record for record in records if record.version is not None]
    if not known:
        return Ribbon()
    bars = (known[-1].close_ms - known[0].close_ms) // BAR_MS + 1
    step_ms = max(-(-bars // max(most, 1)), 1) * BAR_MS
    groups: dict[int, list[PredictionRecord]] = {}
    for record in known:
        groups.setdefault(record.close_ms // step_ms, []).append(record)
    rows: list[tuple[int, float, float, float]] = []
    before = min(groups)
    for place, group in groups.items():
        if place - before > 1:
            rows.append(((before + 1) * step_ms, math.nan, math.nan, math.nan))
        rows.append((group[-1].close_ms, *_means(group)))
        before = place
    times, sell, hold, buy = zip(*rows, strict=True)
    return Ribbon(tuple(from_ms(at) for at in times), sell, hold, buy)


def decisions_of(records: Sequence[PredictionRecord], most: int = 20) -> tuple[Decision, ...]:
    """Give the last decisions, newest first."""
    return tuple(_decision(record) for record in reversed(records[max(len(records) - most, 0) :]))


def buy_limit(decisions: Iterable[Decision]) -> float:
    """Give the probability a BUY had to pass at the newest decision that tells it, NaN when none does."""
    limits = (gate.limit for decision in decisions for gate in decision.gates if gate.reason == BUY_GATE)
    return next(limits, math.nan)


def gates_of(text: str) -> tuple[GateLine, ...]:
    """Read a record's gates; anything unreadable is left out.

    >>> gates_of('[["proba_below_min",0.36,0.42,false]]')
    (GateLine(reason='proba_below_min', value=0.36, limit=0.42, passed=False),)
    """
    try:
        listed = sequence(json.loads(text))
    except ValueError:
        return ()
    return tuple(
        GateLine(str(item[0]), number(item[1]), number(item[2]), bool(item[3]))
        for item in map(sequence, listed)
        if len(item) == 4
    )


def _measure(reason: str, value: float) -> str:
    if not math.isfinite(value):
        return UNKNOWN
    if reason == NET_RETURN_GATE:
        return signed_percent(value)
    unit = _GATE_UNITS.get(reason, "")
    return f"{value:.4g} {unit}" if unit else f"{value:.3f}"


def _line(row: Mapping[str, object], rates: Mapping[str, float]) -> BookLine:
    probas = mapping(row.get("probas"))
    symbol, version = str(row.get("symbol")), row.get("bundle_version")
    return BookLine(
        rank=0,
        symbol=symbol,
        action=str(row.get("action") or "HOLD"),
        buy=number(probas.get("BUY")),
        hold=number(probas.get("HOLD")),
        sell=number(probas.get("SELL")),
        base_rate=rates.get(symbol, math.nan),
        expected_frac=number(row.get("expected_net_pct")),
        score=number(row.get("score")),
        ml_score=number(row.get("ml_score")),
        technical_score=number(row.get("technical_score")),
        momentum_score=number(row.get("momentum_score")),
        spread_frac=number(row.get("spread_pct")),
        depth_quote=number(row.get("depth_usdt")),
        price=number(row.get("price")),
        correlation_btc=number(row.get("correlation_btc")),
        reason=str(row.get("reason") or ""),
        bundle_version=version if isinstance(version, int) else None,
        data_source=str(row.get("data_source") or ""),
    )


def _order(line: BookLine) -> tuple[bool, float, str]:
    score = -line.score if math.isfinite(line.score) else math.inf
    return not line.is_open_to_entry, score, line.symbol


def _ranked(line: BookLine, place: int) -> BookLine:
    return replace(line, rank=place)


def _heat_row(
    records: Sequence[PredictionRecord], rate: float, span: tuple[int, int, int], step_ms: int, columns: int
) -> tuple[float, ...]:
    first_ms, since_ms, until_ms = span
    sums, counts = [0.0] * columns, [0] * columns
    for record in records:
        if record.version is None or not since_ms <= record.close_ms < until_ms:
            continue
        place = (record.close_ms - first_ms) // step_ms
        sums[place] += record.buy
        counts[place] += 1
    return tuple(total / count - rate if count else math.nan for total, count in zip(sums, counts, strict=True))


def _means(group: Sequence[PredictionRecord]) -> tuple[float, float, float]:
    count = len(group)
    return (
        math.fsum(record.sell for record in group) / count,
        math.fsum(record.hold for record in group) / count,
        math.fsum(record.buy for record in group) / count,
    )


def _decision(record: PredictionRecord) -> Decision:
    return Decision(
        at=from_ms(record.close_ms),
        action=record.action,
        buy=record.buy,
        hold=record.hold,
        sell=record.sell,
        reason=record.reason or "",
        version=record.version,
        data_source=record.data_source,
        gates=gates_of(record.gates_json),
    )
