"""The WebSocket API: the REST endpoints by method name, sessions, and the user data stream.

A request is verified by its own signature rule (parameters sorted by name, not percent-encoded) and then goes the way
of every REST request, signed with the gateway's key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from bn_ml.venue.errors import VenueError, missing
from public_api.sandbox.answers import Json, Row, status_of
from public_api.sandbox.requests import Parameters, Request, Response
from public_api.sandbox.signing import SignedTime, is_signed_by
from public_api.sandbox.user_hub import MOST_SUBSCRIPTIONS, UserClient
from public_api.sandbox.world import World

Params = dict[str, str]

_ED25519 = "PUBLIC KEY"
_OWN = ("apiKey", "signature")
_INTERVAL = {"1M": ("REQUEST_WEIGHT", "MINUTE", 1), "10S": ("ORDERS", "SECOND", 10), "1D": ("ORDERS", "DAY", 1)}
_PUBLIC = {
    "ping": "ping",
    "time": "time",
    "exchangeInfo": "exchangeInfo",
    "depth": "depth",
    "trades.recent": "trades",
    "trades.historical": "historicalTrades",
    "trades.aggregate": "aggTrades",
    "klines": "klines",
    "uiKlines": "uiKlines",
    "avgPrice": "avgPrice",
    "ticker.24hr": "ticker/24hr",
    "ticker.price": "ticker/price",
    "ticker.book": "ticker/bookTicker",
    "executionRules": "executionRules",
    "referencePrice": "referencePrice",
}
_SIGNED = {
    "order.place": ("POST", "order"),
    "order.test": ("POST", "order/test"),
    "order.status": ("GET", "order"),
    "order.cancel": ("DELETE", "order"),
    "order.cancelReplace": ("POST", "order/cancelReplace"),
    "order.amend.keepPriority": ("PUT", "order/amend/keepPriority"),
    "openOrders.status": ("GET", "openOrders"),
    "openOrders.cancelAll": ("DELETE", "openOrders"),
    "allOrders": ("GET", "allOrders"),
    "orderList.place": ("POST", "order/oco"),
    "orderList.place.oco": ("POST", "orderList/oco"),
    "orderList.place.oto": ("POST", "orderList/oto"),
    "orderList.place.otoco": ("POST", "orderList/otoco"),
    "orderList.place.opo": ("POST", "orderList/opo"),
    "orderList.place.opoco": ("POST", "orderList/opoco"),
    "orderList.status": ("GET", "orderList"),
    "orderList.cancel": ("DELETE", "orderList"),
    "openOrderLists.status": ("GET", "openOrderList"),
    "allOrderLists": ("GET", "allOrderList"),
    "account.status": ("GET", "account"),
    "account.rateLimits.orders": ("GET", "rateLimit/order"),
    "account.commission": ("GET", "account/commission"),
    "myTrades": ("GET", "myTrades"),
    "myFilters": ("GET", "myFilters"),
}


class WebSocketApi:
    """Answers the frames of all connections."""

    def __init__(self, world: World) -> None:
        """Speak for a world."""
        self._world = world
        self._sessions: dict[str, Callable[[UserClient, Params], Json]] = {
            "session.logon": self._logon,
            "session.logout": self._logout,
            "session.status": self._status,
            "session.subscriptions": self._subscriptions,
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe_signed,
            "userDataStream.unsubscribe": self._unsubscribe,
        }

    def inner_request(self, client: UserClient, frame: Row) -> Request | None:
        """Give the REST request a frame stands for, None for a frame about the session; raises `VenueError`."""
        method, params = str(frame.get("method")), _params(frame)
        if method in self._sessions:
            return None
        if method in _PUBLIC:
            return Request("GET", f"/api/v3/{_PUBLIC[method]}", urlencode(params))
        if method not in _SIGNED:
            raise VenueError(-1020, "This operation is not supported.")
        verb, path = _SIGNED[method]
        self._authorised(client, params)
        query = urlencode(sorted((name, value) for name, value in params.items() if name not in _OWN))
        keys = self._world.keys
        return Request(verb, f"/api/v3/{path}", keys.gateway_signed(query), headers={"X-MBX-APIKEY": keys.gateway_key})

    def about_session(self, client: UserClient, frame: Row) -> Row:
        """Answer a frame about the session itself; raises `VenueError`."""
        result = self._sessions[str(frame.get("method"))](client, _params(frame))
        return {"id": frame.get("id"), "status": 200, "result": result}

    def _authorised(self, client: UserClient, params: Params) -> str:
        """Verify a frame's key and signature, or the session's; gives the API key."""
        if client.api_key is not None and "signature" not in params:
            self._world.dialect.keys.secret(client.api_key)
            return client.api_key
        api_key = params.get("apiKey")
        if api_key is None:
            raise missing("apiKey")
        secret = self._world.dialect.keys.secret(api_key)
        if "signature" not in params:
            raise missing("signature")
        payload = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
        if not is_signed_by(secret, payload.encode(), params["signature"]):
            raise VenueError(-1022, "Signature for this request is not valid.")
        return api_key

    def _in_time(self, params: Params) -> None:
        SignedTime(Parameters(urlencode(params))).check(self._world.clock.now_ms())

    def _logon(self, client: UserClient, params: Params) -> Json:
        api_key = self._authorised(client, params)
        self._in_time(params)
        if _ED25519 not in self._world.dialect.keys.secret(api_key):
            raise VenueError(-4056, "HMAC_SHA256 API key is not supported.")
        client.api_key, client.authorized_ms = api_key, self._world.clock.now_ms()
        return self._status(client, params)

    def _logout(self, client: UserClient, params: Params) -> Json:
        client.api_key = client.authorized_ms = None
        client.subscription = None
        return self._status(client, params)

    def _status(self, client: UserClient, params: Params) -> Json:
        return {
            "apiKey": client.api_key,
            "authorizedSince": client.authorized_ms,
            "connectedSince": client.connected_ms,
            "returnRateLimits": True,
            "serverTime": self._world.clock.now_ms(),
            "userDataStream": client.subscription is not None,
        }

    def _subscriptions(self, client: UserClient, params: Params) -> Json:
        return [] if client.subscription is None else [{"subscriptionId": client.subscription}]

    def _subscribe_signed(self, client: UserClient, params: Params) -> Json:
        self._authorised(client, params)
        self._in_time(params)
        return self._subscribed(client)

    def _subscribe(self, client: UserClient, params: Params) -> Json:
        if client.api_key is None:
            raise VenueError(-2014, "API-key format invalid.")
        return self._subscribed(client)

    def _subscribed(self, client: UserClient) -> Json:
        users = self._world.users
        if users.refusals > 0:
            users.refusals -= 1
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")
        if client.subscription is not None:
            raise VenueError(-2035, "User Data Stream subscription already active.")
        if client.next_subscription >= MOST_SUBSCRIPTIONS:
            raise VenueError(-1003, "Too many subscriptions on this connection.")
        client.subscription = client.next_subscription
        client.next_subscription += 1
        return {"subscriptionId": client.subscription}

    def _unsubscribe(self, client: UserClient, params: Params) -> Json:
        wanted = params.get("subscriptionId")
        if client.subscription is None or wanted not in (None, str(client.subscription)):
            raise VenueError(-2036, "User Data Stream subscription not active.")
        client.subscription = None
        return {}


def read_frame(text: str) -> Row:
    """Read a frame; raises `VenueError` on anything but an object with a method."""
    try:
        frame = json.loads(text)
    except ValueError as error:
        raise VenueError(-1135, "Invalid JSON Request") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("method"), str):
        raise VenueError(-1135, "Invalid JSON Request")
    return frame


def refused(identity: Json, refusal: VenueError) -> Row:
    """Give the frame of a refusal."""
    error: Row = {"code": refusal.code, "msg": refusal.text}
    return {"id": identity, "status": status_of(refusal.code), "error": error}


def framed(identity: Json, response: Response) -> Row:
    """Give a REST answer as a frame; a body that is no JSON becomes the exchange's general error."""
    try:
        payload = json.loads(response.body)
    except ValueError:
        payload = {"code": -1000, "msg": "An unknown error occurred while processing the request."}
    name = "result" if response.status == 200 else "error"
    return {"id": identity, "status": response.status, name: payload, "rateLimits": _rate_limits(response.headers)}


def _rate_limits(headers: Mapping[str, str]) -> list[Json]:
    limits: list[Json] = []
    for name, (kind, interval, number) in _INTERVAL.items():
        prefix = "X-MBX-USED-WEIGHT-" if kind == "REQUEST_WEIGHT" else "X-MBX-ORDER-COUNT-"
        count = headers.get(prefix + name)
        if count is not None:
            limits.append(
                {
                    "rateLimitType": kind,
                    "interval": interval,
                    "intervalNum": number,
                    "limit": {"1M": 6000, "10S": 100, "1D": 200_000}[name],
                    "count": int(count),
                }
            )
    return limits


def _params(frame: Row) -> Params:
    params = frame.get("params")
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise VenueError(-1135, "Invalid JSON Request")
    return {str(name): _word(value) for name, value in params.items()}


def _word(value: Json) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
