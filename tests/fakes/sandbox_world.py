"""A sandbox dialect over a tiny market, and a client that signs what it sends."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.venue.account import FeeRates
from bn_ml.venue.filters import AccountLimits
from bn_ml.venue.liquidity import Liquidity
from public_api.sandbox.dialect import Dialect
from public_api.sandbox.limits import LimitSettings
from public_api.sandbox.market_data import INTERVAL_MS, DayTicker, Kline, PublicTrade, Span
from public_api.sandbox.requests import Request, Response
from tests.fakes import venue_world
from tests.fakes.venue_world import START, SYMBOL

KEY = "sandbox-key-of-the-tests"
SECRET = "sandbox-secret-of-the-tests"
NOW = to_ms(START)
PAYLOADS = Path(__file__).resolve().parents[3] / "shared" / "binance" / "payloads"


class MemoryMarket:
    """Flat klines at 100 since long ago, one trade a minute."""

    def klines(self, symbol: Symbol, interval: str, span: Span, now_ms: int) -> Sequence[Kline]:
        length = INTERVAL_MS[interval]
        last = min(now_ms, span.end_ms if span.end_ms is not None else now_ms) // length * length
        first = last - (span.limit - 1) * length
        if span.start_ms is not None:
            first = -(-span.start_ms // length) * length
            last = min(last, first + (span.limit - 1) * length)
        price, volume = Decimal(100), Decimal(7)
        return [
            Kline(at, at + length - 1, price, price + 1, price - 1, price, volume, volume * price, 7, volume, volume)
            for at in range(first, last + 1, length)
        ]

    def day(self, symbol: Symbol, now_ms: int) -> DayTicker | None:
        price = Decimal(100)
        low, high = price - 1, price + 1
        day_ago = now_ms - 86_400_000
        return DayTicker(
            day_ago, now_ms, price, high, low, price, Decimal(1), Decimal(10), Decimal(1000), first_id=1, last_id=9
        )

    def trades(self, symbol: Symbol, limit: int, now_ms: int) -> Sequence[PublicTrade]:
        minute = now_ms // 60_000
        return [
            PublicTrade(number, Decimal(100), Decimal(1), number * 60_000, number % 2 == 0)
            for number in range(minute - limit + 1, minute + 1)
        ]


class Client:
    """Signs and sends; `now_ms` is both the client's and the server's clock."""

    def __init__(self, dialect: Dialect, now_ms: int = NOW) -> None:
        self.dialect = dialect
        self.now_ms = now_ms

    def send(
        self, method: str, path: str, params: Mapping[str, object] | None = None, *, engine_ms: int | None = None
    ) -> Response:
        return self.dialect.handle(signed(method, path, params or {}, self.now_ms), self.now_ms, engine_ms=engine_ms)

    def ask(self, path: str, **params: object) -> Any:
        request = Request("GET", path, urlencode(params))
        return body_of(self.dialect.handle(request, self.now_ms))

    def get(self, path: str, **params: object) -> Any:
        return body_of(self.send("GET", path, params))

    def post(self, path: str, **params: object) -> Any:
        return body_of(self.send("POST", path, params))

    def delete(self, path: str, **params: object) -> Any:
        return body_of(self.send("DELETE", path, params))

    def put(self, path: str, **params: object) -> Any:
        return body_of(self.send("PUT", path, params))

    def buy(self, quantity: str = "1", **params: object) -> Any:
        return self.order(side="BUY", type="MARKET", quantity=quantity, **params)

    def sell(self, quantity: str = "1", **params: object) -> Any:
        return self.order(side="SELL", type="MARKET", quantity=quantity, **params)

    def order(self, **params: object) -> Any:
        return self.post("/api/v3/order", **{"symbol": "ABCUSDT", **params})

    def limit(self, side: str, price: str, quantity: str = "1", **params: object) -> Any:
        return self.order(side=side, type="LIMIT", timeInForce="GTC", price=price, quantity=quantity, **params)

    def oco(self, target: str = "110", stop: str = "95", quantity: str = "1", **params: object) -> Any:
        given = {
            "symbol": "ABCUSDT",
            "side": "SELL",
            "quantity": quantity,
            "aboveType": "LIMIT_MAKER",
            "abovePrice": target,
            "belowType": "STOP_LOSS",
            "belowStopPrice": stop,
        }
        return self.post("/api/v3/orderList/oco", **{**given, **params})

    def quote(self, last: str, *, depth: str = "2000000", spread: str = "0.02") -> None:
        self.now_ms += 1000
        self.dialect.venue.on_quote(venue_world.quote(last, at=from_ms(self.now_ms), spread=spread, depth=depth))

    def free(self, asset: str) -> Decimal:
        return self.dialect.venue.state.account.of(asset).free


def signed(method: str, path: str, params: Mapping[str, object], now_ms: int, *, secret: str = SECRET) -> Request:
    encoded = urlencode({**params, "timestamp": now_ms} if "timestamp" not in params else dict(params))
    signature = hmac.new(secret.encode(), encoded.encode(), hashlib.sha256).hexdigest()
    text = f"{encoded}&signature={signature}"
    query, body = (text, "") if method in ("GET", "DELETE") else ("", text)
    return Request(method, path, query, body, {"X-MBX-APIKEY": KEY})


def sandbox(
    *,
    usdt: str = "10000",
    base: str = "0",
    fees: FeeRates | None = None,
    liquidity: Liquidity | None = None,
    account_limits: AccountLimits | None = None,
    limits: LimitSettings | None = None,
    recoded: Mapping[str, int] | None = None,
) -> Client:
    venue = venue_world.venue(usdt=usdt, base=base, fees=fees, liquidity=liquidity, limits=account_limits)
    return Client(Dialect(venue, MemoryMarket(), {KEY: SECRET}, limits=limits, recoded=recoded))


def body_of(response: Response) -> Any:
    return json.loads(response.body)


__all__ = [
    "KEY",
    "NOW",
    "PAYLOADS",
    "SECRET",
    "START",
    "SYMBOL",
    "Client",
    "MemoryMarket",
    "body_of",
    "sandbox",
    "signed",
]
