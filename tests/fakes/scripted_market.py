"""A market whose price path a test writes down, and a source of opportunities on it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations

from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol, from_ms, to_ms
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.errors import MarketDataError
from bn_ml.ports import Clock

MINUTE = timedelta(minutes=1)
HALF_SPREAD = Decimal("0.01")
DEEP = Decimal(2_000_000)


class ScriptedMarket:
    """Prices change at the instants written down; minute bars follow from them. The quote is true at the present."""

    def __init__(self, clock: Clock, prices: Mapping[Symbol, str]) -> None:
        self._clock = clock
        start = clock.now()
        self._at: dict[Symbol, list[datetime]] = {symbol: [start] for symbol in prices}
        self._price = {symbol: [Decimal(price)] for symbol, price in prices.items()}
        self.depth: dict[Symbol, Decimal] = {}
        self.down: set[Symbol] = set()
        self.halted: set[Symbol] = set()
        self.frozen_at: dict[Symbol, datetime] = {}
        self.rule_changes: dict[str, object] = {}
        self.volume = Decimal(1_000_000)
        self.turnover = Decimal(200_000_000)

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(self._at)

    def move(self, symbol: Symbol, price: str | Decimal, at: datetime | None = None) -> None:
        """From `at` (now when not given) on the last trade is at `price`."""
        self._at[symbol].append(at or self._clock.now())
        self._price[symbol].append(Decimal(price))

    def price(self, symbol: Symbol, at: datetime) -> Decimal:
        return self._price[symbol][max(bisect_right(self._at[symbol], at) - 1, 0)]

    def quote(self, symbol: Symbol) -> Quote:
        self._require(symbol)
        at = self.frozen_at.get(symbol, self._clock.now())
        last = self.price(symbol, at)
        depth = self.depth.get(symbol, DEEP)
        return Quote(symbol, last - HALF_SPREAD, last + HALF_SPREAD, last, at, "test", depth, self.turnover)

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        self._require(symbol)
        opening = from_ms(-(-to_ms(since) // 60_000) * 60_000)
        bars = []
        while opening + MINUTE <= until:
            bars.append(self._bar(symbol, opening))
            opening += MINUTE
        return bars

    def atr_frac(self, symbol: Symbol) -> float:
        self._require(symbol)
        return 0.003

    def rules(self, symbol: Symbol) -> MarketRules:
        if symbol not in self._at:
            raise MarketDataError(f"{symbol}: unknown")
        base = MarketRules(
            symbol,
            tick=Decimal("0.01"),
            step=Decimal("0.001"),
            min_notional=Decimal(5),
            min_price=Decimal("0.01"),
            max_price=Decimal(100_000),
            min_quantity=Decimal("0.001"),
            max_quantity=Decimal(9000),
            trading=symbol not in self.halted,
        )
        return replace(base, **self.rule_changes)  # type: ignore[arg-type]

    def _bar(self, symbol: Symbol, opening: datetime) -> Bar:
        first = self.price(symbol, opening)
        inside = [
            price
            for at, price in zip(self._at[symbol], self._price[symbol], strict=True)
            if opening < at < opening + MINUTE
        ]
        prices = [first, *inside]
        return Bar(opening, opening + MINUTE, first, max(prices), min(prices), prices[-1], self.volume)

    def _require(self, symbol: Symbol) -> None:
        if symbol in self.down or symbol not in self._at:
            raise MarketDataError(f"{symbol}: no data", "data_unavailable")


class ScriptedScanner:
    """Reports a BUY for what is wanted at each scan, and a SELL for what is disliked."""

    def __init__(self, market: ScriptedMarket) -> None:
        self._market = market
        self.wanted: Callable[[datetime], Sequence[Symbol]] = lambda now: ()
        self.disliked: tuple[Symbol, ...] = ()
        self.broken = False
        self.changes: dict[str, object] = {}
        self.scans = 0

    def want(self, *symbols: Symbol) -> None:
        """Want the symbols at the next scan only."""
        left = [symbols]
        self.wanted = lambda now: left.pop() if left else ()

    def scan(self, now: datetime) -> ScanReport:
        self.scans += 1
        if self.broken:
            raise RuntimeError("the scanner broke")
        pairs = {pair: 0.1 for pair in combinations(sorted(self._market.symbols), 2)}
        buys = tuple(_opportunity(symbol, Action.BUY, now) for symbol in self.wanted(now))
        sells = tuple(_opportunity(symbol, Action.SELL, now) for symbol in self.disliked)
        return replace(ScanReport(now, buys, sells, correlations=pairs), **self.changes)  # type: ignore[arg-type]


def _opportunity(symbol: Symbol, action: Action, now: datetime) -> Opportunity:
    probabilities = Probabilities(0.1, 0.3, 0.6) if action is Action.BUY else Probabilities(0.6, 0.3, 0.1)
    signal = Signal(symbol, action, probabilities, now, data_source="test")
    return Opportunity(signal, None, score=8.0, atr_frac=0.003, volatility_frac=0.002)
