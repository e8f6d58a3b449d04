"""The only user of `ccxt`: builds the client, paces and repeats reads, and turns its errors into ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from queue import Empty, LifoQueue
from typing import TypeVar, cast

import ccxt

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import ExchangeError, MarketDataError, OutcomeUnknown, Refused, Transient, Unreachable
from bn_ml.outage import OutageWatch
from bn_ml.ports import Clock
from bn_ml.settings import ExchangeSettings
from bn_ml.weight import WeightMeter

KLINES_PER_REQUEST = 1000
PING_TIMEOUT_MS = 5000
TESTNET_URL = "https://testnet.binance.vision"
_ONE_REQUEST_OPTIONS: Mapping[str, object] = {
    "defaultType": "spot",
    "fetchMarkets": {"types": ["spot"]},
    "fetchCurrencies": False,
    "fetchMargins": False,
}
_CODE = re.compile(r'"code"\s*:\s*(-?\d+)')
_USED_WEIGHT = "x-mbx-used-weight-1m"
_DEFAULT_BAN_S = 60.0
_NOT_PLACED = (
    ccxt.InvalidOrder,
    ccxt.InsufficientFunds,
    ccxt.BadRequest,
    ccxt.AuthenticationError,
    ccxt.PermissionDenied,
    ccxt.MarketClosed,
    ccxt.InvalidNonce,
    ccxt.DDoSProtection,
    ccxt.RateLimitExceeded,
    ccxt.NotSupported,
)

Json = Mapping[str, object]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Key and secret of an account; never printed."""

    key: str
    secret: str


def build_client(
    settings: ExchangeSettings, *, credentials: Credentials | None = None, testnet: bool | None = None
) -> ccxt.binance:
    """Build a spot client that needs one request to know its markets and never repeats a request by itself.

    `testnet` overrides the setting. With `base_url` every address of the client leads there, so that no call can leave
    for anywhere else. Without credentials only public data can be read.
    """
    options: dict[str, object] = {
        "timeout": settings.timeout_ms,
        "enableRateLimit": settings.enableRateLimit,
        "rateLimit": settings.rate_limit_ms,
        "options": {**_ONE_REQUEST_OPTIONS, "recvWindow": settings.recv_window_ms},
    }
    if credentials is not None:
        options |= {"apiKey": credentials.key, "secret": normal_secret(credentials.secret)}
    client = ccxt.binance(options)
    base_url = settings.base_url
    if base_url is None and (settings.testnet if testnet is None else testnet):
        base_url = TESTNET_URL
    if base_url is not None:
        _redirect(client, base_url.rstrip("/"))
    return client


def normal_secret(secret: str) -> str:
    """Give a secret without surrounding blanks and with plain line ends, as key files should have been."""
    return secret.strip().replace("\r\n", "\n")


def venue_id(symbol: Symbol) -> str:
    """Give the venue's own name of a symbol.

    >>> venue_id(Symbol("BTC/USDC"))
    'BTCUSDC'
    """
    return symbol.base + symbol.quote


def read_error(error: ccxt.BaseError) -> ExchangeError | MarketDataError:
    """Say what a failed read means: repeatable (`Transient`), an unknown symbol, or neither."""
    if isinstance(error, ccxt.BadSymbol):
        return MarketDataError(f"the exchange does not know the symbol: {error}", "data_unavailable")
    if isinstance(error, ccxt.OperationFailed):
        return Transient(f"{type(error).__name__}: {error}")
    return ExchangeError(f"{type(error).__name__}: {error}")


def order_error(error: ccxt.BaseError) -> ExchangeError:
    """Say what a failed order or cancel means.

    `Refused` only where the venue surely did not act, else `OutcomeUnknown`.
    """
    text = str(error)
    if isinstance(error, _NOT_PLACED):
        return Refused(text, error_code(text))
    return OutcomeUnknown(f"{type(error).__name__}: {text}")


def error_code(text: str) -> int:
    """Give the venue's error number in a message, 0 when there is none.

    >>> error_code('binance {"code":-1013,"msg":"Filter failure: NOTIONAL"}')
    -1013
    """
    found = _CODE.search(text)
    return int(found[1]) if found else 0


