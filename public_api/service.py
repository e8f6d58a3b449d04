"""What every route works with, and how an answer is made: built off the event loop, kept, tagged, sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import cast

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from bn_ml.errors import StateError
from bn_ml.ports import Clock
from bn_ml.settings import Settings
from public_api.api_metrics import ApiMetrics
from public_api.book_queries import BookQueries
from public_api.book_watch import BookWatch, Version
from public_api.callers import Caller
from public_api.hot_cache import HotCache, Kept, Key, tag_of
from public_api.paging import Page
from public_api.refusals import NO_SOURCE, Refusal
from public_api.schemas_base import Aged

log = logging.getLogger(__name__)

ASKED = "bnml.asked"
JSON_TYPE = "application/json"
UNSTORED, CHECKED = "no-store", "private, no-cache"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that was let in: who asks for what, and the database version and second it came at."""

    caller: Caller
    key: Key
    is_trusted: bool
    version: Version | None
    second: int


@dataclass(slots=True)
class Service:
    """The parts one API is made of."""

    settings: Settings
    clock: Clock
    book: BookQueries
    watch: BookWatch
    database: Path
    models_dir: Path
    metrics: ApiMetrics = field(default_factory=ApiMetrics)
    cache: HotCache = field(default_factory=HotCache)
    downloads: int = 0

    def page(self, limit: int | None, offset: int = 0) -> Page:
        """Give the page asked for; without a limit the configured one."""
        return Page(self.settings.public_api.default_limit if limit is None else limit, offset)

    async def answer(
        self, request: HTTPConnection, build: Callable[[datetime], Aged], *, control: str = CHECKED
    ) -> Response:
        """Build an answer, keep it for whoever asks the same in this second, and give the response.

        Raises `Refusal` (503) when the database cannot be read.
        """
        asked, now = asked_of(request.scope), self.clock.now()
        try:
            content = await run_in_threadpool(build, now)
        except (StateError, ValidationError, OSError) as error:
            raise Refusal(503, NO_SOURCE, because=str(error), headers={"retry-after": "5"}) from error
        tag = "" if control == UNSTORED else tag_of(asked.key, asked.version, is_stale=content.stale)
        kept = Kept(content.model_dump_json().encode(), JSON_TYPE, tag, control)
        self.cache.keep(asked.key, asked.version, asked.second, kept)
        return response_of(kept, asked.caller.known_tag)


def response_of(kept: Kept, known_tag: str) -> Response:
    """Give the response of an answer; 304 for a caller that has it already."""
    headers = {"cache-control": kept.cache_control}
    if kept.tag:
        headers["etag"] = kept.tag
        if has_tag(known_tag, kept.tag):
            return Response(None, 304, headers)
    return Response(kept.body, 200, headers, kept.media_type)


def has_tag(known: str, tag: str) -> bool:
    """Tell whether a list of tags a caller has holds one."""
    return known == "*" or tag in [part.strip() for part in known.split(",")]


def service_of(request: HTTPConnection) -> Service:
    """Give the service of the application a request came to."""
    return cast(Service, request.app.state.service)


def asked_of(scope: Scope) -> Asked:
    """Give what the gate has found out about a request."""
    return cast(Asked, scope[ASKED])
