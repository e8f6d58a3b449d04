"""A small exchange on loopback speaking the public REST dialect of Binance Spot, fed by bars in memory."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

from bn_ml.domain.market import Timeframe
from data_manager.bars import Bars

Query = dict[str, str]


def symbol_record(base: str, quote: str) -> dict[str, object]:
    """One record of exchangeInfo with the usual filters."""
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "isSpotTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001000"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "97.0", "stepSize": "0.00000000"},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.0",
            },
        ],
    }


@dataclass
class Failure:
    """One scripted answer in place of the true one."""

    status: int
    body: str
    headers: Query = field(default_factory=dict)


class LoopbackExchange:
    """Serves klines, depth, 24 h statistics, rules and time; keeps every request and obeys scripted failures."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.series: dict[tuple[str, str], Bars] = {}
        self.symbols = [symbol_record("BTC", "USDC"), symbol_record("ETH", "USDC")]
        self.turnovers: Query = {}
        self.requests: list[tuple[str, Query]] = []
        self.failures: list[Failure] = []
        self.used_weight = 1
        self.book = {
            "lastUpdateId": 1,
            "bids": [["100.00", "2"], ["98.50", "5"]],
            "asks": [["100.02", "1"], ["102", "9"]],
        }
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> LoopbackExchange:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, bars: Bars) -> None:
        self.series[(bars.symbol.base + bars.symbol.quote, bars.timeframe.value)] = bars

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def failure(self, path: str, query: Query) -> Failure | None:
        """Give the scripted answer to this request, None for the true one."""
        del path, query
        return self.failures.pop(0) if self.failures else None

    def answer(self, path: str, query: Query) -> object:
        match path:
            case "/api/v3/time":
                return {"serverTime": self.now_ms}
            case "/api/v3/exchangeInfo":
                return {"timezone": "UTC", "serverTime": self.now_ms, "rateLimits": [], "symbols": self.symbols}
            case "/api/v3/klines":
                return self._klines(query)
            case "/api/v3/depth":
                return self.book
            case "/api/v3/ticker/24hr":
                return self._statistics(query["symbol"]) if "symbol" in query else self._all_statistics()
        return None

    def _statistics(self, name: str) -> dict[str, str]:
        volume = self.turnovers.get(name, "2500000.5")
        return {"symbol": name, "lastPrice": "100.01", "quoteVolume": volume, "volume": "25000"}

    def _all_statistics(self) -> object:
        return [self._statistics(str(record["symbol"])) for record in self.symbols]

    def _klines(self, query: Query) -> object:
        bars = self.series.get((query["symbol"], query["interval"]))
        if bars is None:
            return None
        length = Timeframe(query["interval"]).ms
        end = min(int(query.get("endTime", 2**62)) + 1, self.now_ms)
        part = bars.between(int(query.get("startTime", 0)), end)
        part = part.rows(0, int(query.get("limit", 500)))
        columns = (
            part.open_time,
            part.open,
            part.high,
            part.low,
            part.close,
            part.volume,
            part.quote_volume,
            part.trades,
        )
        return [
            [t, str(o), str(h), str(low), str(c), str(v), t + length - 1, str(q), n, "0", "0", "0"]
            for t, o, h, low, c, v, q, n in zip(*(column.tolist() for column in columns), strict=True)
        ]


def _handler(exchange: LoopbackExchange) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlparse(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            exchange.requests.append((url.path, query))
            failure = exchange.failure(url.path, query)
            if failure is not None:
                self._send(failure.status, failure.body.encode(), failure.headers)
                return
            answer = exchange.answer(url.path, query)
            if answer is None:
                self._send(400, b'{"code":-1121,"msg":"Invalid symbol."}', {})
            else:
                self._send(200, json.dumps(answer).encode(), {})

        def _send(self, status: int, body: bytes, headers: Query) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-mbx-used-weight-1m", str(exchange.used_weight))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
