"""Signed requests to the venue with nothing but the standard library: for programs that must work when others do not.

The parameters go in the query of every request, percent-encoded before they are signed. A request is sent once, on a
connection kept open between requests, unpaced: whoever uses it spends request weight itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urlencode, urlsplit

from bn_ml.domain.market import to_ms
from bn_ml.errors import ConfigError
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.ports import Clock
from bn_ml.settings import ExchangeSettings

VENUE_URL = "https://api.binance.com"
TESTNET_URL = "https://testnet.binance.vision"
LONGEST_BODY = 16 * 1024 * 1024
PIECE = 65_536
LONGEST_IDLE_S = 5.0
"""A connection idle for longer is not used again: the venue may close it just as an order is on its way."""

Signer = Callable[[bytes], str]


class PlainTransport:
    """The `Transport` of a program that imports no exchange library; for one thread."""

    def __init__(self, url: str, key: str, signer: Signer, clock: Clock, *, timeout_s: float, window_ms: int) -> None:
        """Nothing is sent yet. `clock` shows the venue's time; requests that bring no `timestamp` are stamped by it."""
        self.url = url
        self._address = urlsplit(url)
        self._key = key
        self._sign = signer
        self._clock = clock
        self._timeout_s = timeout_s
        self._window_ms = window_ms
        self._connection: HTTPConnection | None = None
        self._used_at = float("-inf")

    def request(self, method: str, path: str, params: Mapping[str, str], *, signed: bool) -> HttpAnswer:
        """Send one request, once; raises `NoAnswer` when no complete answer arrived."""
        query = self._signed(params) if signed else urlencode(params, quote_via=quote)
        target = f"{self._address.path.rstrip('/')}{path}" + (f"?{query}" if query else "")
        connection = self._connected()
        until_s = self._clock.monotonic() + self._timeout_s
        try:
            connection.request(method, target, headers={"X-MBX-APIKEY": self._key} if self._key else {})
            response = connection.getresponse()
            body = self._whole_body(response, until_s)
            headers = {name.lower(): value for name, value in response.getheaders()}
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            # The error's own text may hold the signed address.
            raise NoAnswer(f"no complete answer: {type(error).__name__}") from None
        self._used_at = self._clock.monotonic()
        return HttpAnswer(response.status, body.decode("utf-8", "replace"), headers)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _whole_body(self, response: HTTPResponse, until_s: float) -> bytes:
        """Read a body to its end, as it comes; raises `OSError` when it takes too long, is too long or is cut off."""
        body = b""
        while piece := response.read1(PIECE):
            body += piece
            if self._clock.monotonic() > until_s:
                raise TimeoutError("the answer took too long")
            if len(body) > LONGEST_BODY:
                raise OSError("the answer is too long")
        if response.length:
            raise ConnectionError("the answer was cut off")
        response.close()
        return body

    def _connected(self) -> HTTPConnection:
        if self._clock.monotonic() - self._used_at > LONGEST_IDLE_S:
            self.close()
        if self._connection is None:
            host, port = self._address.hostname or "", self._address.port
            if self._address.scheme == "https":
                self._connection = HTTPSConnection(host, port, timeout=self._timeout_s, context=trusted_roots())
            else:
                self._connection = HTTPConnection(host, port, timeout=self._timeout_s)
        return self._connection

    def _signed(self, params: Mapping[str, str]) -> str:
        complete = {"timestamp": str(to_ms(self._clock.now())), "recvWindow": str(self._window_ms), **params}
        query = urlencode(complete, quote_via=quote)
        return f"{query}&signature={quote(self._sign(query.encode()), safe='')}"


def plain_transport(settings: ExchangeSettings, key: str, secret: str, clock: Clock) -> PlainTransport:
    """Give the transport of a configuration; raises `ConfigError` for a secret that cannot sign."""
    url = settings.base_url or (TESTNET_URL if settings.testnet else VENUE_URL)
    timeout_s = settings.timeout_ms / 1000
    return PlainTransport(url, key, signer(secret), clock, timeout_s=timeout_s, window_ms=settings.recv_window_ms)


def signer(secret: str) -> Signer:
    """Give what signs with a secret: HMAC-SHA256 for a plain one, Ed25519 or RSA for a private key in PEM.

    Raises `ConfigError` for a private key that cannot be read.

    >>> signer("secret")(b"a=1")[:8]
    '82b8b502'
    """
    text = secret.strip()
    for line_end in ("\\r\\n", "\\n", "\r\n", "\r"):
        text = text.replace(line_end, "\n")
    if "PRIVATE KEY" in text:
        return _key_signer(text)
    raw = text.encode()
    return lambda payload: hmac.new(raw, payload, hashlib.sha256).hexdigest()


def _key_signer(pem: str) -> Signer:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError([f"the API secret is no private key that can be read ({type(error).__name__})"]) from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return lambda payload: base64.b64encode(key.sign(payload)).decode()
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda payload: base64.b64encode(key.sign(payload, padding.PKCS1v15(), hashes.SHA256())).decode()
    raise ConfigError([f"the API secret is a {type(key).__name__}; use an Ed25519 or RSA key"])


def trusted_roots() -> ssl.SSLContext:
    """Give what a server has to prove itself to: the roots this program brings, whatever the machine has."""
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
