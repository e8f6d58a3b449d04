"""The venue's public market data: closed bars, quotes with depth, rules."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from urllib.parse import urlparse

import numpy as np

from bn_ml.domain.market import ZERO, MarketRules, Quote, Symbol, Timeframe, from_ms, to_ms
from bn_ml.errors import ExchangeError, MarketDataError
from bn_ml.exchange import KLINES_PER_REQUEST, PING_TIMEOUT_MS, ExchangeReader
from bn_ml.exchange_info import parse_exchange_info
from bn_ml.patience import Patience
from bn_ml.ports import Clock
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_names import venue_name
from bn_ml.weight import WeightMeter
from data_manager.bars import Bars, empty_bars
from data_manager.resampling import floor_ms

log = logging.getLogger(__name__)

_RULES_AGE = timedelta(hours=1)
_RULES_RETRY = timedelta(minutes=1)
_DEPTH_WITHIN = Decimal("0.01")
_MARKET_HOSTS = (".binance.com", "data-api.binance.vision")


CONCURRENCY = 8
CONCURRENCY_BESIDE_ORDERS = 4
"""Requests on their way cannot be called back when the venue asks to stay away: where a ban would keep orders from
being sent, few are let go at once. Several ignored 429 make a 418."""


class BinanceSource:
    """Live market data without a key.

    It, its bars and its quotes are named `binance_testnet` or `binance_sandbox` when they come from there.
    `ExchangeError` comes through where the venue fails as a whole.
    """

    notice = ""

    def __init__(
        self,
        settings: ExchangeSettings,
        clock: Clock,
        *,
        offset_ms: int = 0,
        weight: WeightMeter | None = None,
        patience: Patience | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        """Nothing is sent yet; `offset_ms` is the venue's clock minus ours.

        `weight` is the request weight shared with whatever else this process sends, bans included; `patience` that of
        the process's start, while it lasts; `concurrency` how many requests may be on their way at once.
        """
        self.concurrency = concurrency
        self._reader = ExchangeReader(settings, clock, weight=weight, patience=patience)
        self._clock = clock
        self._offset_ms = offset_ms
        self.name = _label(settings)
        self._rules: tuple[datetime, Mapping[Symbol, MarketRules]] | None = None
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, settings: ExchangeSettings, clock: Clock, weight: WeightMeter | None = None) -> BinanceSource:
        """Open the source if the venue answers now, tried once and briefly; raises `ExchangeError` otherwise."""
        hurried = {"retry_attempts": 0, "timeout_ms": min(settings.timeout_ms, PING_TIMEOUT_MS)}
        probe = ExchangeReader(settings.model_copy(update=hurried), clock, weight=weight)
        sent = to_ms(clock.now())
        served = probe.server_time()
        return cls(settings, clock, offset_ms=served - (sent + to_ms(clock.now())) // 2, weight=weight)

    @property
    def weight(self) -> WeightMeter:
        """The request weight it draws on, alone or together with orders."""
        return self._reader.weight

    @property
    def offset_ms(self) -> int:
        """The venue's clock minus ours, measured when connecting and whenever the rules are asked for."""
        return self._offset_ms

    @property
    def banned_until(self) -> datetime | None:
        """The instant before which the venue wants to hear nothing, None when it never said so."""
        return self._reader.weight.banned_until

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`, over as many requests as that takes."""
        now_ms = to_ms(self._clock.now()) + self._offset_ms
        end = min(end_ms, floor_ms(now_ms, timeframe))
        rows: list[Sequence[object]] = []
        start = start_ms
        while start < end:
            page = self._reader.klines(symbol, timeframe, start, end)
            rows += page
            if len(page) < KLINES_PER_REQUEST:
                break
            start = int(str(page[-1][0])) + timeframe.ms
        return _bars(symbol, timeframe, rows, self.name).closed_by(now_ms)

    def quote(self, symbol: Symbol) -> Quote:
        """Give best prices and depth from the order book, last price and turnover from the 24 h statistics.

        `at` is the instant the request left, so the quote is never older than it says. Depth is what the best 100
        levels a side show within 1 % of the middle: a lower bound.
        """
        at = self._clock.now()
        book = self._reader.depth(symbol)
        statistics = self._reader.ticker(symbol)
        try:
            if statistics["symbol"] != venue_name(symbol):
                raise MarketDataError(f"{symbol}: the exchange answered for {statistics['symbol']}")
            bids, asks = _levels(book, "bids"), _levels(book, "asks")
            if not bids or not asks:
                raise MarketDataError(f"{symbol}: the order book has an empty side", "data_unavailable")
            bid, ask = bids[0][0], asks[0][0]
            return Quote(
                symbol=symbol,
                bid=bid,
                ask=ask,
                last=Decimal(str(statistics["lastPrice"])),
                at=at,
                source=self.name,
                depth_quote=_depth((*bids, *asks), (bid + ask) / 2),
                volume_24h_quote=Decimal(str(statistics["quoteVolume"])),
            )
        except (KeyError, IndexError, TypeError, ValueError, InvalidOperation) as error:
            raise MarketDataError(f"{symbol}: unusable quote: {error}", "data_unavailable") from error

    def markets(self) -> Mapping[Symbol, MarketRules]:
        """Give the rules of every symbol, asked for again after an hour; while that fails the known ones stay."""
        now = self._clock.now()
        with self._lock:
            if self._rules is None:
                self._rules = (now, self._asked_rules())
            elif now - self._rules[0] >= _RULES_AGE:
                try:
                    self._rules = (now, self._asked_rules())
                except (ExchangeError, MarketDataError) as error:
                    log.warning("the rules of the exchange could not be renewed error=%s", error)
                    self._rules = (now - _RULES_AGE + _RULES_RETRY, self._rules[1])
            return self._rules[1]

    def turnovers(self) -> Mapping[Symbol, Decimal]:
        """Give the turnover of the last 24 h from one request for all symbols; what cannot be read is left out."""
        symbols = {venue_name(symbol): symbol for symbol in self.markets()}
        found: dict[Symbol, Decimal] = {}
        for statistics in self._reader.tickers():
            name, turnover = _turnover(statistics)
            if turnover is not None and name in symbols:
                found[symbols[name]] = turnover
        if symbols and not found:
            raise MarketDataError("the 24 h statistics of all symbols hold no usable turnover", "data_unavailable")
        return found

    def listed_at(self, symbol: Symbol) -> datetime | None:
        """Give the opening of the symbol's first day."""
        rows = self._reader.first_bar(symbol, Timeframe.D1)
        try:
            return from_ms(int(str(rows[0][0]))) if rows else None
        except (IndexError, ValueError) as error:
            raise MarketDataError(f"{symbol}: malformed first bar: {error}", "data_unavailable") from error

    def _asked_rules(self) -> Mapping[Symbol, MarketRules]:
        asked = to_ms(self._clock.now())
        answer = self._reader.exchange_info()
        told = to_ms(self._clock.now())
        rules = parse_exchange_info(answer).rules
        # The venue looked at its clock somewhere in between: only what that rules out is corrected.
        served = _server_time(answer, self._offset_ms + asked)
        self._offset_ms = min(max(self._offset_ms, served - told), served - asked)
        return rules

    def path(self, symbol: Symbol, since_ms: int, until_ms: int) -> Bars:
        """Give the closed 1-minute bars inside a span."""
        return self.bars(symbol, Timeframe.M1, since_ms, until_ms - Timeframe.M1.ms + 1)


def _label(settings: ExchangeSettings) -> str:
    """Give the word bars and quotes carry: prices of the test network or of another address are not the market's."""
    if settings.base_url is None:
        return "binance_testnet" if settings.testnet else "binance"
    host = urlparse(settings.base_url).hostname or ""
    return "binance" if host.endswith(_MARKET_HOSTS) else "binance_sandbox"


def _server_time(answer: Mapping[str, object], otherwise: int) -> int:
    told = answer.get("serverTime")
    return told if isinstance(told, int) else otherwise


def _bars(symbol: Symbol, timeframe: Timeframe, rows: Sequence[Sequence[object]], source: str) -> Bars:
    if not rows:
        return empty_bars(symbol, timeframe, source)
    try:
        times = np.array([int(str(row[0])) for row in rows], dtype=np.int64)
        numbers = np.array([[float(str(row[place])) for place in (1, 2, 3, 4, 5, 7)] for row in rows])
        trades = np.array([int(str(row[8])) for row in rows], dtype=np.int64)
    except (IndexError, ValueError) as error:
        raise MarketDataError(f"{symbol} {timeframe.value}: malformed bars: {error}", "data_unavailable") from error
    opened, high, low, close, volume, quote_volume = np.ascontiguousarray(numbers.T)
    return Bars(symbol, timeframe, times, opened, high, low, close, volume, source, quote_volume, trades)


def _turnover(statistics: object) -> tuple[str, Decimal | None]:
    """Read one symbol's 24 h statistics: the venue's name of it, and its turnover, None when that is no number."""
    if not isinstance(statistics, Mapping):
        return "", None
    try:
        turnover = Decimal(str(statistics.get("quoteVolume")))
    except InvalidOperation:
        turnover = Decimal("NaN")
    return str(statistics.get("symbol")), turnover if turnover.is_finite() else None


def _levels(book: Mapping[str, object], side: str) -> list[tuple[Decimal, Decimal]]:
    levels = book[side]
    if not isinstance(levels, list):
        raise TypeError(f"{side} is no list")
    return [(Decimal(str(level[0])), Decimal(str(level[1]))) for level in levels]


def _depth(levels: Sequence[tuple[Decimal, Decimal]], middle: Decimal) -> Decimal:
    reach = middle * _DEPTH_WITHIN
    return sum((price * quantity for price, quantity in levels if abs(price - middle) <= reach), ZERO)
