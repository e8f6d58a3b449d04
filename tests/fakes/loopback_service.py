"""A small HTTP service on loopback whose answers a test writes; it keeps every request it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST_HANG_S = 20.0


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """Everything the request said."""
        return f"{self.method} {self.path} {self.headers} {self.body!r}"


@dataclass(frozen=True)
class Reply:
    """An answer: plainly, or `hangs` without a word, `drips` its head byte by byte, is `endless`, or `short`."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    manner: str = "plainly"

    @classmethod
    def of(cls, content: object, status: int = 200) -> Reply:
        return cls(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


class LoopbackService:
    """Answers by a function of the request; `name` is how its address calls the host."""

    def __init__(self, answer: Callable[[Asked], Reply], *, name: str = "127.0.0.1") -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._name = name

    def __enter__(self) -> LoopbackService:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                with suppress(OSError):
                    service.take(self)

            do_GET = do_POST = do_PUT = _take  # noqa: N815 - the names the standard library calls

            def log_message(self, *args: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://{self._name}:{self._server.server_address[1]}"

    @property
    def said(self) -> str:
        """Everything it was ever sent."""
        return "\n".join(asked.text for asked in self.asked)

    def take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.command, request.path, headers, body)
        self.asked.append(asked)
        reply = self.answer(asked)
        if reply.manner == "hangs":
            self.closing.wait(LONGEST_HANG_S)
        elif reply.manner == "drips":
            self._drip(request)
        elif reply.manner == "endless":
            self._flood(request)
        else:
            self._plainly(request, reply)

    def _plainly(self, request: BaseHTTPRequestHandler, reply: Reply) -> None:
        request.send_response(reply.status)
        length = len(reply.body) + (100 if reply.manner == "short" else 0)
        for name, value in {"Content-Length": str(length), **reply.headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(reply.body)

    def _drip(self, request: BaseHTTPRequestHandler) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
            if self.closing.wait(0.02):
                return
            request.wfile.write(bytes([byte]))

    def _flood(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.closing.is_set():
            request.wfile.write(bytes(1 << 16))
