"""The websockets: admission by token where needed, the first message at once, news, heartbeats, no slow consumers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from public_api.admission import Admission
from public_api.callers import Caller
from public_api.gate import CALLER
from public_api.live_feed import LiveFeed, Topic, Wish, frame, message
from public_api.refusals import Refusal, refused
from public_api.service import Service

POLICY, TOO_SLOW, TRY_LATER = 1008, 1013, 1013
PROTOCOL = "bearer"


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How many websockets there may be, and how long each thing may take, in seconds."""

    most: int = 30
    heartbeat_s: float = 30.0
    token_within_s: float = 5.0
    send_within_s: float = 5.0


class Sockets:
    """Serves the topics of one API."""

    def __init__(self, service: Service, feed: LiveFeed, admission: Admission, limits: SocketLimits) -> None:
        """Serve what `feed` follows."""
        self._service = service
        self._admission = admission
        self._limits = limits
        self.feed = feed

    async def serve(self, socket: WebSocket, topic: Topic, wish: Wish) -> None:
        """Serve one websocket to its end."""
        metrics = self._service.metrics
        if metrics.sockets >= self._limits.most:
            await deny(socket, Refusal(503, "too many websockets are open", headers={"retry-after": "30"}))
            return
        metrics.sockets += 1
        try:
            await self._accepted(socket, topic, wish)
        except (WebSocketDisconnect, asyncio.TimeoutError, RuntimeError, OSError):
            await _let_go(socket)
        finally:
            metrics.sockets -= 1

    async def _accepted(self, socket: WebSocket, topic: Topic, wish: Wish) -> None:
        caller: Caller = socket.scope[CALLER]
        await socket.accept(subprotocol=PROTOCOL if PROTOCOL in caller.protocols else None)
        trusted = self._admission.trust.trusts(caller)
        if not self._admission.may_see(socket.url.path, is_trusted=trusted) and not await self._shows_token(socket):
            await socket.close(POLICY, "a token is needed: the sub-protocols bearer and token, or a first message")
            return
        await self.feed.enter()
        listening = asyncio.create_task(_until_gone(socket))
        telling = asyncio.create_task(self._tell(socket, topic, wish))
        try:
            await asyncio.wait({listening, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.feed.leave()
            ended = [task for task in (listening, telling) if task.done()]
            for task in (listening, telling):
                task.cancel()
            await asyncio.gather(listening, telling, return_exceptions=True)
        for task in ended:
            task.result()

    async def _shows_token(self, socket: WebSocket) -> bool:
        """Wait for `{"type": "auth", "token": "..."}`."""
        text = await asyncio.wait_for(socket.receive_text(), self._limits.token_within_s)
        try:
            said = json.loads(text)
        except ValueError:
            return False
        token = said.get("token") if isinstance(said, dict) and said.get("type") == "auth" else None
        return isinstance(token, str) and self._admission.trust.accepts(token)

    async def _tell(self, socket: WebSocket, topic: Topic, wish: Wish) -> None:
        clock, limits = self._service.clock, self._limits
        beat_at = clock.monotonic() + limits.heartbeat_s
        seen = ""
        while True:
            if await topic.after(seen, max(beat_at - clock.monotonic(), 0.001)):
                seen = topic.stamp
                await self._send(socket, await message(self._service, topic, wish))
            if clock.monotonic() >= beat_at:
                await self._send(socket, frame("heartbeat", clock.now()))
                beat_at += limits.heartbeat_s

    async def _send(self, socket: WebSocket, text: str) -> None:
        """Send a frame; raises `TimeoutError` for a consumer that does not take it in time."""
        await asyncio.wait_for(socket.send_text(text), self._limits.send_within_s)


async def deny(socket: WebSocket, refusal: Refusal) -> None:
    """Refuse a websocket before it opens."""
    if "websocket.http.response" in (socket.scope.get("extensions") or {}):
        await socket.send_denial_response(refused(refusal))
    else:
        await socket.close(POLICY, refusal.detail)


async def _until_gone(socket: WebSocket) -> None:
    """Take whatever comes and answer nothing, until the other side leaves."""
    while True:
        if (await socket.receive())["type"] == "websocket.disconnect":
            return


async def _let_go(socket: WebSocket) -> None:
    """Close a websocket whose other side no longer answers, without waiting for it."""
    try:
        await asyncio.wait_for(socket.close(TOO_SLOW), 1.0)
    except (WebSocketDisconnect, asyncio.TimeoutError, RuntimeError, OSError) as error:
        del error
        return
