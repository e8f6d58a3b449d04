"""Sends what the line decided over a real connection: late, cut short, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from aiohttp import web

from bn_ml.errors import StateError
from public_api.sandbox.answers import Row, json_response
from public_api.sandbox.requests import Request, Response
from public_api.sandbox.transmission import Transmission
from public_api.sandbox.world import World

_RESET_AT_ONCE = struct.pack("ii", 1, 0)
_INTERNAL: Row = {"code": -1001, "msg": "Internal error; unable to process your request. Please try again."}


def transmitted(world: World, received: Request) -> Transmission:
    """Carry a request through the world and settle what it did."""
    now_ms = world.move()
    try:
        sent = world.line.transmit(received, now_ms)
    except StateError as error:
        world.note_broken(error)
        sent = Transmission(json_response(500, _INTERNAL))
    world.settle(now_ms)
    if "signature=" in received.query or "signature=" in received.body:
        world.audit.answered(now_ms, served=is_served(sent))
    return sent


def is_served(sent: Transmission) -> bool:
    """Whether the client learns the true answer."""
    spoiled = sent.fault is not None and (sent.response.status >= 400 or not sent.response.body)
    return sent.drop is None and sent.cut_at is None and not spoiled and sent.response.status not in (418, 429)


async def deliver(world: World, received: Request, request: web.Request) -> web.StreamResponse:
    """Answer one HTTP request."""
    sent = transmitted(world, received)
    await linger(world, sent)
    if sent.drop is not None:
        reset(request.transport)
        return web.Response()
    if sent.cut_at is not None:
        return await _cut_short(request, sent.response, sent.cut_at)
    return web.Response(status=sent.response.status, headers=sent.response.headers, body=sent.response.body.encode())


async def linger(world: World, sent: Transmission) -> None:
    """Wait as long as the line takes, in market time; in wall time while the clock stands still."""
    if sent.delay_ms:
        speed = 1.0 if world.clock.frozen else world.clock.speed
        await asyncio.sleep(sent.delay_ms / 1000 / speed)


def reset(transport: asyncio.Transport | None) -> None:
    """Break a connection so that the other side sees a reset."""
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
    transport.abort()


async def _cut_short(request: web.Request, response: Response, count: int) -> web.StreamResponse:
    body = response.body.encode()
    answer = web.StreamResponse(status=response.status, headers=response.headers)
    answer.content_length = len(body)
    await answer.prepare(request)
    await answer.write(body[: min(count, len(body) - 1)] or b" ")
    if request.transport is not None:
        request.transport.close()
    return answer
