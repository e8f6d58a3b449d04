"""One run of the API: its address checked, its port opened, served until SIGTERM or Ctrl-C."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from bn_ml.errors import BnMlError

log = logging.getLogger(__name__)

MOST_FRAME_BYTES = 64 * 1024
_MOST_HEAD_BYTES = 16 * 1024
_MOST_CONNECTIONS = 256
_GOODBYE_S = 3
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_DENIED = "without completing handshake"


class PortTaken(BnMlError):
    """Another process listens on the wanted port."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API listens; port 0 is any free one."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as a browser takes it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def opened(address: Address) -> socket.socket:
    """Listen; raises `PortTaken` when another process does, `OSError` for an address that is not this machine's."""
    kind, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    line = socket.socket(kind, socket.SOCK_STREAM)
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.bind(place)
        line.listen(socket.SOMAXCONN)
    except OSError as error:
        line.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"port {address.port} on {address.host} is taken") from error
        raise
    return line


def server_of(app: ASGIApp) -> uvicorn.Server:
    """Give the server of an application: no banner, no trust in forwarding headers, bounded heads and frames."""
    config = uvicorn.Config(
        app,
        http="h11",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=MOST_FRAME_BYTES,
        ws_per_message_deflate=False,
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GOODBYE_S,
    )
    return uvicorn.Server(config)


def serve(app: ASGIApp, line: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C, then end what is under way."""
    chatty = logging.getLogger("uvicorn.error")
    chatty.setLevel(logging.WARNING)
    chatty.addFilter(_is_no_denial)
    try:
        with _signals_end_it():
            server_of(app).run(sockets=[line])
    finally:
        chatty.removeFilter(_is_no_denial)


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let the server's own handlers end it; what it raises again afterwards is only noted."""
    before = {number: signal.signal(number, _noted) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_no_denial(record: logging.LogRecord) -> bool:
    """Tell a real problem from a websocket that was refused, which the server takes for an error of ours."""
    return _DENIED not in record.getMessage()


def _noted(number: int, frame: object) -> None:
    del frame
    log.info("api ends: %s", signal.Signals(number).name)
