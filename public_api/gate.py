"""What every connection passes first: admission, the hot answers, time limits, errors without traces, headers, counts.

A plain ASGI middleware: an answer that is kept is sent from here and wakes nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from public_api.admission import Admission
from public_api.callers import Caller, caller_of
from public_api.refusals import Refusal, broken, refused
from public_api.service import ASKED, Asked, Service, response_of

CALLER, HEAD = "bnml.caller", "bnml.head"
_METHODS = "GET, HEAD"
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"geolocation=(), camera=(), microphone=()"),
)
_NO_CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_OWN_RESOURCES = (b"cross-origin-resource-policy", b"same-origin")


class Gate:
    """Stands before the application."""

    def __init__(self, app: ASGIApp, *, service: Service, admission: Admission, limit_s: float) -> None:
        """Guard `app`; an answer may take `limit_s` seconds to begin."""
        self._app = app
        self._service = service
        self._admission = admission
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on, or answer it."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock, began = self._service.clock, self._service.clock.monotonic()
        answer = _Answering(send, is_head=scope["method"] == "HEAD")
        try:
            await self._answer(scope, receive, answer)
        finally:
            spent = clock.monotonic() - began
            self._service.metrics.count(scope["method"], scope["path"], answer.status or 499, spent)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answering) -> None:
        try:
            caller = caller_of(scope)
            answer.origin = self._admission.enter(caller, scope["path"])
            if scope["method"] not in ("GET", "HEAD"):
                await self._other_method(scope, answer)
            else:
                await self._get(scope, receive, answer, caller)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, answer)
        except Exception as error:
            if answer.status:
                raise
            await broken(error)(scope, receive, answer)

    async def _get(self, scope: Scope, receive: Receive, answer: _Answering, caller: Caller) -> None:
        path, now = scope["path"], self._service.clock.now()
        trusted = self._admission.is_trusted(caller, path)
        key = (path, scope["query_string"], trusted)
        asked = Asked(caller, key, trusted, self._service.watch.version(), int(now.timestamp()))
        kept = self._service.cache.find(key, asked.version, asked.second)
        if kept is not None:
            await response_of(kept, caller.known_tag)(scope, receive, answer)
            return
        scope[ASKED] = asked
        inner = {**scope, "method": "GET", HEAD: True} if scope["method"] == "HEAD" else scope
        await self._within_limit(self._app(inner, receive, answer), answer)

    async def _within_limit(self, work: Awaitable[None], answer: _Answering) -> None:
        """Wait for the answer to begin within the limit; one that has begun may take its time."""
        task = asyncio.ensure_future(work)
        begun = asyncio.ensure_future(answer.begun.wait())
        try:
            await asyncio.wait({task, begun}, timeout=self._limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not answer.begun.is_set():
                raise Refusal(503, "no answer within the time limit; try again", headers={"retry-after": "5"})
            await task
        finally:
            begun.cancel()
            task.cancel()

    async def _other_method(self, scope: Scope, answer: _Answering) -> None:
        """Answer the question a browser asks before it calls, refuse everything else."""
        names = {name for name, _ in scope["headers"]}
        if scope["method"] != "OPTIONS" or b"access-control-request-method" not in names or not answer.origin:
            raise Refusal(405, f"allowed methods: {_METHODS}", headers={"allow": _METHODS})
        await answer({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
        await answer({"type": "http.response.body", "body": b""})

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            caller = caller_of(scope)
            self._admission.enter(caller, scope["path"])
            if self._admission.trust.has_wrong_token(caller):
                raise Refusal(401, "this token is not ours")
        except Refusal as refusal:
            await _denied(scope, receive, send, refusal)
            return
        scope[CALLER] = caller
        await self._app(scope, receive, send)


_PREFLIGHT = (
    (b"access-control-allow-methods", _METHODS.encode()),
    (b"access-control-allow-headers", b"Authorization, If-None-Match"),
    (b"access-control-max-age", b"600"),
)


class _Answering:
    """Sends an answer on: adds what every answer carries, leaves out the body of a HEAD, remembers the status."""

    def __init__(self, send: Send, *, is_head: bool) -> None:
        self.status = 0
        self.origin = ""
        self.begun = asyncio.Event()
        self._send = send
        self._is_head = is_head

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.begun.set()
            message["headers"] = self._headers(list(message.get("headers", ())))
        elif self._is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name for name, _ in given}
        more = list(_SECURITY)
        if _NO_CONTENT[0] not in names:
            more.append(_NO_CONTENT)
        if self.origin:
            more.append((b"access-control-allow-origin", self.origin.encode("latin-1")))
            more.append((b"access-control-expose-headers", b"ETag, Retry-After"))
        else:
            more.append(_OWN_RESOURCES)
        more.append((b"vary", b"Origin"))
        return given + more


async def _denied(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Refuse a websocket before it opens, with a readable answer where the server can send one."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await refused(refusal)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.detail})
