"""The one rule of who may see what.

`healthz` is for everyone; the site, the predictions and the market routes are for everyone once `public_market` is on;
all the rest, named here or not, is private: seen from this machine itself or with the token.
"""

from __future__ import annotations

from enum import Enum

HEALTH = "/healthz"
PREDICTIONS = ("/api/v1/predictions", "/api/v1/opportunities", "/api/runtime/predictions", "/api/runtime/opportunities")
"""The scan's rows, of which `/opportunities` is the short name."""
INDEX = ("/api/market/index", "/api/v1/market/index")
INDEX_HISTORY = ("/api/market/index/history", "/api/v1/market/index/history")
INTELLIGENCE = ("/api/market/intelligence", "/api/v1/market/intelligence")
PREDICTIONS_SOCKET, INTELLIGENCE_SOCKET = "/ws/predictions", "/ws/market/intelligence"
SITE, FAVICON, ASSETS = "/", "/favicon.ico", "/assets/"

_MARKET = frozenset(
    {
        SITE,
        FAVICON,
        "/opportunities",
        *PREDICTIONS,
        *INDEX,
        *INDEX_HISTORY,
        *INTELLIGENCE,
        PREDICTIONS_SOCKET,
        INTELLIGENCE_SOCKET,
    }
)


class Reach(Enum):
    """For whom an answer is."""

    EVERYONE = "everyone"
    MARKET = "market"
    PRIVATE = "private"


def reach_of(path: str) -> Reach:
    """Give for whom the answer of a path is; whatever is not named is private.

    >>> reach_of("/healthz"), reach_of("/api/market/index"), reach_of("/api/v1/trades"), reach_of("/nowhere")
    (<Reach.EVERYONE: 'everyone'>, <Reach.MARKET: 'market'>, <Reach.PRIVATE: 'private'>, <Reach.PRIVATE: 'private'>)
    """
    if path == HEALTH:
        return Reach.EVERYONE
    if path in _MARKET or path.startswith(ASSETS):
        return Reach.MARKET
    return Reach.PRIVATE


def may_see(path: str, *, is_trusted: bool, public_market: bool) -> bool:
    """Tell whether a caller may see the answer of a path; trusted is this machine itself, or whoever has the token."""
    reach = reach_of(path)
    return is_trusted or reach is Reach.EVERYONE or (reach is Reach.MARKET and public_market)
