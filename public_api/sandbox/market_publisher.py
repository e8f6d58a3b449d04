"""What each market stream has to say at an instant, and nothing twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.venue.liquidity import Level
from public_api.sandbox import stream_payloads as payloads
from public_api.sandbox.answers import Json, Row
from public_api.sandbox.dialect import Dialect
from public_api.sandbox.kline_rows import open_of
from public_api.sandbox.listings import wire
from public_api.sandbox.market_answers import depth, depth_of
from public_api.sandbox.market_data import INTERVAL_MS, Span

ALL_MINI_TICKERS = "!miniTicker@arr"
_KLINE_EVERY_MS = 2000
_MOST_CLOSED = 20
_MOST_TRADES = 100
_PARTIAL_DEPTH = re.compile(r"depth(5|10|20)(@100ms|@1000ms)?")
_DIFF_DEPTH = ("depth", "depth@100ms", "depth@1000ms")

Prices = dict[Decimal, Decimal]
_Maker = Callable[[str, Symbol, int], Sequence[Row]]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a stream's subscribers know.

    `marker` tells news from old; `at_ms` is the instant (or the id) of the last push, `begun_ms` the open of the
    interval it was about.
    """

    marker: object = None
    at_ms: int = 0
    begun_ms: int = 0
    book: tuple[Prices, Prices] = ({}, {})