class ExchangeReader:
    """Public data of the venue, safe for several threads.

    Reads are repeated with a doubling pause within the settings, and wait when this process's share of the venue's
    request weight is used up. Raises `Transient` when repeating did not help, `Unreachable` while the venue as a whole
    does not answer or asked to stay away, `MarketDataError` for an unknown symbol, else `ExchangeError`.
    """

    def __init__(self, settings: ExchangeSettings, clock: Clock) -> None:
        """Nothing is sent yet; a client serves one call at a time and is kept, with its connection, for later ones."""
        self._settings = settings
        self._clock = clock
        self._idle: LifoQueue[ccxt.binance] = LifoQueue()
        self.weight = WeightMeter(clock, settings.weight_budget_pct)
        self._outage = OutageWatch(clock, self._ping)

    def server_time(self) -> int:
        """Give the venue's clock, ms since 1970."""
        answer = self._read(lambda client: _mapping(client.publicGetTime()), 1)
        return int(str(answer["serverTime"]))

    def exchange_info(self) -> Json:
        """Give the rules of all symbols."""
        return self._read(lambda client: _mapping(client.publicGetExchangeInfo()), 20)

    def klines(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Sequence[object]]:
        """Give up to 1000 raw bars, the earliest first, with `start_ms <= open time < end_ms`; the last may be open."""
        request = {
            "symbol": venue_id(symbol),
            "interval": timeframe.value,
            "startTime": start_ms,
            "endTime": end_ms - 1,
            "limit": KLINES_PER_REQUEST,
        }
        return self._read(lambda client: _rows(client.publicGetKlines(request)), 2)

    def first_bar(self, symbol: Symbol, timeframe: Timeframe) -> list[Sequence[object]]:
        """Give the very first raw bar of a symbol, alone in a list; an empty list before any trade."""
        request = {"symbol": venue_id(symbol), "interval": timeframe.value, "startTime": 0, "limit": 1}
        return self._read(lambda client: _rows(client.publicGetKlines(request)), 2)

    def depth(self, symbol: Symbol) -> Json:
        """Give the best 100 levels of each side."""
        request = {"symbol": venue_id(symbol), "limit": 100}
        return self._read(lambda client: _mapping(client.publicGetDepth(request)), 5)

    def ticker(self, symbol: Symbol) -> Json:
        """Give the statistics of the last 24 hours."""
        request = {"symbol": venue_id(symbol)}
        return self._read(lambda client: _mapping(client.publicGetTicker24hr(request)), 2)

    def tickers(self) -> list[Json]:
        """Give the statistics of the last 24 hours of all symbols."""
        return self._read(lambda client: cast("list[Json]", _rows(client.publicGetTicker24hr())), 80)

    def _read(self, call: Callable[[ccxt.binance], Answer], weight: int) -> Answer:
        attempt, patience = 0, self._settings.retry_attempts
        while True:
            self._outage.require()
            try:
                return self._once(call, weight)
            except Unreachable:
                raise
            except Transient:
                if attempt == min(1, patience):
                    self._outage.failed()
                if attempt >= patience:
                    raise
            pause = timedelta(seconds=self._settings.retry_backoff_sec * 2**attempt)
            self._clock.sleep_until(self._clock.now() + pause)
            attempt += 1

    def _once(self, call: Callable[[ccxt.binance], Answer], weight: int) -> Answer:
        """Send one read; its errors are ours."""
        self.weight.spend(weight)
        client = self._client()
        try:
            answer = call(client)
        except ccxt.BaseError as error:
            self._stay_away(client, error)
            mapped = read_error(error)
            if not isinstance(mapped, Transient):
                self._outage.answered()
            raise mapped from error
        else:
            self._outage.answered()
            self.weight.observe(_headers(client).get(_USED_WEIGHT, ""))
            return answer
        finally:
            self._idle.put(client)

    def _ping(self) -> None:
        timeout = min(self._settings.timeout_ms, PING_TIMEOUT_MS)
        client = build_client(self._settings.model_copy(update={"timeout_ms": timeout}))
        self.weight.spend(1)
        try:
            client.publicGetTime()
        except ccxt.BaseError as error:
            self._stay_away(client, error)
            raise Transient(f"{type(error).__name__}: {error}") from error

    def _stay_away(self, client: ccxt.binance, error: ccxt.BaseError) -> None:
        """Obey the venue's request to pause: nothing more is sent until then, by any thread."""
        if isinstance(error, (ccxt.DDoSProtection, ccxt.RateLimitExceeded)):
            wait = _seconds(_headers(client).get("retry-after", ""))
            self.weight.ban(self._clock.now() + timedelta(seconds=wait))
            raise Unreachable(f"the exchange asks to stay away for {wait:g} s: {error}") from error

    def _client(self) -> ccxt.binance:
        try:
            return self._idle.get_nowait()
        except Empty:
            return build_client(self._settings)


def _redirect(client: ccxt.binance, base_url: str) -> None:
    for section, url in client.urls["api"].items():
        if isinstance(url, str):
            path = re.sub(r"^https://[^/]+", "", url)
            client.urls["api"][section] = base_url + path


def _headers(client: ccxt.binance) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in (client.last_response_headers or {}).items()}


def _seconds(text: str) -> float:
    try:
        return max(1.0, float(Decimal(text)))
    except InvalidOperation:
        return _DEFAULT_BAN_S


def _mapping(answer: object) -> Json:
    if not isinstance(answer, Mapping):
        raise ccxt.ExchangeNotAvailable(f"the answer is no object: {str(answer)[:80]!r}")
    return answer


def _rows(answer: object) -> list[Sequence[object]]:
    if not isinstance(answer, list):
        raise ccxt.ExchangeNotAvailable(f"the answer is no list: {str(answer)[:80]!r}")
    return answer
