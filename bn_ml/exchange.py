"""The only user of `ccxt`: builds the client, reads public data with it, and sends orders raw through it."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import localcontext
from http.client import HTTPException
from queue import Empty, LifoQueue
from typing import Protocol, TypeVar

from urllib3.exceptions import HTTPError

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.errors import ConfigError, ExchangeError, MarketDataError, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.lean_imports import without_its_package
from bn_ml.order_answers import STAY_AWAY
from bn_ml.outage import OutageWatch
from bn_ml.patience import Failure, Patience
from bn_ml.ports import Clock
from bn_ml.public_answers import Json, public_list, public_object
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_names import venue_name
from bn_ml.weight import WeightMeter, retry_after_s

log = logging.getLogger(__name__)

KLINES_PER_REQUEST = 1000
PING_TIMEOUT_MS = 5000
HURRIED_MS = 500
"""How long the first reads of a start are waited for."""
TESTNET_URL = "https://testnet.binance.vision"
_ONE_REQUEST_OPTIONS: Mapping[str, object] = {
    "defaultType": "spot",
    "fetchMarkets": {"types": ["spot"]},
    "fetchCurrencies": False,
    "fetchMargins": False,
}
_PIECE = 65_536
_LONGEST_IDLE_S = 10.0
_LONGEST_BODY = 64 * 1024 * 1024
"""Far above the longest honest answer, the rules of all symbols."""
_USED_WEIGHT = "x-mbx-used-weight-1m"
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Key and secret of an account; never printed."""

    key: str
    secret: str


# The package imports a hundred exchanges.
with without_its_package("ccxt"):
    from ccxt.base.errors import BaseError
    from ccxt.binance import binance


def build_client(
    settings: ExchangeSettings,
    *,
    credentials: Credentials | None = None,
    testnet: bool | None = None,
    raw: bool = False,
) -> binance:
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
    client = _RawBinance(options) if raw else binance(options)
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


class CcxtTransport:
    """The `Transport` over the exchange library, which signs; every answer comes back as received.

    A request is sent once: not repeated, not redirected, its client ids left alone. Its time-out holds for the whole
    answer. Thread-safe; one request at a time, `rate_limit_ms` apart.
    """

    def __init__(self, client: binance, *, pause_s: float) -> None:
        """Send through a raw client, `pause_s` apart."""
        self._client = client
        self._pause_s = pause_s
        self._timeout_ms = int(client.timeout)
        self._hurried_ms = HURRIED_MS
        self._patience: Patience | None = None
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
            except (BaseError, TypeError, ValueError) as error:
                raise ConfigError([f"the API secret cannot sign: {type(error).__name__}"]) from None
        return cls(client, pause_s=settings.rate_limit_ms / 1000 if settings.enableRateLimit else 0.0)

    def set_offset(self, offset_ms: int) -> None:
        """Stamp signed requests without a `timestamp` with the machine's time plus so many ms."""
        self._client.options["timeDifference"] = -offset_ms

    def hurry(self, patience: Patience) -> None:
        """Give reads up soon while a start lasts: one that hangs is asked again at once, and then given longer."""
        self._patience = patience

    def request(self, method: str, path: str, params: Mapping[str, str], *, signed: bool) -> HttpAnswer:
        """Send one request, once; raises `NoAnswer` when no complete answer arrived."""
        section, rest = _section(path, signed=signed)
        with self._lock, self._timed(method):
            self._keep_distance()
            # The library sets the rounding of the thread it runs in.
            with localcontext():
                answer = self._client.request(rest, [section], method, dict(params))
        if not isinstance(answer, HttpAnswer):
            raise NoAnswer(f"{method} {path}: the library answered {type(answer).__name__}")
        return answer

    @contextmanager
    def _timed(self, method: str) -> Iterator[None]:
        """Set the time-out of one request; a read of a start that took as long doubles that of the next ones."""
        is_hurried = method == "GET" and self._patience is not None and self._patience.is_start
        limit_ms = min(self._hurried_ms, self._timeout_ms) if is_hurried else self._timeout_ms
        self._client.timeout = limit_ms
        clock = SystemClock()
        began = clock.monotonic()
        try:
            yield
        except NoAnswer:
            if is_hurried and (clock.monotonic() - began) * 1000 >= limit_ms:
                self._hurried_ms *= 2
            raise

    def _keep_distance(self) -> None:
        clock = SystemClock()
        idle_s = clock.monotonic() - self._sent_at
        if idle_s > _LONGEST_IDLE_S:
            # The venue may close an idle connection just as an order is on its way.
            self._client.session.close()
        threading.Event().wait(max(0.0, self._pause_s - idle_s))
        self._sent_at = clock.monotonic()


