"""Who is let in: the checks every request and every websocket passes, in order, and the pages that may call."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from public_api.access import Reach, may_see, reach_of
from public_api.callers import Caller, Trust
from public_api.rate_limit import RateLimit
from public_api.refusals import UNAUTHORISED, Refusal

ANY_ORIGIN = "*"


@dataclass(frozen=True, slots=True)
class Origins:
    """The pages that may call from a browser: our own, those named, and with `*` any for the market routes."""

    named: Collection[str]

    def allowed(self, caller: Caller, path: str) -> str | None:
        """Give what may be told to the calling page, empty without one or for our own; None when it may not call."""
        if caller.is_same_origin:
            return ""
        if caller.origin in self.named and caller.origin != ANY_ORIGIN:
            return caller.origin
        return ANY_ORIGIN if ANY_ORIGIN in self.named and reach_of(path) is Reach.MARKET else None


@dataclass(frozen=True, slots=True)
class Admission:
    """The checks of one API."""

    trust: Trust
    origins: Origins
    rate: RateLimit
    public_market: bool

    def enter(self, caller: Caller, path: str) -> str:
        """Let a caller in as far as its place, name and page go; gives the origin to name in the answer.

        Raises `Refusal`: 429 too often, 400 under a foreign host name, 403 from a foreign page.
        """
        wait_s = self.rate.wait_s(caller.address)
        if wait_s:
            raise Refusal(429, "too many requests from this address", headers={"retry-after": str(wait_s)})
        if not self.trust.knows_host(caller):
            raise Refusal(400, "this host name is not served; add it to public_api.allowed_hosts")
        origin = self.origins.allowed(caller, path)
        if origin is None:
            raise Refusal(403, "pages of this origin may not call; add it to public_api.cors_origins")
        return origin

    def is_trusted(self, caller: Caller, path: str) -> bool:
        """Tell whether a caller is trusted; raises `Refusal` (401) when it may not see what it asks for."""
        trusted = self.trust.trusts(caller)
        if self.trust.has_wrong_token(caller) or not self.may_see(path, is_trusted=trusted):
            raise Refusal(401, UNAUTHORISED, headers={"www-authenticate": "Bearer"})
        return trusted

    def may_see(self, path: str, *, is_trusted: bool) -> bool:
        """Tell whether the answer of a path may be seen."""
        return may_see(path, is_trusted=is_trusted, public_market=self.public_market)
