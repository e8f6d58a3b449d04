"""One connection to the venue's combined price stream, from the first packet to its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from bn_ml.errors import Transient
from bn_ml.ports import Clock
from monitoring.stream_inbox import StreamInbox, StreamLimits

LARGEST_FRAME = 64 * 1024
_FAREWELL_S = 0.3
_ENDING_S = 1.0


class StreamClient:
    """Connects, listens and asks until it is told to stop, the venue announces its end, or something is wrong."""

    def __init__(
        self, url: str, inbox: StreamInbox, clock: Clock, limits: StreamLimits, go_on: Callable[[], bool]
    ) -> None:
        """`go_on` is asked several times a second; the connection is closed once it says no."""
        self._url = url
        self._inbox = inbox
        self._clock = clock
        self._limits = limits
        self._go_on = go_on
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the venue has accepted the connection and it has not ended."""
        return self._socket is not None

    async def run(self) -> None:
        """Stay connected; returns after a planned end and raises, anything at all, after another.

        Certificates are verified, redirections are not followed.
        """
        parts = [asyncio.create_task(self._listen()), asyncio.create_task(self._tend())]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            ended = [part for part in parts if part.done()]
        finally:
            self._socket = None
            for part in parts:
                part.cancel()
            done, _ = await asyncio.wait(parts, timeout=_ENDING_S)
        causes = {part: part.exception() for part in done if not part.cancelled()}
        for part in ended:
            if (cause := causes.get(part)) is not None:
                raise cause

    async def _listen(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        connector = aiohttp.TCPConnector(resolver=_Resolver(), force_close=True)
        timeout = aiohttp.ClientWSTimeout(ws_close=_FAREWELL_S)
        async with aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:
            async with session.ws_connect(self._url, timeout=timeout, max_msg_size=LARGEST_FRAME) as connection:
                self._inbox.opened()
                self._socket = connection
                while not self._takes(await connection.receive()):
                    continue

    def _takes(self, message: aiohttp.WSMessage) -> bool:
        """Use one message; True when the venue is about to close. Raises `Transient` when it has closed."""
        if message.type is aiohttp.WSMsgType.TEXT:
            return self._inbox.take(str(message.data))
        if message.type is aiohttp.WSMsgType.BINARY:
            return self._inbox.take("")
        raise Transient(f"the stream ended: {message.type.name} {message.data!r:.100}")

    async def _tend(self) -> None:
        began_s = self._clock.monotonic()
        while self._go_on():
            lasted_s = self._clock.monotonic() - began_s
            if self._socket is None:
                if lasted_s > self._limits.connect_s:
                    raise Transient(f"no connection within {self._limits.connect_s:g} s")
            elif lasted_s > self._limits.lifetime_s:
                return
            else:
                self._inbox.require_useful()
                request = self._inbox.request()
                if request is not None:
                    await asyncio.wait_for(self._socket.send_str(request), self._limits.answer_s)
            await asyncio.sleep(self._limits.turn_s)


class _Resolver(AbstractResolver):
    """Looks names up in the calling thread, which has nothing else to do then.

    A thread pool would keep the process from ending while a name server is silent.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        return


async def _refuse_redirect(session: aiohttp.ClientSession, context: object, found: object) -> None:
    raise Transient("the stream wants to be found at another address")
