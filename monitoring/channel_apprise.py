"""Alerts through whatever the optional package Apprise knows: Discord, Slack, ntfy, Matrix and many more.

That package makes its own connections: the rules for addresses of the other channels do not hold for it.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Sequence
from typing import Protocol, cast

from bn_ml.errors import BnMlError
from monitoring.alert_text import Message
from monitoring.channel_failures import ChannelFailed

ROUNDS = 3
"""All services together may take so many times the longest wait for one answer."""


class PackageMissing(BnMlError):
    """Apprise is not installed."""


class ServiceRefused(BnMlError):
    """An address is of no service that Apprise knows; it is named by its place, since it holds secrets."""


class Apprise(Protocol):
    """What is used of the package's class of that name."""

    def add(self, servers: str) -> bool:
        """Add a service; False when its address is not understood."""

    def notify(self, body: str, title: str = "") -> bool:
        """Send to all services; False when one did not accept."""


class AppriseChannel:
    """Writes to every service named; a message that one of them does not accept is sent to all of them again."""

    name = "apprise"

    def __init__(self, urls: Sequence[str], *, timeout_s: float) -> None:
        """Raises `PackageMissing` without the package, `ServiceRefused` for an address it does not understand."""
        self._limit_s = ROUNDS * timeout_s
        self._services = _opened(urls)
        self._busy: threading.Thread | None = None

    def send(self, message: Message) -> None:
        """Send one message; raises `ChannelFailed`."""
        if self._busy is not None and self._busy.is_alive():
            raise ChannelFailed("apprise: the message before is still being sent")
        accepted: list[bool] = []
        # A thread of its own: the package gives no way to end what it has begun.
        self._busy = threading.Thread(
            target=lambda: accepted.append(self._services.notify(body=message.text)), name="apprise", daemon=True
        )
        self._busy.start()
        self._busy.join(self._limit_s)
        if not accepted:
            raise ChannelFailed(f"apprise: not sent within {self._limit_s:g} s")
        if not accepted[0]:
            raise ChannelFailed("apprise: a service did not accept the message")


def _opened(urls: Sequence[str]) -> Apprise:
    # Its log lines name addresses.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    try:
        package = importlib.import_module("apprise")
    except ImportError:
        raise PackageMissing("the package apprise is not installed; pip install 'bn-ml[alerts]'") from None
    services = cast(Apprise, package.Apprise())
    for place, url in enumerate(urls, start=1):
        if not services.add(url):
            raise ServiceRefused(f"address {place} of BNML_APPRISE_URLS is of no service that Apprise knows")
    return services
