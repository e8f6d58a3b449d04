"""The market of a schedule: prices that change at known instants, seen by the venue at once and by the bot through a
feed that may be old or gone; and a source of opportunities on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import combinations

from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol, from_ms, to_ms
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.errors import MarketDataError
from tests.sim.clock import SimClock
from tests.sim.plan import Plan

MINUTE_MS = 60_000
HALF_SPREAD = Decimal("0.01")
DEEP = Decimal(2_000_000)
TURNOVER = Decimal(200_000_000)
VOLUME = Decimal(1_000_000)
CENT = Decimal("0.01")


class SimMarket:
    """The `MarketView` of the bot, and what is really true."""

    def __init__(self, plan: Plan, clock: SimClock) -> None:
        self._clock = clock
        self.price: dict[Symbol, Decimal] = dict(plan.opening)
        self.depth: dict[Symbol, Decimal] = {}
        self.rule: dict[Symbol, MarketRules] = {symbol: plan.rules(symbol) for symbol in plan.opening}
        self.down: dict[Symbol, int] = {}
        self.frozen: dict[Symbol, tuple[int, Decimal]] = {}
        self._changes: dict[Symbol, list[tuple[int, Decimal]]] = {
            symbol: [(clock.ms, price)] for symbol, price in plan.opening.items()
        }
        self._bars: dict[tuple[Symbol, int], Bar] = {}
        self._pairs = {pair: 0.1 for pair in combinations(sorted(plan.opening), 2)}

    def move(self, symbol: Symbol, price: Decimal) -> Quote:
        """Let the last trade be at a price from now on; gives the true quote."""
        self.price[symbol] = price
        self._changes[symbol].append((self._clock.ms, price))
        return self.true_quote(symbol)

    def true_quote(self, symbol: Symbol) -> Quote:
        """Give the quote as it is at the venue."""
        return self._quote(symbol, self._clock.ms, self.price[symbol])

    def freeze(self, symbol: Symbol) -> None:
        """Let the bot see no newer price than the present one."""
        self.frozen.setdefault(symbol, (self._clock.ms, self.price[symbol]))

    def take_down(self, symbol: Symbol) -> None:
        """Let the bot see nothing of a symbol."""
        self.down.setdefault(symbol, self._clock.ms)

    def age_ms(self, symbol: Symbol, at_ms: int) -> float:
        """Give how old the bot's newest price of a symbol was at an instant; infinite when it could have none."""
        if self.down.get(symbol, at_ms) < at_ms:
            return float("inf")
        frozen = self.frozen.get(symbol)
        return 0.0 if frozen is None else max(at_ms - frozen[0], 0)

    def quote(self, symbol: Symbol) -> Quote:
        self._require(symbol)
        at_ms, price = self.frozen.get(symbol, (self._clock.ms, self.price[symbol]))
        return self._quote(symbol, at_ms, price)

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        self._require(symbol)
        end_ms = min(to_ms(until), self.frozen.get(symbol, (self._clock.ms,))[0])
        minute = -(-to_ms(since) // MINUTE_MS)
        bars = []
        while (minute + 1) * MINUTE_MS <= end_ms:
            bars.append(self._bar(symbol, minute))
            minute += 1
        return bars

    def atr_frac(self, symbol: Symbol) -> float:
        self._require(symbol)
        return 0.01

    def rules(self, symbol: Symbol) -> MarketRules:
        if symbol not in self.rule:
            raise MarketDataError(f"{symbol}: unknown")
        return self.rule[symbol]

    def change_rules(self, symbol: Symbol, **changes: object) -> None:
        """Let the venue change its filters."""
        self.rule[symbol] = replace(self.rule[symbol], **changes)  # type: ignore[arg-type]

    @property
    def pairs(self) -> dict[tuple[Symbol, Symbol], float]:
        """Correlations of all pairs."""
        return self._pairs  # type: ignore[return-value]

    def _quote(self, symbol: Symbol, at_ms: int, price: Decimal) -> Quote:
        depth = self.depth.get(symbol, DEEP)
        return Quote(symbol, price - HALF_SPREAD, price + HALF_SPREAD, price, from_ms(at_ms), "feed", depth, TURNOVER)

    def _bar(self, symbol: Symbol, minute: int) -> Bar:
        known = self._bars.get((symbol, minute))
        if known is None:
            open_ms, close_ms = minute * MINUTE_MS, (minute + 1) * MINUTE_MS
            changes = self._changes[symbol]
            before = [price for at_ms, price in changes if at_ms <= open_ms] or [changes[0][1]]
            prices = [before[-1], *(price for at_ms, price in changes if open_ms < at_ms < close_ms)]
            known = Bar(from_ms(open_ms), from_ms(close_ms), prices[0], max(prices), min(prices), prices[-1], VOLUME)
            self._bars[symbol, minute] = known
        return known

    def _require(self, symbol: Symbol) -> None:
        if symbol in self.down or symbol not in self.price:
            raise MarketDataError(f"{symbol}: no data", "data_unavailable")


class SimScanner:
    """Wants what the plan says at each scan."""

    def __init__(self, plan: Plan, market: SimMarket) -> None:
        self._plan = plan
        self._market = market
        self.calm = False

    def scan(self, now: datetime) -> ScanReport:
        at_ms = to_ms(now)
        wanted = () if self.calm else self._plan.wanted(at_ms)
        disliked = () if self.calm else self._plan.disliked(at_ms)
        buys = tuple(_opportunity(symbol, Action.BUY, now) for symbol in wanted)
        sells = tuple(_opportunity(symbol, Action.SELL, now) for symbol in disliked)
        return ScanReport(now, buys, sells, correlations=self._market.pairs)


def _opportunity(symbol: Symbol, action: Action, now: datetime) -> Opportunity:
    probabilities = Probabilities(0.1, 0.3, 0.6) if action is Action.BUY else Probabilities(0.6, 0.3, 0.1)
    signal = Signal(symbol, action, probabilities, now, data_source="live")
    return Opportunity(signal, None, score=8.0, atr_frac=0.01, volatility_frac=0.002)
