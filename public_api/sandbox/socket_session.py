"""One WebSocket connection as the exchange treats it: pings, a rate limit, a life of 24 hours, slow readers dropped."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from bn_ml.ports import Clock
from public_api.sandbox.answers import Json
from public_api.sandbox.market_clock import MarketClock

_POLICY = WSCloseCode.POLICY_VIOLATION


@dataclass(frozen=True, slots=True)
class SocketRules:
    """Limits of connections: pings in wall seconds, life in market time, messages a client may leave unread."""

    ping_every_s: float = 20.0
    pong_within_s: float = 60.0
    life_ms: int = 24 * 3_600_000
    messages_per_s: int = 5
    outbox: int = 2000
    connects_per_5min: int = 300


class TextHandler(Protocol):
    """What a connection's owner does with what the client says."""

    def __call__(self, text: str) -> Awaitable[None]:
        """Take one text message."""


class SocketSession:
    """Runs one accepted connection until either side ends it."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, rules: SocketRules) -> None:
        """Wrap a prepared socket."""
        self._socket = socket
        self._transport = transport
        self._rules = rules
        self._outbox: asyncio.Queue[str] = asyncio.Queue(rules.outbox)
        self._ponged_s = 0.0
        self._goodbye: asyncio.Future[tuple[WSCloseCode, bytes]] = asyncio.get_running_loop().create_future()

    def offer(self, payload: Json) -> None:
        """Queue a message; a client that does not read is dropped."""
        self.offer_text(json.dumps(payload, separators=(",", ":"), ensure_ascii=False))

    def offer_text(self, text: str) -> None:
        """Queue a message that is already JSON."""
        if self._outbox.full():
            self.drop()
        else:
            self._outbox.put_nowait(text)

    def drop(self) -> None:
        """Cut the connection without a goodbye."""
        if self._transport is not None:
            self._transport.abort()

    def close(self, code: WSCloseCode = WSCloseCode.GOING_AWAY, reason: bytes = b"") -> None:
        """Have what is queued sent, then the connection closed as agreed between both sides."""
        if not self._goodbye.done():
            self._goodbye.set_result((code, reason))

    async def serve(self, on_text: TextHandler, wall: Clock, market: MarketClock) -> None:
        """Read, write and ping until the connection ends."""
        ends_ms = market.now_ms() + self._rules.life_ms
        self._ponged_s = wall.monotonic()
        tasks = [
            asyncio.create_task(self._write()),
            asyncio.create_task(self._ping(wall)),
            asyncio.create_task(self._age(lambda: market.now_ms() >= ends_ms)),
        ]
        try:
            await self._read(on_text, wall)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._goodbye.done():
            await self._say_goodbye(*self._goodbye.result())

    async def _say_goodbye(self, code: WSCloseCode, reason: bytes) -> None:
        while not self._outbox.empty():
            await self._socket.send_str(self._outbox.get_nowait())
        await self._socket.close(code=code, message=reason)

    async def _read(self, on_text: TextHandler, wall: Clock) -> None:
        recent: deque[float] = deque(maxlen=self._rules.messages_per_s + 1)
        while (message := await self._received()) is not None:
            now_s = wall.monotonic()
            recent.append(now_s)
            if len(recent) > self._rules.messages_per_s and now_s - recent[0] < 1:
                self.close(_POLICY, b"Too many requests")
                return
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._ponged_s = now_s
            else:
                await on_text(message.data)

    async def _received(self) -> WSMessage | None:
        """Give the next message, None when either side ends the connection.

        The wait for it is broken off before a goodbye: two readers at once would cost the other side's answer to it.
        """
        reading = asyncio.ensure_future(self._socket.receive())
        await asyncio.wait((reading, self._goodbye), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return None
        message = reading.result()
        return message if message.type in (WSMsgType.TEXT, WSMsgType.PING, WSMsgType.PONG) else None

    async def _write(self) -> None:
        try:
            while True:
                text = await self._outbox.get()
                await self._socket.send_str(text)
        except (ConnectionError, RuntimeError):
            self.drop()

    async def _ping(self, wall: Clock) -> None:
        try:
            while True:
                await asyncio.sleep(self._rules.ping_every_s)
                if wall.monotonic() - self._ponged_s > self._rules.pong_within_s:
                    self.close(_POLICY, b"Pong timeout")
                    return
                await self._socket.ping(str(int(wall.monotonic() * 1000)).encode())
        except (ConnectionError, RuntimeError):
            self.drop()

    async def _age(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            await asyncio.sleep(0.2)
        self.close()
