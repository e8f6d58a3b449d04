"""Alerts as JSON by POST: `text` for chat services, and the fields for programs."""

from __future__ import annotations

import json

from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.ports import Clock
from monitoring.alert_text import Message
from monitoring.channel_failures import ChannelFailed, asked_wait_s
from monitoring.outgoing_address import AddressRefused
from monitoring.outgoing_http import OutgoingHttp

_HEADERS = {"Content-Type": "application/json; charset=utf-8"}
_PASSING = frozenset({408, 409, 421, 423, 425, 429})


class WebhookChannel:
    """Posts to one address; any 2xx counts as accepted, redirects are not followed."""

    name = "webhook"

    def __init__(self, url: str, clock: Clock, *, timeout_s: float) -> None:
        """Raises `AddressRefused` for an address that must not be used."""
        self._http = OutgoingHttp(url, clock, timeout_s=timeout_s)

    def send(self, message: Message) -> None:
        """Post one message; raises `ChannelFailed`."""
        try:
            answer = self._http.request("POST", body=payload(message), headers=_HEADERS)
        except AddressRefused as error:
            raise ChannelFailed(str(error), refused=True) from None
        except NoAnswer as error:
            raise ChannelFailed(str(error)) from None
        require_accepted(answer, self._http.target.host)


def payload(message: Message) -> bytes:
    """Write a message as JSON: text, mode, level, the fields of the first alert, and all alerts."""
    alerts = [entry.plain() for entry in message.told]
    first = alerts[0] if len(alerts) == 1 else {}
    content = {
        **first,
        "text": message.text,
        "mode": message.mode,
        "level": message.level.name,
        "suppressed": message.suppressed,
        "alerts": alerts,
    }
    return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()


def require_accepted(answer: HttpAnswer, host: str) -> None:
    """Raise `ChannelFailed` unless the answer is a 2xx."""
    if 200 <= answer.status < 300:
        return
    wait_s = asked_wait_s(answer.headers.get("retry-after", "")) if answer.status in (429, 503) else None
    refused = answer.status < 500 and answer.status not in _PASSING
    raise ChannelFailed(f"{host} answered {answer.status}", wait_s=wait_s, refused=refused)
