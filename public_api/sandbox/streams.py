"""Market streams over WebSocket: who listens to what, in raw form or in the combined envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping

from public_api.sandbox.answers import Json, Row
from public_api.sandbox.market_publisher import MarketPublisher
from public_api.sandbox.socket_session import SocketSession

MOST_STREAMS = 1024
_UNKNOWN_PROPERTY, _INVALID, _NO_JSON = 0, 2, 3


class StreamRequestError(Exception):
    """A control message that makes no sense; code and text are what the client is told."""

    def __init__(self, text: str, code: int = _INVALID) -> None:
        """Keep the code beside the text."""
        super().__init__(text)
        self.code = code


class StreamClient:
    """One connection's subscriptions."""

    def __init__(self, session: SocketSession, streams: list[str], *, combined: bool) -> None:
        """Start with the streams of the address."""
        self.session = session
        self.combined = combined
        self.streams: dict[str, None] = dict.fromkeys(streams)

    def push(self, stream: str, event: Json) -> None:
        """Send an event of a stream."""
        self.session.offer({"stream": stream, "data": event} if self.combined else event)


class StreamHub:
    """All market stream connections, and what an operator does to them.

    `frozen` keeps connections open but silent; `refusals` is how many subscriptions to come are refused.
    """

    def __init__(self, publisher: MarketPublisher) -> None:
        """Publish what the publisher makes."""
        self._publisher = publisher
        self.clients: list[StreamClient] = []
        self.frozen = False
        self.refusals = 0

    def join(self, client: StreamClient, now_ms: int) -> None:
        """Take in a connection."""
        self.clients.append(client)
        self._publisher.begin(client.streams, now_ms)

    def publish(self, now_ms: int) -> None:
        """Send everybody their news."""
        wanted = sorted({stream for client in self.clients for stream in client.streams})
        if not wanted or self.frozen:
            return
        for stream, events in self._publisher.due(wanted, now_ms).items():
            for client in self.clients:
                if stream in client.streams:
                    for event in events:
                        client.push(stream, event)

    def drop_all(self) -> None:
        """Cut all connections."""
        for client in list(self.clients):
            client.session.drop()

    def shut_down(self, now_ms: int) -> None:
        """Announce the end, then close all connections."""
        event: Row = {"e": "serverShutdown", "E": now_ms}
        for client in list(self.clients):
            client.push("!serverShutdown", event)
            client.session.close()

    def answer(self, client: StreamClient, text: str, now_ms: int) -> None:
        """Answer one control message."""
        identity: Json = None
        try:
            message = _message(text)
            identity = message.get("id")
            result = self._obey(client, message, now_ms)
        except StreamRequestError as error:
            client.session.offer({"code": error.code, "msg": str(error), "id": identity})
        else:
            client.session.offer({"result": result, "id": identity})

    def _obey(self, client: StreamClient, message: Mapping[str, Json], now_ms: int) -> Json:
        match message.get("method"):
            case "SUBSCRIBE":
                self._subscribe(client, _names(message), now_ms)
                return None
            case "UNSUBSCRIBE":
                for name in _names(message):
                    client.streams.pop(name, None)
                return None
            case "LIST_SUBSCRIPTIONS":
                return list(client.streams)
            case "SET_PROPERTY":
                _set_property(client, message.get("params"))
                return None
            case "GET_PROPERTY":
                if message.get("params") != ["combined"]:
                    raise StreamRequestError("Unknown property", _UNKNOWN_PROPERTY)
                return client.combined
        raise StreamRequestError(f"Invalid request: unknown variant {message.get('method')!r}")

    def _subscribe(self, client: StreamClient, names: list[str], now_ms: int) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise StreamRequestError("Invalid request: subscriptions are refused at present")
        if len(client.streams.keys() | set(names)) > MOST_STREAMS:
            raise StreamRequestError(f"Invalid request: more than {MOST_STREAMS} streams")
        client.streams |= dict.fromkeys(names)
        self._publisher.begin(names, now_ms)


def _message(text: str) -> Mapping[str, Json]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise StreamRequestError(f"Invalid JSON: {error}", _NO_JSON) from error
    if not isinstance(message, dict):
        raise StreamRequestError("Invalid request: request must be an object")
    return message


def _names(message: Mapping[str, Json]) -> list[str]:
    names = message.get("params")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise StreamRequestError("Invalid request: params must be an array of stream names")
    return [str(name) for name in names]


def _set_property(client: StreamClient, params: Json) -> None:
    if not isinstance(params, list) or len(params) != 2 or params[0] != "combined" or not isinstance(params[1], bool):
        raise StreamRequestError("Unknown property", _UNKNOWN_PROPERTY)
    client.combined = params[1]
