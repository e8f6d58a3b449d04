"""Errors as callers see them: a sentence and an id, nothing of the machine; the log holds the rest under the id."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping

from pydantic import BaseModel, Field
from starlette.responses import Response

log = logging.getLogger(__name__)

NO_SOURCE = "no data source: the bot's database is absent, locked or unreadable; run bnml-doctor check"
UNAUTHORISED = "a bearer token is needed here: Authorization: Bearer <BNML_API_TOKEN>"


class ErrorAnswer(BaseModel):
    """What every error looks like."""

    detail: str = Field(description="what is wrong and, for a parameter, what is allowed")
    error_id: str = Field(description="the id under which the server's log tells more", pattern="^[0-9a-f]{8}$")


class Refusal(Exception):
    """What is answered instead of a result; `because` goes to the log alone."""

    def __init__(
        self, status: int, detail: str, *, because: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Keep the status and the words."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.because = because
        self.headers = dict(headers or {})


def refused(refusal: Refusal) -> Response:
    """Give the answer of a refusal and log what is behind it."""
    error_id = id_of(f"{refusal.status} {refusal.detail} {refusal.because}")
    if refusal.because:
        log.warning("api status=%s id=%s: %s", refusal.status, error_id, refusal.because)
    return error_answer(refusal.status, refusal.detail, error_id, refusal.headers)


def broken(error: BaseException) -> Response:
    """Give the answer to an error of ours, and log it whole."""
    error_id = id_of(repr(error))
    log.error("api status=500 id=%s", error_id, exc_info=error)
    return error_answer(500, "an error of the server; its log tells more", error_id, {})


def id_of(text: str) -> str:
    """Give the id of an error: equal errors have equal ids."""
    return f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def error_answer(status: int, detail: str, error_id: str, headers: Mapping[str, str]) -> Response:
    """Give an error as JSON."""
    body = json.dumps({"detail": detail, "error_id": error_id}).encode()
    return Response(body, status, {"cache-control": "no-store", **headers}, media_type="application/json")
