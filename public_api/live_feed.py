"""What websockets are told: the newest scan and the market's mood, read once for all of them when they change."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from bn_ml.domain.market import iso
from bn_ml.errors import StateError
from public_api.book_watch import Version
from public_api.schemas_base import Listed
from public_api.service import Service

log = logging.getLogger(__name__)

MOST_FRAME_BYTES = 64 * 1024
MOST_MESSAGES = 64
NEVER = "never"

Message = Callable[[int, datetime], Listed]
"""Gives what is told with at most so many rows."""


class Topic:
    """One keyed value that is followed; `kind` names its messages."""

    def __init__(self, kind: str, key: str) -> None:
        """Follow `key`."""
        self.kind = kind
        self.key = key
        self.stamp = NEVER
        self._changed = asyncio.Event()
        self._messages: dict[tuple[object, ...], str] = {}

    def begin(self) -> None:
        """Be waited for by those that listen from here on."""
        self._changed = asyncio.Event()

    async def after(self, stamp: str, within_s: float) -> bool:
        """Wait until the value was written after what `stamp` names; False when that took too long."""
        if self.stamp != stamp:
            return True
        changed = self._changed
        try:
            await asyncio.wait_for(changed.wait(), within_s)
        except asyncio.TimeoutError:
            return False
        return True

    def moved(self, stamp: str) -> None:
        """Take note that the value was written."""
        if stamp == self.stamp:
            return
        self.stamp = stamp
        self._messages.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    def told(self, wish: tuple[object, ...]) -> str | None:
        """Give the message made for the same wish since the value was written."""
        return self._messages.get(wish)

    def keep(self, wish: tuple[object, ...], text: str) -> None:
        """Keep a message for others with the same wish."""
        if len(self._messages) < MOST_MESSAGES:
            self._messages[wish] = text


class LiveFeed:
    """Looks at the database every `poll_s` seconds while anybody listens."""

    def __init__(self, service: Service, *, poll_s: float) -> None:
        """Follow nothing yet."""
        self._service = service
        self._poll_s = poll_s
        self.predictions = Topic("predictions", "latest_scan")
        self.intelligence = Topic("market_intelligence", "santrade_intelligence")
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._seen: Version | None = None

    async def enter(self) -> None:
        """Begin to look when the first one listens."""
        self._listeners += 1
        if self._task is None:
            for topic in (self.predictions, self.intelligence):
                topic.begin()
            self._task = asyncio.create_task(self._follow())
        await self._look()

    def leave(self) -> None:
        """Look no longer when nobody listens."""
        self._listeners -= 1
        if self._listeners <= 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._look()

    async def _look(self) -> None:
        """Ask when each value was written, only when the database has changed at all."""
        version = self._service.watch.version()
        if version is None or version == self._seen:
            return
        for topic in (self.predictions, self.intelligence):
            try:
                topic.moved(await run_in_threadpool(self._service.book.stamp, topic.key))
            except StateError as error:
                log.warning("websockets wait: %s", error)
                return
        self._seen = version


@dataclass(frozen=True, slots=True)
class Wish:
    """What one listener asks for: a name for equal wishes, the most rows, and how its rows are made."""

    name: tuple[object, ...]
    rows: int
    build: Message


async def message(service: Service, topic: Topic, wish: Wish) -> str:
    """Give the frame of a topic as it stands: at most 64 KiB, with fewer rows where more would not fit."""
    now = service.clock.now()
    name = (*wish.name, int(now.timestamp()))
    known = topic.told(name)
    if known is not None:
        return known
    try:
        text = await run_in_threadpool(_fitting, topic.kind, wish, now)
    except (StateError, ValidationError) as error:
        log.warning("a websocket is told of no source: %s", error)
        return frame(topic.kind, now, _nothing(now))
    topic.keep(name, text)
    return text


def frame(kind: str, now: datetime, payload: Mapping[str, object] | None = None) -> str:
    """Give a message as text."""
    body = {"type": kind, "ts": iso(now)}
    return json.dumps(body if payload is None else {**body, "payload": payload}, separators=(",", ":"))


def _fitting(kind: str, wish: Wish, now: datetime) -> str:
    rows = wish.rows
    while True:
        text = frame(kind, now, wish.build(rows, now).model_dump(mode="json"))
        if len(text) <= MOST_FRAME_BYTES or rows <= 1:
            return text
        rows = max(min(rows - 1, rows * MOST_FRAME_BYTES // len(text)), 1)


def _nothing(now: datetime) -> Mapping[str, object]:
    fields = {"generated_at": iso(now), "data_at": None, "age_sec": None, "stale": True}
    return {**fields, "total_rows": 0, "returned_rows": 0, "next_offset": None, "rows": [], "latest": None}