class _RawBinance(binance):  # type: ignore[misc]  # the library carries no types
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

    def __init__(
        self,
        settings: ExchangeSettings,
        clock: Clock,
        *,
        weight: WeightMeter | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Nothing is sent yet; a transport serves one call at a time and is kept, with its connection, for later ones.

        `weight` is the request weight shared with whatever else this process sends, bans included; `patience` is that
        of the process's start, while it lasts.
        """
        self._settings = settings
        self._clock = clock
        self._idle: LifoQueue[CcxtTransport] = LifoQueue()
        self.weight = weight or WeightMeter(clock, settings.weight_budget_pct)
        self._patience = patience or Patience(clock, settings)
        self._outage = OutageWatch(clock, self._ping)

    def server_time(self) -> int:
        """Give the venue's clock, ms since 1970."""
        return self._read("time", {}, 1, _server_time)

    def exchange_info(self) -> Json:
        """Give the rules of all symbols."""
        return self._read("exchangeInfo", {}, 20, _listing)

    def klines(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Sequence[object]]:
        """Give up to 1000 raw bars, the earliest first, with `start_ms <= open time < end_ms`; the last may be open."""
        span = {"startTime": str(start_ms), "endTime": str(end_ms - 1), "limit": str(KLINES_PER_REQUEST)}
        request = {"symbol": venue_name(symbol), "interval": timeframe.value, **span}
        return self._read("klines", request, 2, _rows)

    def first_bar(self, symbol: Symbol, timeframe: Timeframe) -> list[Sequence[object]]:
        """Give the very first raw bar of a symbol, alone in a list; an empty list before any trade."""
        request = {"symbol": venue_name(symbol), "interval": timeframe.value, "startTime": "0", "limit": "1"}
        return self._read("klines", request, 2, _rows)

    def depth(self, symbol: Symbol) -> Json:
        """Give the best 100 levels of each side."""
        return self._read("depth", {"symbol": venue_name(symbol), "limit": "100"}, 5, public_object)

    def ticker(self, symbol: Symbol) -> Json:
        """Give the statistics of the last 24 hours."""
        return self._read("ticker/24hr", {"symbol": venue_name(symbol)}, 2, public_object)

    def tickers(self) -> list[object]:
        """Give the statistics of the last 24 hours of all symbols."""
        return self._read("ticker/24hr", {}, 80, public_list)

    def _read(self, path: str, params: Mapping[str, str], weight: int, judge: Callable[[HttpAnswer], Answer]) -> Answer:
        began, attempt = self._clock.monotonic(), 0
        while True:
            self._outage.require()
            try:
                return self._once(path, params, weight, judge)
            except Transient as error:
                if attempt == min(1, self._settings.retry_attempts) and not isinstance(error, Unreachable):
                    self._outage.failed()
                spent_s = self._clock.monotonic() - began
                self._patience.wait(Failure(error, attempt, spent_s, self.weight.banned_until))
                attempt += 1

    def _once(self, path: str, params: Mapping[str, str], weight: int, judge: Callable[[HttpAnswer], Answer]) -> Answer:
        """Send one read; a start needs it for orders, so it draws on their share of the weight."""
        if self._patience.is_start:
            self.weight.spend_on_orders(weight, patience=timedelta(seconds=self._patience.start_s))
        else:
            self.weight.spend(weight)
        transport = self._transport()
        try:
            answer = self._sent(transport, path, params)
        finally:
            self._idle.put(transport)
        try:
            value = judge(answer)
        except Transient:
            raise
        except (ExchangeError, MarketDataError):
            self._outage.answered()
            raise
        self._outage.answered()
        return value

    def _ping(self) -> None:
        timeout = min(self._settings.timeout_ms, PING_TIMEOUT_MS)
        transport = CcxtTransport.connect(self._settings.model_copy(update={"timeout_ms": timeout}), None)
        self.weight.spend(1)
        _server_time(self._sent(transport, "time", {}))

    def _sent(self, transport: CcxtTransport, path: str, params: Mapping[str, str]) -> HttpAnswer:
        """Send a request once and heed what its answer means for the next; raises `Transient` or `Unreachable`."""
        sent_at = self._clock.now()
        try:
            answer = transport.request("GET", f"/api/v3/{path}", params, signed=False)
        except NoAnswer as error:
            raise Transient(f"GET /api/v3/{path}: {error}") from error
        self._heed(answer, sent_at)
        return answer

    def _heed(self, answer: HttpAnswer, sent_at: datetime) -> None:
        """Take the venue's count of weight, and obey its request to pause: nothing more is sent until then."""
        self.weight.observe(answer.headers.get(_USED_WEIGHT, ""), sent_at)
        if answer.status in STAY_AWAY:
            wait_s = retry_after_s(answer.headers.get("retry-after", ""))
            self.weight.ban(self._clock.now() + timedelta(seconds=wait_s))
            log.warning("the exchange asks to stay away status=%s wait_s=%g", answer.status, wait_s)
            raise Unreachable(f"the exchange asks to stay away for {wait_s:g} s: status {answer.status}")

    def _transport(self) -> CcxtTransport:
        try:
            return self._idle.get_nowait()
        except Empty:
            return CcxtTransport.connect(self._settings, None)


def _redirect(client: binance, base_url: str) -> None:
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
    pieces, length = list[bytes](), 0
    while piece := raw.read1(_PIECE, decode_content=True):
        pieces.append(piece)
        length += len(piece)
        if is_late():
            raise TimeoutError("the answer took too long")
        if length > _LONGEST_BODY:
            raise OSError("the answer is too long")
    return b"".join(pieces)


def _server_time(answer: HttpAnswer) -> int:
    told = public_object(answer).get("serverTime")
    if type(told) is not int or told <= 0:
        raise Transient(f"no server time in {answer.body[:80]!r}")
    return told


def _listing(answer: HttpAnswer) -> Json:
    """Take the rules of all symbols; without a list of symbols they are none."""
    listing = public_object(answer)
    if not isinstance(listing.get("symbols"), list):
        raise Transient(f"the exchange rules hold no list of symbols: {answer.body[:80]!r}")
    return listing


def _rows(answer: HttpAnswer) -> list[Sequence[object]]:
    rows = list[Sequence[object]]()
    for row in public_list(answer):
        if not isinstance(row, list):
            raise Transient(f"a bar must be a list, got {str(row)[:80]!r}")
        rows.append(row)
    return rows
