"""A server on loopback that keeps the bytes it was sent and gives scripted answers, faults of the wire included."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

JSON = "application/json;charset=UTF-8"


@dataclass(frozen=True)
class Reply:
    """One scripted answer; `cut` promises more bytes than come, `drop` says nothing, `delay_s`, `drip_s` are slow."""

    body: object = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = JSON
    cut: bool = False
    drop: bool = False
    delay_s: float = 0.0
    drip_s: float = 0.0
    raw: bytes | None = None

    @property
    def content(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()

    def pieces(self) -> list[bytes]:
        return [bytes([byte]) for byte in self.content] if self.drip_s else [self.content]


@dataclass(frozen=True)
class Sent:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def payload(self) -> str:
        """What is signed: the query, directly followed by the body."""
        return self.target.partition("?")[2] + self.body

    @property
    def params(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.payload, keep_blank_values=True).items()}


class LoopbackAccount:
    """Answers requests in turn from `replies`, then from `otherwise`; keeps every request in `sent`."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.otherwise: Callable[[Sent], Reply] = lambda _: Reply({"code": -1121, "msg": "Invalid symbol."}, 400)
        self.sent: list[Sent] = []
        self.connections = 0
        self.over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"account": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> LoopbackAccount:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def reply(self, request: Sent) -> Reply:
        self.sent.append(request)
        return self.replies.pop(0) if self.replies else self.otherwise(request)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    account: LoopbackAccount

    def setup(self) -> None:
        self.account.connections += 1
        super().setup()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.account.reply(Sent(self.command, self.path, headers, body)))

    def _send(self, reply: Reply) -> None:
        self.account.over.wait(reply.delay_s)
        if reply.drop:
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.content) + 20 * reply.cut))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in reply.pieces():
            self.wfile.write(piece)
            self.account.over.wait(reply.drip_s)
        self.close_connection = self.close_connection or reply.cut

    def log_message(self, *_: object) -> None:
        """Say nothing."""
