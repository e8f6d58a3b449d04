"""Moving an archive over HTTP: streamed, bounded in bytes and time, to public hosts over TLS or this machine.

No redirect is followed and no environment proxy used. The query of an address is a secret: messages name hosts only.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

from bn_ml.errors import BnMlError
from monitoring.outgoing_address import AddressRefused, Target, resolved, target_of

_PIECE = 1 << 16
_CONNECT_S = 20.0


class TransferFailed(BnMlError):
    """An archive did not arrive or was not taken; the message names the host and never the path or query."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bounds of one transfer: all of it within `timeout_s`, at most `max_bytes`; `trust` is another TLS context."""

    timeout_s: float
    max_bytes: int
    trust: ssl.SSLContext | None = None


def require_allowed(url: str, hosts: Sequence[str]) -> Target:
    """Take the address of a download apart; raises `TransferFailed` unless its host is on the list."""
    try:
        target = target_of(url)
    except AddressRefused as error:
        raise TransferFailed(f"download refused: {error}") from None
    if target.host not in {host.strip().lower() for host in hosts}:
        raise TransferFailed(f"download refused: {target.host} is not in model_sync.runpod.allowed_download_hosts")
    return target


def download(target: Target, path: Path, bounds: Transfer) -> int:
    """Fetch an archive into a new file, flushed; gives its size. No header but the usual ones is sent.

    Raises `TransferFailed`; a file that did not arrive whole is removed.
    """
    try:
        with _connected(target, bounds) as connection:
            connection.request("GET", target.path, headers=_usual(target))
            response = connection.getresponse()
            size = _announced(response, target, bounds.max_bytes)
            got = _stored(response, path, target, bounds.max_bytes)
    except (OSError, HTTPException, ValueError) as error:
        path.unlink(missing_ok=True)
        raise TransferFailed(f"{target.host}: the download broke off ({type(error).__name__})") from None
    except TransferFailed:
        path.unlink(missing_ok=True)
        raise
    if size is not None and size != got:
        path.unlink(missing_ok=True)
        raise TransferFailed(f"{target.host}: {got} of {size} bytes arrived")
    return got


def upload(url: str, path: Path, bounds: Transfer) -> None:
    """Put a file to a presigned address, once; raises `TransferFailed` unless the answer is a 2xx.

    No content type is sent: an address signed without one would refuse it.
    """
    try:
        target = target_of(url)
    except AddressRefused as error:
        raise TransferFailed(f"upload refused: {error}") from None
    size = path.stat().st_size
    try:
        with _connected(target, bounds) as connection, path.open("rb") as file:
            head = {**_usual(target), "Content-Length": str(size)}
            connection.request("PUT", target.path, body=file, headers=head)
            status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        raise TransferFailed(f"{target.host}: the upload broke off ({type(error).__name__})") from None
    if not 200 <= status < 300:
        hint = "; has the address expired?" if status in (400, 401, 403) else ""
        raise TransferFailed(f"{target.host} answered {status} to the upload{hint}")


class _Line:
    """One connection that is cut when time is up, whatever it is doing."""

    def __init__(self, plain: socket.socket, timeout_s: float) -> None:
        self.late = False
        self._socket = plain
        self._timer = threading.Timer(timeout_s, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def encrypt(self, host: str, trust: ssl.SSLContext) -> None:
        secured = trust.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._socket = secured
        secured.do_handshake()

    @property
    def socket(self) -> socket.socket:
        return self._socket

    def close(self) -> None:
        self._timer.cancel()
        self._socket.close()

    def _cut(self) -> None:
        self.late = True
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextmanager
def _connected(target: Target, bounds: Transfer) -> Iterator[HTTPConnection]:
    """Connect to an address that was judged; raises `TransferFailed` when the block was cut short by the time."""
    try:
        addresses = resolved(target.host, target.port, loopback=target.is_loopback)
    except AddressRefused as error:
        raise TransferFailed(str(error)) from None
    connection = HTTPConnection(target.host, target.port)
    line = _Line(_dialled(addresses, target, bounds), bounds.timeout_s)
    try:
        if target.encrypted:
            line.encrypt(target.host, bounds.trust or ssl.create_default_context())
        connection.sock = line.socket
        yield connection
        if line.late:
            raise TimeoutError
    except (OSError, HTTPException, ValueError, TransferFailed):
        if line.late:
            raise TransferFailed(f"{target.host}: not done within {bounds.timeout_s:g} s") from None
        raise
    finally:
        connection.close()
        line.close()


def _dialled(addresses: Sequence[str], target: Target, bounds: Transfer) -> socket.socket:
    failure: OSError = OSError("no address")
    for address in addresses:
        try:
            plain = socket.create_connection((address, target.port), timeout=min(_CONNECT_S, bounds.timeout_s))
        except OSError as error:
            failure = error
        else:
            plain.settimeout(bounds.timeout_s)
            return plain
    raise failure


def _usual(target: Target) -> dict[str, str]:
    return {
        "Host": target.host_header,
        "User-Agent": "bn-ml",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


def _announced(response: HTTPResponse, target: Target, max_bytes: int) -> int | None:
    """Judge the head of an answer; gives the size it announces, None when it does not."""
    if response.status != 200:
        moved = "; redirects are not followed" if 300 <= response.status < 400 else ""
        raise TransferFailed(f"{target.host} answered {response.status} to the download{moved}")
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise TransferFailed(f"{target.host} sent an encoding nobody asked for")
    length = response.headers.get("Content-Length", "").strip()
    if not length:
        return None
    if not (length.isascii() and length.isdigit()) or int(length) > max_bytes:
        raise TransferFailed(f"{target.host} announces {length[:20]} bytes, at most {max_bytes} are allowed")
    return int(length)


def _stored(response: HTTPResponse, path: Path, target: Target, max_bytes: int) -> int:
    got = 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        while piece := response.read1(_PIECE):
            got += len(piece)
            if got > max_bytes:
                raise TransferFailed(f"{target.host} sent more than {max_bytes} bytes")
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return got
