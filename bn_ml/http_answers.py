"""What came back over HTTP, raw, and the door through which requests go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bn_ml.errors import BnMlError


class NoAnswer(BnMlError):
    """No complete answer arrived; the request may or may not have been carried out."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer as received; header names are lower case."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """Sends one request, once. Never judges the answer, never repeats anything."""

    def request(self, method: str, path: str, params: Mapping[str, str], *, signed: bool) -> HttpAnswer:
        """Send `method path` (path from the root, as `/api/v3/order`) and give the answer, whatever its status.

        A signed request gets key, `timestamp` (kept when `params` brings one), `recvWindow` and signature. Raises
        `NoAnswer` when no complete answer arrived.
        """
