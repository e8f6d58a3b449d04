"""One pass over the universe: signals, quotes for those that say BUY, scores, rank, and why the rest is not there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from bn_ml.domain.market import Quote, Symbol, Timeframe, to_ms
from bn_ml.domain.signals import Action, MarketMood, Opportunity, ScanReport, Signal, hold
from bn_ml.errors import BnMlError, MarketDataError, ModelError
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.feature_feed import FeatureFeed
from data_manager.feed_checks import FeatureRow
from scanner.co_movement import Movements, volatility_bars, volatility_ratio
from scanner.liquidity_limits import limits_for
from scanner.scoring import MOMENTUM, TECHNICAL, Scorecard, composite, ml_score
from scanner.universe import Listings, Universe

RATIO_MAX_AGE_MS = 3_600_000
_UNEXPECTED = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, OSError)


class ScannerMarket(Protocol):
    """What a scan asks of the market. Raises `MarketDataError` when it cannot be known."""

    def quote(self, symbol: Symbol) -> Quote:
        """Give the newest quote."""

    def bars(self, symbol: Symbol, timeframe: Timeframe, count: int) -> Bars:
        """Give the newest `count` closed bars, fewer only where no more exist."""


class SignalSource(Protocol):
    """Where signals come from."""

    def signal(self, row: FeatureRow, now: datetime) -> Signal:
        """Give the signal of a row; never raises for a bad bundle or row."""

    def priced(self, signal: Signal, spread_frac: float) -> Signal:
        """Take the live spread off the expected return; may turn a BUY into a HOLD."""

    def without_bundle(self, symbol: Symbol, now: datetime) -> str | None:
        """Give the reason code why no bundle answers for a symbol; None when one does."""


class MoodSource(Protocol):
    """Who reads the mood of the market from a whole scan."""

    def mood(self, report: ScanReport) -> MarketMood:
        """Give the mood; raises `BnMlError` when it cannot be told."""


class DriftSource(Protocol):
    """Who knows whether the market has left what bundles were trained on; raises `BnMlError` when it cannot be told."""

    def settle(self, now: datetime) -> None:
        """Judge what has come true by `now`; asked before anything else of a scan."""

    def blocks(self, symbol: Symbol) -> bool:
        """Tell whether a symbol's own drift stops its entries."""

    def drifted(self, now: datetime) -> bool:
        """Tell whether the market as a whole has drifted."""

    def observe(self, rows: Mapping[Symbol, FeatureRow], report: ScanReport) -> None:
        """Take up what a scan said, and the rows it said it of."""


@dataclass(frozen=True, slots=True)
class ScanExtras:
    """Optional companions of a scan."""

    mood: MoodSource | None = None
    drift: DriftSource | None = None
    listings: Listings | None = None


