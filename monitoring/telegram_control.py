"""The thread that listens to one Telegram chat, beside the loop and unable to hold it up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bn_ml.ports import AlertSink, Clock
from monitoring.poll_troubles import Patience, PollTroubles
from monitoring.telegram_bot_api import BotApiDown, BotApiError, WebhookSet
from monitoring.telegram_desk import TelegramDesk
from monitoring.telegram_updates import read_update
from monitoring.update_offset import UpdateOffset

log = logging.getLogger(__name__)

LONG_POLL_S, SHORT_POLL_S = 25.0, 2.0
STEP_S = 2.0
"""How often something is looked at while nothing is asked of the chat."""


class UpdateSource(Protocol):
    """Where updates come from. Raises `BotApiError`."""

    def updates(self, offset: int | None, wait_s: float) -> Sequence[object]:
        """Wait for updates from `offset` on."""

    def forget_webhook(self) -> None:
        """Let updates be polled."""

    def abort(self) -> None:
        """End the request on its way; from any thread."""


@dataclass(frozen=True, slots=True)
class ControlParts:
    """What the worker joins together."""

    source: UpdateSource
    desk: TelegramDesk
    offset: UpdateOffset
    alerts: AlertSink
    clock: Clock
    patience: Patience = field(default_factory=Patience)


class TelegramControl:
    """A `Worker`: polls, marks updates as taken before anything is done about them, and hands them to the desk.

    A thread that was superseded hands over nothing more. Whatever happens in a turn, the next one follows.
    """

    name = "telegram-control"
    stale_after_s = 90.0

    def __init__(self, parts: ControlParts) -> None:
        """Nothing is opened before `start`."""
        self._parts = parts
        self._troubles = PollTroubles(parts.alerts, parts.clock, parts.patience)
        self._turn_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_s = float("-inf")
        self._is_caught_up = False
        self._is_webhook_set = False
        self._quiet_until_s = float("-inf")

    def start(self) -> None:
        """Begin to listen on a new thread."""
        self._stop.set()
        self._stop = threading.Event()
        self._is_caught_up = False
        self._beat_s = self._parts.clock.monotonic()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; one that does not end in time hands over nothing more."""
        self._stop.set()
        until_s = self._parts.clock.monotonic() + timeout_s
        while self._thread is not None and self.is_alive() and self._parts.clock.monotonic() < until_s:
            # Again and again: a request that was only about to begin could not be ended the first time.
            self._parts.source.abort()
            self._thread.join(min(timeout_s, 0.05))

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def beat_age_s(self) -> float:
        """Give the seconds since the thread last turned."""
        return self._parts.clock.monotonic() - self._beat_s

    def _run(self, stop: threading.Event) -> None:
        while self._goes_on(stop):
            left_s = self._quiet_until_s - self._parts.clock.monotonic()
            if left_s > 0:
                stop.wait(min(left_s, STEP_S))
            try:
                self._settle(stop)
                if self._parts.clock.monotonic() >= self._quiet_until_s:
                    self._turn(stop)
            except BotApiError as error:
                self._failed(stop, error)
            except Exception as error:
                # A thread main: whatever a message led to, the next one must still be heard.
                log.exception("a turn of the chat failed")
                self._failed(stop, BotApiDown(type(error).__name__))

    def _failed(self, stop: threading.Event, error: BotApiError) -> None:
        """Ask nothing of the chat as long as the failure wants; one that comes of being stopped is none."""
        if not stop.is_set():
            self._is_webhook_set = isinstance(error, WebhookSet)
            self._quiet_until_s = self._parts.clock.monotonic() + self._troubles.failed(error)

    def _turn(self, stop: threading.Event) -> None:
        """Wait for updates, take them, do them."""
        parts = self._parts
        if self._is_webhook_set:
            parts.source.forget_webhook()
            self._is_webhook_set = False
            log.warning("the web address of the Telegram bot was taken away so that its chat can be read here")
        wait_s = (SHORT_POLL_S if parts.desk.is_busy else LONG_POLL_S) if self._is_caught_up else 0.0
        raw = parts.source.updates(parts.offset.next(), wait_s)
        self._troubles.worked()
        found = [item for item in map(read_update, raw) if item is not None]
        fresh = [item for item in found if not parts.offset.is_taken(item.update_id)]
        with self._turn_lock:
            if stop.is_set():
                return
            if fresh:
                parts.offset.take(max(item.update_id for item in fresh))
                parts.desk.handle(fresh, after_absence=not self._is_caught_up)
        self._is_caught_up = self._is_caught_up or not fresh
        if raw and not fresh:
            # Nothing but garbage or repeats: an endless stream of it must not become a busy loop.
            self._quiet_until_s = parts.clock.monotonic() + parts.patience.first_s

    def _settle(self, stop: threading.Event) -> None:
        with self._turn_lock:
            if not stop.is_set():
                self._parts.desk.settle()

    def _goes_on(self, stop: threading.Event) -> bool:
        if stop is self._stop:
            self._beat_s = self._parts.clock.monotonic()
        return not stop.is_set()
