"""The generated market behind the venue's public REST dialect on loopback, at the present wall time.

Longer bars are not resampled with the project's own code: their volumes are exact sums of decimals, as the venue's.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from http.server import ThreadingHTTPServer

import numpy as np

from bn_ml.clock import SystemClock
from bn_ml.domain.market import MarketRules, Symbol, Timeframe, to_ms
from bn_ml.ports import Clock
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.open_source import synthetic_source
from tests.fakes.loopback_exchange import Failure, LoopbackExchange, Query

WEIGHTS = {
    "/api/v3/time": 1,
    "/api/v3/exchangeInfo": 20,
    "/api/v3/klines": 2,
    "/api/v3/depth": 5,
    "/api/v3/ticker/24hr": 2,
    "/api/v3/ticker/bookTicker": 2,
}
ALL_STATISTICS = 80
DAY_MS = Timeframe.D1.ms
_SCALE = 100_000

Answer = Callable[[object], Failure | object]


@dataclass
class Fault:
    """What happens to requests whose path ends so and that ask for one of these symbols (all when empty).

    `answer` turns the true answer into another one or into a `Failure`; `delay_s` holds it back first.
    """

    path: str
    symbols: frozenset[str] = frozenset()
    answer: Answer = field(default=lambda answer: answer)
    delay_s: float = 0.0

    def meets(self, path: str, query: Query) -> bool:
        return path.endswith(self.path) and (not self.symbols or query.get("symbol") in self.symbols)


class LiveMarket(LoopbackExchange):
    """Serves the generated market; can be stopped and started again at the same address."""

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None, latency_s: float = 0.0) -> None:
        self.clock: Clock = clock or SystemClock()
        super().__init__(to_ms(self.clock.now()))
        self.source = synthetic_source(settings or Settings.from_mapping({}), self.clock)
        self.markets = {symbol.base + symbol.quote: symbol for symbol in self.source.markets()}
        self.symbols = [_record(rules) for rules in self.source.markets().values()]
        self.latency_s = latency_s
        self.faults: list[Fault] = []
        self.moved = Decimal(1)
        self._cut = threading.Event()
        for symbol in self.markets.values():
            self.source.bars(symbol, Timeframe.M15, 0, 2**53)

    def stop(self) -> None:
        """Die: connections are refused until `start`."""
        self._cut.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def start(self) -> None:
        """Come back at the same address."""
        old = self._server
        self._cut.clear()
        self._server = ThreadingHTTPServer(old.server_address[:2], old.RequestHandlerClass)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def __enter__(self) -> LiveMarket:
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._cut.is_set():
            self.stop()

    def counted(self, since: int = 0) -> Counter[str]:
        """Count the requests since a place in the list, by the last part of their path."""
        return Counter(path.removeprefix("/api/v3/") for path, _ in self.requests[since:])

    def weight(self, since: int = 0) -> int:
        """Give what the venue counts for the requests since a place in the list."""
        return sum(
            ALL_STATISTICS if path.endswith("24hr") and "symbol" not in query else WEIGHTS[path]
            for path, query in self.requests[since:]
        )

    def failure(self, path: str, query: Query) -> Failure | None:
        pause = self.latency_s + sum(fault.delay_s for fault in self.faults if fault.meets(path, query))
        if pause:
            self._cut.wait(pause)
        if self._cut.is_set():
            return Failure(503, "")
        changed = self._changed(path, query, self._truth(path, query))
        return changed if isinstance(changed, Failure) else None

    def answer(self, path: str, query: Query) -> object:
        return self._changed(path, query, self._truth(path, query))

    def _changed(self, path: str, query: Query, truth: object) -> object:
        for fault in self.faults:
            if fault.meets(path, query) and truth is not None:
                truth = fault.answer(truth)
        return truth

    def _truth(self, path: str, query: Query) -> object:
        self.now_ms = to_ms(self.clock.now())
        symbol = self.markets.get(query.get("symbol", ""))
        if "symbol" in query and symbol is None:
            return None
        match path:
            case "/api/v3/klines" if symbol is not None:
                return self._rows(symbol, query)
            case "/api/v3/depth" if symbol is not None:
                return self._depth(symbol)
            case "/api/v3/ticker/24hr":
                return self._day(symbol) if symbol is not None else [self._day(name) for name in self.markets.values()]
        return super().answer(path, query)

    def _day(self, symbol: Symbol) -> dict[str, str]:
        quote = self.source.quote(symbol)
        last = quote.last * self.moved
        name = symbol.base + symbol.quote
        return {"symbol": name, "lastPrice": f"{last:f}", "quoteVolume": str(quote.volume_24h_quote)}

    def _depth(self, symbol: Symbol) -> object:
        quote = self.source.quote(symbol)
        each = quote.depth_quote / 2 / quote.middle
        rules = self.source.markets()[symbol]
        bid, ask = (_on(price * self.moved, rules.tick) for price in (quote.bid, quote.ask))
        quantity = f"{each:.8f}"
        return {"lastUpdateId": self.now_ms, "bids": [[f"{bid:f}", quantity]], "asks": [[f"{ask:f}", quantity]]}

    def _rows(self, symbol: Symbol, query: Query) -> list[list[object]]:
        timeframe = Timeframe(query["interval"])
        start, end = int(query.get("startTime", 0)), int(query.get("endTime", 2**53)) + 1
        limit = int(query.get("limit", 500))
        first = -(-start // timeframe.ms) * timeframe.ms
        end = min(end, first + limit * timeframe.ms)
        fine = Timeframe.M1 if timeframe.ms < Timeframe.M15.ms else Timeframe.M15
        parts = self.source.bars(symbol, fine, first, -(-end // timeframe.ms) * timeframe.ms)
        rows = _klines(parts, timeframe)
        return [row for row in (*rows, *self._forming(symbol, timeframe, rows)) if first <= _int(row[0]) < end][:limit]

    def _forming(self, symbol: Symbol, timeframe: Timeframe, rows: list[list[object]]) -> list[list[object]]:
        """Give the running bar when nothing of it has closed yet."""
        opened = self.now_ms // timeframe.ms * timeframe.ms
        if rows and _int(rows[-1][0]) >= opened:
            return []
        last = f"{self.source.quote(symbol).last:f}"
        return [[opened, last, last, last, last, "0.50000000", opened + timeframe.ms - 1, "1", 1, "0", "0", "0"]]


def stale_by(bars: int) -> Answer:
    """Leave out the newest rows of an answer."""
    return lambda rows: rows[: len(rows) - bars] if isinstance(rows, list) else rows


def names(symbols: Iterable[str]) -> frozenset[str]:
    """Give the venue's names of symbols."""
    return frozenset(symbol.replace("/", "") for symbol in symbols)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look again and again until the condition holds or the time is up; says whether it held."""
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    while not condition():
        if clock.monotonic() > deadline:
            return False
        clock.sleep_until(clock.now() + timedelta(seconds=0.05))
    return True


def _klines(parts: Bars, timeframe: Timeframe) -> list[list[object]]:
    if not len(parts):
        return []
    period = parts.open_time // timeframe.ms
    first = np.flatnonzero(np.diff(period, prepend=period[0] - 1))
    last = np.append(first[1:], len(parts)) - 1
    units = np.add.reduceat(np.rint(parts.volume * _SCALE).astype(np.int64), first)
    columns = (
        (period[first] * timeframe.ms).tolist(),
        parts.open[first].tolist(),
        np.maximum.reduceat(parts.high, first).tolist(),
        np.minimum.reduceat(parts.low, first).tolist(),
        parts.close[last].tolist(),
        units.tolist(),
        np.add.reduceat(parts.quote_volume, first).tolist(),
        np.add.reduceat(parts.trades, first).tolist(),
    )
    return [
        [t, *map(_text, prices), f"{Decimal(v) / _SCALE:f}", t + timeframe.ms - 1, _text(q), n, "0", "0", "0"]
        for t, *prices, v, q, n in zip(*columns, strict=True)
    ]


def _record(rules: MarketRules) -> dict[str, object]:
    symbol = rules.symbol
    return {
        "symbol": symbol.base + symbol.quote,
        "status": "TRADING",
        "baseAsset": symbol.base,
        "quoteAsset": symbol.quote,
        "isSpotTradingAllowed": True,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": f"{rules.min_price:f}",
                "maxPrice": f"{rules.max_price:f}",
                "tickSize": f"{rules.tick:f}",
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": f"{rules.min_quantity:f}",
                "maxQty": f"{rules.max_quantity:f}",
                "stepSize": f"{rules.step:f}",
            },
            {"filterType": "NOTIONAL", "minNotional": f"{rules.min_notional:f}", "applyMinToMarket": True},
        ],
    }


def _text(number: float) -> str:
    return f"{number:.8f}"


def _on(price: Decimal, tick: Decimal) -> Decimal:
    return (price / tick).to_integral_value() * tick


def _int(value: object) -> int:
    return int(str(value))