class MarketPublisher:
    """Makes the events of streams by name, such as `btcusdc@kline_15m`; names that mean nothing stay silent."""

    def __init__(self, dialect: Dialect) -> None:
        """Publish what the REST answers of the same instant say."""
        self._dialect = dialect
        self._told: dict[str, _Told] = {}
        self._makers: dict[str, _Maker] = {
            "miniTicker": self._mini_ticker,
            "ticker": self._ticker,
            "bookTicker": self._book_ticker,
            "trade": self._trades,
            "aggTrade": self._trades,
        }
        self._makers |= dict.fromkeys(_DIFF_DEPTH, self._depth_changes)

    def begin(self, streams: Collection[str], now_ms: int) -> None:
        """Take note of the books as they are when somebody begins to listen, so that changes start from there."""
        named = {wire(symbol).lower(): symbol for symbol in self._listed()}
        for stream in streams:
            name, _, kind = stream.partition("@")
            if kind in _DIFF_DEPTH and name in named and stream not in self._told:
                self._told[stream] = _Told(at_ms=now_ms, book=self._levels(named[name]))

    def due(self, streams: Collection[str], now_ms: int) -> Mapping[str, Sequence[Json]]:
        """Give the news of the streams somebody listens to; a stream nobody listens to is forgotten."""
        for stream in self._told.keys() - set(streams) - {f"{ALL_MINI_TICKERS}:{symbol}" for symbol in self._listed()}:
            del self._told[stream]
        named = {wire(symbol).lower(): symbol for symbol in self._listed()}
        found: dict[str, Sequence[Json]] = {}
        for stream in streams:
            news = self._news(stream, named, now_ms)
            if news:
                found[stream] = news
        return found

    def _listed(self) -> list[Symbol]:
        return sorted(self._dialect.venue.state.rules)

    def _news(self, stream: str, named: Mapping[str, Symbol], now_ms: int) -> Sequence[Json]:
        if stream == ALL_MINI_TICKERS:
            changed = [self._mini_ticker(f"{stream}:{symbol}", symbol, now_ms) for symbol in named.values()]
            rows: list[Json] = [row for part in changed for row in part]
            return [rows] if rows else []
        name, _, kind = stream.partition("@")
        symbol = named.get(name)
        if symbol is None or symbol not in self._dialect.venue.state.books:
            return ()
        if kind.startswith("kline_"):
            return self._klines(stream, symbol, now_ms)
        partial = _PARTIAL_DEPTH.fullmatch(kind)
        if partial:
            return self._depth(stream, symbol, int(partial[1]), now_ms)
        maker = self._makers.get(kind)
        return maker(stream, symbol, now_ms) if maker else ()

    def _klines(self, stream: str, symbol: Symbol, now_ms: int) -> Sequence[Row]:
        interval = stream.partition("@kline_")[2]
        if interval not in INTERVAL_MS:
            return ()
        running_ms = open_of(now_ms, interval)
        told = self._told.get(stream)
        begun_ms = running_ms if told is None else told.begun_ms
        if (
            told is not None
            and begun_ms == running_ms
            and now_ms - told.at_ms < min(_KLINE_EVERY_MS, INTERVAL_MS[interval])
        ):
            return ()
        self._told[stream] = _Told(at_ms=now_ms, begun_ms=running_ms)
        span = Span(max(begun_ms, running_ms - _MOST_CLOSED * INTERVAL_MS[interval]), None, _MOST_CLOSED + 1)
        klines = self._dialect.desk.markets.klines(symbol, interval, span, now_ms)
        return [payloads.kline_event(symbol, interval, kline, now_ms) for kline in klines]

    def _mini_ticker(self, stream: str, symbol: Symbol, now_ms: int) -> Sequence[Row]:
        book = self._dialect.venue.state.books.get(symbol)
        if book is None or not self._is_news(stream, (book.last, book.at_ms)):
            return ()
        day = self._dialect.desk.markets.day(symbol, now_ms)
        return [payloads.mini_ticker(symbol, day)] if day else ()

    def _ticker(self, stream: str, symbol: Symbol, now_ms: int) -> Sequence[Row]:
        book = self._dialect.venue.state.books[symbol]
        bids, asks = self._book(symbol)
        if not (bids and asks) or not self._is_news(stream, (book.last, book.at_ms)):
            return ()
        day = self._dialect.desk.markets.day(symbol, now_ms)
        return [payloads.ticker(symbol, day, (bids[0], asks[0]))] if day else ()

    def _book_ticker(self, stream: str, symbol: Symbol, now_ms: int) -> Sequence[Row]:
        bids, asks = self._book(symbol)
        if not (bids and asks) or not self._is_news(stream, (bids[0], asks[0])):
            return ()
        return [payloads.book_ticker(symbol, (bids[0], asks[0]), now_ms)]

    def _trades(self, stream: str, symbol: Symbol, now_ms: int) -> Sequence[Row]:
        tape = self._dialect.desk.markets.trades(symbol, _MOST_TRADES, now_ms)
        told = self._told.get(stream)
        self._told[stream] = _Told(at_ms=tape[-1].trade_id if tape else 0)
        if told is None:
            tape = tape[-1:]
        make = payloads.agg_trade_event if stream.endswith("@aggTrade") else payloads.trade_event
        return [make(symbol, trade, now_ms) for trade in tape if told is None or trade.trade_id > told.at_ms]

    def _depth(self, stream: str, symbol: Symbol, levels: int, now_ms: int) -> Sequence[Row]:
        book = depth_of(self._dialect.desk, symbol)
        return [depth(book, now_ms, levels)] if self._is_news(stream, book) else ()

    def _depth_changes(self, stream: str, symbol: Symbol, now_ms: int) -> Sequence[Row]:
        """Give what changed since the push before."""
        bids, asks = self._levels(symbol)
        told = self._told.get(stream, _Told())
        changed = (_changes(told.book[0], bids), _changes(told.book[1], asks))
        if not (changed[0] or changed[1]):
            return ()
        newest = max(now_ms, told.at_ms + 1)
        self._told[stream] = _Told(at_ms=newest, book=(bids, asks))
        return [payloads.depth_update(symbol, changed, (told.at_ms + 1, newest), now_ms)]

    def _levels(self, symbol: Symbol) -> tuple[Prices, Prices]:
        bids, asks = ({level.price: level.quantity for level in side} for side in self._book(symbol))
        return bids, asks

    def _book(self, symbol: Symbol) -> tuple[Sequence[Level], Sequence[Level]]:
        book = depth_of(self._dialect.desk, symbol)
        return book.bids, book.asks

    def _is_news(self, stream: str, marker: object) -> bool:
        told = self._told.get(stream)
        self._told[stream] = _Told(marker)
        return told is None or told.marker != marker


def _changes(before: Prices, after: Prices) -> Prices:
    gone = dict.fromkeys(before.keys() - after.keys(), ZERO)
    return {price: quantity for price, quantity in after.items() if before.get(price) != quantity} | gone