@dataclass(slots=True)
class _Pass:
    """What one scan has gathered so far."""

    now: datetime
    rows: dict[Symbol, FeatureRow] = field(default_factory=dict)
    buys: list[Opportunity] = field(default_factory=list)
    refused: list[Opportunity] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class MultiPairScanner:
    """Scans the universe. Scores, limits and order depend only on rows, bundles and quotes, so equal input gives equal
    reports.
    """

    def __init__(
        self,
        settings: Settings | Mapping[str, object],
        market: ScannerMarket,
        feed: FeatureFeed,
        predictor: SignalSource,
        *,
        extras: ScanExtras | None = None,
    ) -> None:
        """Wire the scanner; `settings` may be a partial mapping."""
        self._settings = settings if isinstance(settings, Settings) else Settings.from_mapping(settings)
        self._market = market
        self._feed = feed
        self._predictor = predictor
        self._extras = extras or ScanExtras()
        self._universe = Universe(self._settings, self._extras.listings)
        self._benchmark = Symbol(self._settings.risk.circuit_breakers.volatility_benchmark_symbol)
        self._cards: tuple[tuple[str, ...], Scorecard, Scorecard] | None = None
        self._volatility: tuple[int, float] | None = None

    def scan(self, now: datetime) -> ScanReport:
        """Scan the universe once; a failing symbol is a refusal with its reason, never the end of the scan."""
        turn = _Pass(now)
        self._settle(turn)
        for symbol in self._universe.symbols(now):
            self._look(symbol, turn)
        if self._universe.problem:
            turn.errors.append(self._universe.problem)
        chosen = self._ranked(turn)
        self._know_benchmark(turn)
        movements = Movements(turn.rows, self._settings.risk.correlation_window_bars)
        opportunities = tuple(
            replace(item, correlation_btc=movements.correlation(item.symbol, self._benchmark) or 0.0) for item in chosen
        )
        report = ScanReport(
            at=now,
            opportunities=opportunities,
            refused=tuple(sorted(turn.refused, key=lambda item: item.symbol)),
            correlations=movements.pairs([item.symbol for item in opportunities], sorted(turn.rows)),
            volatility_ratio=self._volatility_ratio(turn),
            funnel=dict(sorted(Counter(_reason(item) for item in turn.refused).items())),
            errors=tuple(turn.errors),
        )
        return self._surrounded(report, turn)

    def universe(self, now: datetime) -> tuple[Symbol, ...]:
        """Give the symbols a scan at `now` looks at."""
        return self._universe.symbols(now)

    @property
    def discovered(self) -> tuple[Symbol, ...]:
        """The symbols the last scan found by discovery, highest turnover first."""
        return self._universe.found

    def _look(self, symbol: Symbol, turn: _Pass) -> None:
        try:
            row = self._feed.row(symbol, turn.now)
            turn.rows[symbol] = row
            signal = self._predictor.signal(row, turn.now)
            item = self._scored(row, signal)
            if signal.action is Action.BUY:
                item = self._quoted(item, turn)
            elif signal.action is Action.SELL:
                item = replace(item, reason="signal_not_buy")
        except MarketDataError as error:
            reason = self._predictor.without_bundle(symbol, turn.now) or error.reason
            item = Opportunity(hold(symbol, turn.now, reason), None)
        except ModelError as error:
            item = Opportunity(hold(symbol, turn.now, error.reason), None)
        except (BnMlError, *_UNEXPECTED) as error:
            reason = "model_error" if symbol in turn.rows else "data_unavailable"
            turn.errors.append(f"{symbol}: {type(error).__name__}: {error}")
            item = Opportunity(hold(symbol, turn.now, reason), None)
        (turn.buys if item.signal.action is Action.BUY and item.reason is None else turn.refused).append(item)

    def _scored(self, row: FeatureRow, signal: Signal) -> Opportunity:
        technical, momentum = self._scorecards(row.columns)
        values = row.values.tolist()
        parts = (
            ml_score(signal.probabilities.buy, base_rate=signal.base_rate, threshold=signal.buy_threshold)
            if signal.buy_threshold > 0.0
            else 0.0,
            technical.score(values),
            momentum.score(values),
        )
        return Opportunity(
            signal=signal,
            quote=None,
            score=composite(ml=parts[0], technical=parts[1], momentum=parts[2], weights=self._settings.scanner.weights),
            ml_score=parts[0],
            technical_score=parts[1],
            momentum_score=parts[2],
            atr_frac=row.atr_frac,
            volatility_frac=row.volatility_frac,
        )

    def _quoted(self, item: Opportunity, turn: _Pass) -> Opportunity:
        """Fetch the quote of a BUY and judge it by spread, depth, costs and the scanner's own least values."""
        if self._drifted(item.symbol):
            return replace(item, reason="breaker_drift")
        try:
            quote = self._market.quote(item.symbol)
        except MarketDataError as error:
            return replace(item, reason=error.reason)
        except (BnMlError, *_UNEXPECTED) as error:
            turn.errors.append(f"{item.symbol}: {type(error).__name__}: {error}")
            return replace(item, reason="data_unavailable")
        priced = replace(item, quote=quote, signal=self._predictor.priced(item.signal, float(quote.spread_frac)))
        return replace(priced, reason=self._refusal(priced, quote))

    def _refusal(self, item: Opportunity, quote: Quote) -> str | None:
        scanner = self._settings.scanner
        if item.signal.reason is not None:
            return item.signal.reason
        illiquid = limits_for(item.symbol, scanner).refusal(quote)
        if illiquid is not None:
            return illiquid
        if item.score < scanner.min_score:
            return "min_score"
        return "min_confidence" if item.signal.confidence < scanner.min_confidence else None

    def _ranked(self, turn: _Pass) -> list[Opportunity]:
        """Give the best `top_n`; what does not fit is refused."""
        ordered = sorted(turn.buys, key=lambda item: (-item.score, -item.signal.probabilities.buy, item.symbol))
        most = self._settings.scanner.top_n
        turn.refused.extend(replace(item, reason="top_n") for item in ordered[most:])
        return ordered[:most]

    def _know_benchmark(self, turn: _Pass) -> None:
        """Add the benchmark's row when there is something to correlate and the universe does not hold it."""
        if not turn.buys or self._benchmark in turn.rows:
            return
        try:
            turn.rows[self._benchmark] = self._feed.row(self._benchmark, turn.now)
        except BnMlError as error:
            turn.errors.append(f"{self._benchmark}: no correlation with the benchmark: {error}")

    def _volatility_ratio(self, turn: _Pass) -> float:
        """Give the benchmark's ratio of this bar, else the last one known for less than an hour, else infinity."""
        window = self._settings.risk.circuit_breakers.volatility_baseline_window
        row = turn.rows.get(self._benchmark)
        if row is not None and self._volatility is not None and self._volatility[0] == row.close_time_ms:
            return self._volatility[1]
        doubt = ""
        try:
            bars = self._market.bars(self._benchmark, Timeframe.M15, volatility_bars(window))
            self._volatility = (int(bars.close_time[-1]) if len(bars) else 0, volatility_ratio(bars, window))
        except BnMlError as error:
            doubt = str(error)
        if self._volatility is None or to_ms(turn.now) - self._volatility[0] >= RATIO_MAX_AGE_MS:
            reason = doubt or "its newest bar is too old"
            turn.errors.append(f"{self._benchmark}: volatility of the benchmark unknown, so no entries: {reason}")
            return math.inf
        if doubt:
            turn.errors.append(f"{self._benchmark}: volatility of the benchmark as last known: {doubt}")
        return self._volatility[1]

    def _settle(self, turn: _Pass) -> None:
        """Let drift be judged before the scan; a failure is told and leaves drift as it was."""
        try:
            if self._extras.drift is not None:
                self._extras.drift.settle(turn.now)
        except (BnMlError, *_UNEXPECTED) as error:
            turn.errors.append(f"drift not judged: {error}")

    def _drifted(self, symbol: Symbol) -> bool:
        """Whether drift of this symbol stops its entries."""
        drift, blocking = self._extras.drift, self._settings.risk.circuit_breakers.drift_block_enabled
        return drift is not None and blocking and drift.blocks(symbol)

    def _surrounded(self, report: ScanReport, turn: _Pass) -> ScanReport:
        """Add mood and drift; when one cannot be told the report says so and stays without it."""
        errors = list(report.errors)
        mood, drifted = report.mood, False
        try:
            if self._extras.drift is not None:
                drifted = self._extras.drift.drifted(report.at)
                self._extras.drift.observe(turn.rows, report)
        except (BnMlError, *_UNEXPECTED) as error:
            errors.append(f"drift unknown: {error}")
        try:
            mood = self._extras.mood.mood(report) if self._extras.mood else report.mood
        except (BnMlError, *_UNEXPECTED) as error:
            errors.append(f"market mood unknown: {error}")
        return replace(report, mood=mood, drifted=drifted, errors=tuple(errors))

    def _scorecards(self, columns: tuple[str, ...]) -> tuple[Scorecard, Scorecard]:
        if self._cards is None or self._cards[0] is not columns:
            self._cards = (columns, Scorecard.of(TECHNICAL, columns), Scorecard.of(MOMENTUM, columns))
        return self._cards[1], self._cards[2]


def _reason(item: Opportunity) -> str:
    return item.reason or item.signal.reason or "signal_not_buy"
