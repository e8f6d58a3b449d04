"""A combined price stream on loopback, on a thread of its own, that does what a test tells it to."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import WSCloseCode, web

from bn_ml.clock import SystemClock
from bn_ml.domain.market import to_ms

BREATH_S = 0.01


def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Return as soon as the condition holds; fails the test otherwise."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        pause.wait(0.005)


def book_ticker(name: str, update_id: int, bid: object = "100.00", ask: object = "100.02") -> str:
    data = {"u": update_id, "s": name, "b": bid, "B": "31.21", "a": ask, "A": "40.66"}
    return json.dumps({"stream": f"{name.lower()}@bookTicker", "data": data})


def mini_ticker(name: str, event_ms: int, last: object = "100.01") -> str:
    prices = {"c": last, "o": "99", "h": "101", "l": "98", "v": "10000", "q": "18"}
    data = {"e": "24hrMiniTicker", "E": event_ms, "s": name, **prices}
    return json.dumps({"stream": f"{name.lower()}@miniTicker", "data": data})


@dataclass
class Connection:
    """One client, what it subscribed to and when it said what."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport
    streams: dict[str, None] = field(default_factory=dict)
    heard: list[tuple[float, dict[str, object]]] = field(default_factory=list)

    def request_sizes(self) -> list[int]:
        return [len(params) for _, body in self.heard if isinstance(params := body["params"], list)]


class StreamServer:
    """Pushes both streams of every subscribed symbol a hundred times a second unless it is frozen.

    With a heartbeat it pings that often and drops who does not answer within half of that.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.heartbeat_s: float | None = None
        self._tls = tls
        self.connections: list[Connection] = []
        self.refused: set[str] = set()
        self.names_the_refused_request = True
        self.frozen = False
        self.acknowledges = True
        self.handshake = "accept"
        self.bid, self.ask, self.last = "100.00", "100.02", "100.01"
        self.update_id = 1000
        self.paths: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._over = asyncio.Event()
        self.port = 0

    def __enter__(self) -> StreamServer:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}"

    @property
    def newest(self) -> Connection:
        return self.connections[-1]

    def is_streaming(self, *names: str) -> bool:
        """Whether the newest connection has exactly these symbols."""
        wanted = {f"{name.lower()}@{kind}" for name in names for kind in ("miniTicker", "bookTicker")}
        return bool(self.connections) and set(self.newest.streams) == wanted

    def say(self, *texts: str | bytes) -> None:
        """Send messages to the newest connection."""
        self._do(self._say(texts))

    def hang_up(self, code: int = WSCloseCode.GOING_AWAY) -> None:
        self._do(self.newest.socket.close(code=code))

    def cut(self) -> None:
        """Drop the newest connection without a word."""
        self._loop.call_soon_threadsafe(self.newest.transport.abort)

    def _do(self, work: Coroutine[object, object, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        self._over.set()
        for connection in self.connections:
            await asyncio.wait_for(connection.socket.close(), 1)
        await self._runner.cleanup()

    async def _say(self, texts: tuple[str | bytes, ...]) -> None:
        socket = self.newest.socket
        with suppress(ConnectionError):
            for text in texts:
                await (socket.send_bytes(text) if isinstance(text, bytes) else socket.send_str(text))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        if self.handshake == "hang":
            await self._over.wait()
        if self.handshake == "redirect":
            return web.HTTPFound("/elsewhere")
        if self.handshake != "accept":
            return web.Response(status=403, text="<html>no</html>", content_type="text/html")
        socket = web.WebSocketResponse(timeout=0.1, heartbeat=self.heartbeat_s)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        connection = Connection(socket, request.transport)
        self.connections.append(connection)
        pushing = asyncio.create_task(self._push(connection))
        try:
            async for message in socket:
                await self._answer(connection, json.loads(message.data))
        finally:
            pushing.cancel()
            await asyncio.wait([pushing])
        return socket

    async def _answer(self, connection: Connection, body: dict[str, object]) -> None:
        connection.heard.append((time.monotonic(), body))
        names = [str(name) for name in body["params"]]  # type: ignore[attr-defined]
        if self.refused & {name.partition("@")[0].upper() for name in names}:
            told: dict[str, object] = {"error": {"code": 2, "msg": "Invalid request: unknown stream"}}
            await connection.socket.send_json({**told, "id": body["id"]} if self.names_the_refused_request else told)
            return
        if not self.acknowledges:
            return
        for name in names:
            if body["method"] == "SUBSCRIBE":
                connection.streams[name] = None
            else:
                connection.streams.pop(name, None)
        await connection.socket.send_json({"result": None, "id": body["id"]})

    async def _push(self, connection: Connection) -> None:
        while not connection.socket.closed:
            await asyncio.sleep(BREATH_S)
            for stream in () if self.frozen else tuple(connection.streams):
                name, _, kind = stream.partition("@")
                self.update_id += 1
                now_ms = to_ms(SystemClock().now())
                text = (
                    book_ticker(name.upper(), self.update_id, self.bid, self.ask)
                    if kind == "bookTicker"
                    else mini_ticker(name.upper(), now_ms, self.last)
                )
                await connection.socket.send_str(text)
