"""The only user of `ccxt`: builds the client, reads public data with it, and sends orders raw through it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import localcontext
from http.client import HTTPException
from queue import Empty, LifoQueue
from typing import Protocol, TypeVar, cast

import ccxt
from urllib3.exceptions import HTTPError

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import ConfigError, ExchangeError, MarketDataError, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.outage import OutageWatch
from bn_ml.ports import Clock
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_names import venue_name
from bn_ml.weight import WeightMeter, retry_after_s

KLINES_PER_REQUEST = 1000
PING_TIMEOUT_MS = 5000
TESTNET_URL = "https://testnet.binance.vision"
_ONE_REQUEST_OPTIONS: Mapping[str, object] = {
    "defaultType": "spot",
    "fetchMarkets": {"types": ["spot"]},
    "fetchCurrencies": False,
    "fetchMargins": False,
}
_PIECE = 65_536
_LONGEST_IDLE_S = 10.0
_LONGEST_BODY = 16 * 1024 * 1024
_USED_WEIGHT = "x-mbx-used-weight-1m"
Json = Mapping[str, object]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Key and secret of an account; never printed."""

    key: str
    secret: str


def build_client(
    settings: ExchangeSettings,
    *,
    credentials: Credentials | None = None,
    testnet: bool | None = None,
    raw: bool = False,
) -> ccxt.binance:
    """Build a spot client that needs one request to know its markets and never repeats a request by itself.

    `testnet` overrides the setting. With `base_url` every address of the client leads there, so that no call can leave
    for anywhere else. Without credentials only public data can be read. A raw client answers with `HttpAnswer`s.
    """
    options: dict[str, object] = {
        "timeout": settings.timeout_ms,
        "enableRateLimit": settings.enableRateLimit,
        "rateLimit": settings.rate_limit_ms,
        "options": {**_ONE_REQUEST_OPTIONS, "recvWindow": settings.recv_window_ms},
    }
    if credentials is not None:
        options |= {"apiKey": credentials.key, "secret": normal_secret(credentials.secret)}
    client = _RawBinance(options) if raw else ccxt.binance(options)
    base_url = settings.base_url
    if base_url is None and (settings.testnet if testnet is None else testnet):
        base_url = TESTNET_URL
    if base_url is not None:
        _redirect(client, base_url.rstrip("/"))
    return client


def normal_secret(secret: str) -> str:
    """Give a secret without surrounding blanks and with plain line ends, as key files should have been.

    An environment file may hold a key in one line with the line ends written out.
    """
    text = secret.strip()
    for line_end in ("\\r\\n", "\\n", "\r\n", "\r"):
        text = text.replace(line_end, "\n")
    return text


def read_error(error: ccxt.BaseError) -> ExchangeError | MarketDataError:
    """Say what a failed read means: repeatable (`Transient`), an unknown symbol, or neither."""
    if isinstance(error, ccxt.BadSymbol):
        return MarketDataError(f"the exchange does not know the symbol: {error}", "data_unavailable")
    if isinstance(error, ccxt.OperationFailed):
        return Transient(f"{type(error).__name__}: {error}")
    return ExchangeError(f"{type(error).__name__}: {error}")


class CcxtTransport:
    """The `Transport` over the exchange library, which signs; every answer comes back as received.

    A request is sent once: not repeated, not redirected, its client ids left alone. Its time-out holds for the whole
    answer. Thread-safe; one request at a time, `rate_limit_ms` apart.
    """

    def __init__(self, client: ccxt.binance, *, pause_s: float) -> None:
        """Send through a raw client, `pause_s` apart."""
        self._client = client
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._sent_at = float("-inf")

    @classmethod
    def connect(
        cls, settings: ExchangeSettings, credentials: Credentials | None, testnet: bool | None = None
    ) -> CcxtTransport:
        """Build the transport; nothing is sent. Raises `ConfigError` for a secret that cannot sign."""
        client = build_client(settings, credentials=credentials, testnet=testnet, raw=True)
        if credentials is not None:
            try:
                client.sign("account", ["private"], "GET", {})
            except (ccxt.BaseError, TypeError, ValueError) as error:
                raise ConfigError([f"the API secret cannot sign: {type(error).__name__}"]) from None
        return cls(client, pause_s=settings.rate_limit_ms / 1000 if settings.enableRateLimit else 0.0)

    def set_offset(self, offset_ms: int) -> None:
        """Stamp signed requests without a `timestamp` with the machine's time plus so many ms."""
        self._client.options["timeDifference"] = -offset_ms

    def request(self, method: str, path: str, params: Mapping[str, str], *, signed: bool) -> HttpAnswer:
        """Send one request, once; raises `NoAnswer` when no complete answer arrived."""
        section, rest = _section(path, signed=signed)
        with self._lock:
            self._keep_distance()
            # The library sets the rounding of the thread it runs in.
            with localcontext():
                answer = self._client.request(rest, [section], method, dict(params))
        if not isinstance(answer, HttpAnswer):
            raise NoAnswer(f"{method} {path}: the library answered {type(answer).__name__}")
        return answer

    def _keep_distance(self) -> None:
        clock = SystemClock()
        idle_s = clock.monotonic() - self._sent_at
        if idle_s > _LONGEST_IDLE_S:
            # The venue may close an idle connection just as an order is on its way.
            self._client.session.close()
        threading.Event().wait(max(0.0, self._pause_s - idle_s))
        self._sent_at = clock.monotonic()


