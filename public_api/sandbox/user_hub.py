"""Who listens to the account's events, and what the world does to events on their way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from public_api.sandbox.answers import Row
from public_api.sandbox.socket_session import SocketSession

MOST_SUBSCRIPTIONS = 65_535


@dataclass(slots=True)
class Distortion:
    """How many events to come are lost, sent twice, or sent after their follower."""

    lose: int = 0
    duplicate: int = 0
    reorder: int = 0


@dataclass(slots=True, eq=False)
class UserClient:
    """One connection to the WebSocket API: its key once it has logged on, its subscription if it has one."""

    session: SocketSession
    connected_ms: int
    api_key: str | None = None
    authorized_ms: int | None = None
    subscription: int | None = None
    next_subscription: int = 0


@dataclass(slots=True)
class UserHub:
    """All connections to the WebSocket API. `frozen` holds events back for good; `refusals` subscriptions fail."""

    clients: list[UserClient] = field(default_factory=list)
    distortion: Distortion = field(default_factory=Distortion)
    frozen: bool = False
    refusals: int = 0
    _late: list[Row] = field(default_factory=list)

    def publish(self, events: Sequence[Row]) -> None:
        """Send events to everybody subscribed."""
        if self.frozen:
            return
        for event in self._distorted(events):
            for client in self.clients:
                if client.subscription is not None:
                    client.session.offer({"subscriptionId": client.subscription, "event": event})

    def terminate(self, now_ms: int) -> None:
        """End every subscription with the exchange's event."""
        self.publish([{"e": "eventStreamTerminated", "E": now_ms}])
        for client in self.clients:
            client.subscription = None

    def drop_all(self) -> None:
        """Cut all connections."""
        for client in list(self.clients):
            client.session.drop()

    def shut_down(self, now_ms: int) -> None:
        """Announce the end, then close all connections."""
        for client in list(self.clients):
            client.session.offer({"event": {"e": "serverShutdown", "E": now_ms}})
            client.session.close()

    def _distorted(self, events: Sequence[Row]) -> list[Row]:
        sent: list[Row] = []
        for event in events:
            if self.distortion.lose > 0:
                self.distortion.lose -= 1
            elif self.distortion.reorder > 0 and not self._late:
                self.distortion.reorder -= 1
                self._late.append(event)
            else:
                sent += [event, *self._late]
                self._late.clear()
                if self.distortion.duplicate > 0:
                    self.distortion.duplicate -= 1
                    sent.append(event)
        return sent
