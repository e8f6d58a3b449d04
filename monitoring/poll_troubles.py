"""What to do when a chat cannot be read: how long to wait, and what people are told once."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.ports import AlertSink, Clock
from monitoring.telegram_bot_api import BotApiError, BotApiRefused, SecondPoller, TooManyRequests

log = logging.getLogger(__name__)

SECOND_POLLER, TOKEN_REFUSED, DOWN = "telegram_second_poller", "telegram_token_refused", "telegram_down"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait after a failure, in seconds: doubled from the first to the longest while it lasts.

    `rival_first_s` and `rival_longest_s` are for a second poller; an outage of `outage_told_s` is told, and an incident
    with a second poller ends after `rival_settled_s` without one.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    rival_first_s: float = 15.0
    rival_longest_s: float = 120.0
    outage_told_s: float = 300.0
    rival_settled_s: float = 600.0


class PollTroubles:
    """Counts failures in a row and tells each incident once, and its end."""

    def __init__(self, alerts: AlertSink, clock: Clock, patience: Patience) -> None:
        """Start without a trouble."""
        self._alerts = alerts
        self._clock = clock
        self._patience = patience
        self._in_row = 0
        self._rivals = 0
        self._since_s: float | None = None
        self._rival_s = float("-inf")
        self._told: set[str] = set()

    def failed(self, error: BotApiError) -> float:
        """Take note of a failed poll and give how many seconds to wait."""
        now_s = self._clock.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        log.log(logging.DEBUG if self._in_row else logging.WARNING, "chat not read: %s", error)
        self._in_row += 1
        wait_s = self._wait_s(error, now_s)
        if isinstance(error, SecondPoller):
            self._tell(SECOND_POLLER)
        elif isinstance(error, BotApiRefused):
            self._tell(TOKEN_REFUSED)
        elif max(now_s - self._since_s, wait_s) >= self._patience.outage_told_s:
            self._tell(DOWN)
        return wait_s

    def worked(self) -> None:
        """Take note of a poll that was answered; a second poller counts as gone only after a while."""
        self._in_row, self._since_s = 0, None
        self._end(TOKEN_REFUSED)
        self._end(DOWN)
        if self._rivals and self._clock.monotonic() - self._rival_s >= self._patience.rival_settled_s:
            self._rivals = 0
            self._end(SECOND_POLLER)

    def _wait_s(self, error: BotApiError, now_s: float) -> float:
        patience = self._patience
        if isinstance(error, TooManyRequests):
            return error.wait_s
        if isinstance(error, SecondPoller):
            self._rivals += 1
            self._rival_s = now_s
            return min(patience.rival_first_s * 2.0 ** min(self._rivals - 1, 16), patience.rival_longest_s)
        if isinstance(error, BotApiRefused):
            return patience.longest_s
        return min(patience.first_s * 2.0 ** min(self._in_row - 1, 16), patience.longest_s)

    def _tell(self, key: str) -> None:
        if key not in self._told:
            self._told.add(key)
            title, why, next_action = _WORDS[key]
            self._alerts.offer(Alert(self._clock.now(), AlertLevel.WARNING, key, title, why, next_action))

    def _end(self, key: str) -> None:
        if key in self._told:
            self._told.discard(key)
            self._alerts.offer(
                Alert(self._clock.now(), AlertLevel.INFO, key, "Telegram control reads its chat again", ends=True)
            )


_WORDS = {
    SECOND_POLLER: (
        "a second program reads the commands of the same Telegram bot",
        "each of them gets only some of the commands, so /kill may go astray",
        "stop the other program, or give this bot a token of its own",
    ),
    TOKEN_REFUSED: (
        "Telegram refuses the token of the control chat",
        "no command gets through, /kill included",
        "correct TELEGRAM_BOT_TOKEN and start again; until then use bnml-kill-switch",
    ),
    DOWN: (
        "Telegram cannot be reached",
        "no command gets through, /kill included",
        "check the network; until then use bnml-kill-switch on the machine of the bot",
    ),
}