class _RawBinance(ccxt.binance):  # type: ignore[misc]  # the library carries no types
    """The library's client with its own judgement taken out: it signs, sends once, and gives what came back."""

    def __init__(self, options: dict[str, object]) -> None:
        # The library paces by a clock that can be set; the transport paces by one that cannot.
        super().__init__({**options, "enableRateLimit": False})

    def handle_client_order_id(self, params: object, api: object, path: object, method: object) -> object:
        """Leave client ids as they are."""
        del api, path, method
        return params

    def fetch(self, url: str, method: str = "GET", headers: object = None, body: str | None = None) -> HttpAnswer:
        """Send one request and give the answer, whatever its status; raises `NoAnswer`."""
        clock = SystemClock()
        until = clock.monotonic() + self.timeout / 1000
        self.session.cookies.clear()
        try:
            response = self.session.request(
                method,
                url,
                data=body.encode() if body else None,
                headers=self.prepare_request_headers(headers),
                timeout=self.timeout / 1000,
                allow_redirects=False,
                stream=True,
            )
            try:
                content = _whole_body(response.raw, lambda: clock.monotonic() > until)
            finally:
                response.close()
        except (OSError, HTTPError, HTTPException, ValueError) as error:
            # The error's own text may hold the signed address.
            raise NoAnswer(f"no complete answer: {type(error).__name__}") from None
        names = {str(name).lower(): str(value) for name, value in response.headers.items()}
        return HttpAnswer(int(response.status_code), content.decode("utf-8", "replace"), names)


class ExchangeReader:
    """Public data of the venue, safe for several threads.

    Reads are repeated with a doubling pause within the settings, and wait when this process's share of the venue's
    request weight is used up. Raises `Transient` when repeating did not help, `Unreachable` while the venue as a whole
    does not answer or asked to stay away, `MarketDataError` for an unknown symbol, else `ExchangeError`.
    """

    def __init__(self, settings: ExchangeSettings, clock: Clock, *, weight: WeightMeter | None = None) -> None:
        """Nothing is sent yet; a client serves one call at a time and is kept, with its connection, for later ones.

        `weight` is the request weight shared with whatever else this process sends, bans included.
        """
        self._settings = settings
        self._clock = clock
        self._idle: LifoQueue[ccxt.binance] = LifoQueue()
        self.weight = weight or WeightMeter(clock, settings.weight_budget_pct)
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
            "symbol": venue_name(symbol),
            "interval": timeframe.value,
            "startTime": start_ms,
            "endTime": end_ms - 1,
            "limit": KLINES_PER_REQUEST,
        }
        return self._read(lambda client: _rows(client.publicGetKlines(request)), 2)

    def first_bar(self, symbol: Symbol, timeframe: Timeframe) -> list[Sequence[object]]:
        """Give the very first raw bar of a symbol, alone in a list; an empty list before any trade."""
        request = {"symbol": venue_name(symbol), "interval": timeframe.value, "startTime": 0, "limit": 1}
        return self._read(lambda client: _rows(client.publicGetKlines(request)), 2)

    def depth(self, symbol: Symbol) -> Json:
        """Give the best 100 levels of each side."""
        request = {"symbol": venue_name(symbol), "limit": 100}
        return self._read(lambda client: _mapping(client.publicGetDepth(request)), 5)

    def ticker(self, symbol: Symbol) -> Json:
        """Give the statistics of the last 24 hours."""
        request = {"symbol": venue_name(symbol)}
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
        client, sent_at = self._client(), self._clock.now()
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
            self.weight.observe(_headers(client).get(_USED_WEIGHT, ""), sent_at)
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
            wait = retry_after_s(_headers(client).get("retry-after", ""))
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


def _section(path: str, *, signed: bool) -> tuple[str, str]:
    """Split a path into the library's name of its address and the rest."""
    for start, section in (("/api/v3/", "private" if signed else "public"), ("/sapi/v1/", "sapi")):
        if path.startswith(start):
            return section, path[len(start) :]
    raise ValueError(f"no such path at the venue: {path}")


class _Raw(Protocol):
    def read1(self, amount: int, *, decode_content: bool) -> bytes: ...


def _whole_body(raw: _Raw, is_late: Callable[[], bool]) -> bytes:
    """Read a body to its end, as it comes; raises `OSError` when it takes too long or grows too large."""
    body = b""
    while piece := raw.read1(_PIECE, decode_content=True):
        body += piece
        if is_late():
            raise TimeoutError("the answer took too long")
        if len(body) > _LONGEST_BODY:
            raise OSError("the answer is too long")
    return body


def _headers(client: ccxt.binance) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in (client.last_response_headers or {}).items()}


def _mapping(answer: object) -> Json:
    if not isinstance(answer, Mapping):
        raise ccxt.ExchangeNotAvailable(f"the answer is no object: {str(answer)[:80]!r}")
    return answer


def _rows(answer: object) -> list[Sequence[object]]:
    if not isinstance(answer, list):
        raise ccxt.ExchangeNotAvailable(f"the answer is no list: {str(answer)[:80]!r}")
    return answer
