"""One request to one pinned address, over before a deadline whatever the other side does.

The name is resolved once and its addresses judged; later requests go to those, so that a name which begins to lead
elsewhere is never followed. When none of them can be reached any more the name is resolved, and judged, anew.
Redirects are answers like any other, and environment proxies are not used.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import cast

from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.ports import Clock
from monitoring.outgoing_address import resolved, target_of

LONGEST_ANSWER = 64 * 1024
PIECE = 8192
_NO_BODY = (204, 304)


class OutgoingHttp:
    """Sends requests below one base address; for one thread at a time, nothing is kept open between requests."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float, trust: ssl.SSLContext | None = None) -> None:
        """`timeout_s` bounds a whole request, name resolution aside. Raises `AddressRefused` for an unusable address.

        `trust` is the TLS context, the system's when not given.
        """
        self.target = target_of(url)
        self._clock = clock
        self._timeout_s = timeout_s
        self._trust = trust
        self._pinned: tuple[str, ...] = ()

    def request(
        self,
        method: str,
        path: str = "",
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> HttpAnswer:
        """Send one request, once, to `path` (the base address's own when empty); the body is cut at 64 KiB.

        Raises `NoAnswer` (its text holds no path) when no status came in time, `AddressRefused` for an address that
        leads where it must not.
        """
        until_s = self._clock.monotonic() + (timeout_s or self._timeout_s)
        given = {"Host": self.target.host_header, "Connection": "close", "User-Agent": "bn-ml", **(headers or {})}
        if body or method == "POST":
            given["Content-Length"] = str(len(body))
        lines = [
            f"{method} {path or self.target.path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in given.items()),
        ]
        if any(mark in line for line in lines for mark in "\r\n"):
            raise NoAnswer("a line break in the request")
        head = "\r\n".join([*lines, "", ""]).encode("ascii", "replace")
        try:
            with self._connected(until_s) as connection:
                connection.settimeout(self._left_s(until_s))
                connection.sendall(head + body)
                return _answer(self._received(connection, until_s))
        except (OSError, HTTPException, ValueError) as error:
            # The error's own text may hold the address.
            raise NoAnswer(f"{self.target.host}: no answer ({_kind(error)})") from None

    def _connected(self, until_s: float) -> socket.socket:
        fresh = not self._pinned
        failure: OSError = OSError("no address")
        for address in self._pinned or self._resolve():
            try:
                plain = socket.create_connection((address, self.target.port), timeout=self._left_s(until_s))
            except OSError as error:
                failure = error
                continue
            try:
                return self._secured(plain)
            except BaseException:
                plain.close()
                raise
        self._pinned = ()
        if fresh or isinstance(failure, TimeoutError):
            raise failure
        return self._connected(until_s)

    def _resolve(self) -> tuple[str, ...]:
        target = self.target
        self._pinned = resolved(target.host, target.port, loopback=target.is_loopback)
        return self._pinned

    def _secured(self, plain: socket.socket) -> socket.socket:
        if not self.target.encrypted:
            return plain
        if self._trust is None:
            self._trust = ssl.create_default_context()
        return self._trust.wrap_socket(plain, server_hostname=self.target.host)

    def _received(self, connection: socket.socket, until_s: float) -> bytes:
        """Read until the answer is complete, too long, ended, or time is up with its status known."""
        received = b""
        while not _is_complete(received) and len(received) < LONGEST_ANSWER:
            try:
                connection.settimeout(self._left_s(until_s))
                piece = connection.recv(PIECE)
            except TimeoutError:
                if b"\r\n\r\n" not in received:
                    raise
                break
            if not piece:
                break
            received += piece
        return received

    def _left_s(self, until_s: float) -> float:
        left_s = until_s - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError("time is up")
        return left_s


class _Received:
    """What was received, as the parser of answers wants it: a socket that has been read already."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, mode: str) -> io.BytesIO:
        del mode
        return io.BytesIO(self._received)


def _answer(received: bytes) -> HttpAnswer:
    response = HTTPResponse(cast(socket.socket, _Received(received)))
    response.begin()
    try:
        body = response.read(LONGEST_ANSWER)
    except HTTPException:
        # The body was cut at the cap or the deadline; the status is what counts.
        body = b""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return HttpAnswer(response.status, body.decode("utf-8", "replace"), headers)


def _is_complete(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return False
    lines = head.lower().split(b"\r\n")
    status = lines[0].split(b" ")[1:2]
    if status and status[0].decode("ascii", "replace") in map(str, _NO_BODY):
        return True
    fields = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
    length = fields.get(b"content-length", b"").strip()
    if length.isdigit():
        return len(body) >= int(length)
    return b"chunked" in fields.get(b"transfer-encoding", b"") and body.endswith(b"0\r\n\r\n")


def _kind(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate cannot be verified"
    if isinstance(error, TimeoutError):
        return "too late"
    return type(error).__name__
