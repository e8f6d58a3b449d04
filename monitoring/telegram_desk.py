"""What is done about the messages of a chat: questions are answered, tightening is asked again and then committed.

Nothing here has a thread or a socket of its own, so that every sequence of messages can be tried.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.errors import StateError
from bn_ml.ports import AlertSink, Clock
from monitoring.remote_audit import RemoteAudit
from monitoring.remote_tightening import TightenDoor
from monitoring.telegram_answers import HELP, Answers
from monitoring.telegram_bot_api import BotApiError, BotApiRefused, Button, TooManyRequests
from monitoring.telegram_confirmations import VALID_S, Confirmations, NotConfirmed, Tightening
from monitoring.telegram_updates import Command, Press, Sender, Update

log = logging.getLogger(__name__)

TOO_OLD = timedelta(seconds=60)
"""Commands that waited longer than this while the bot was away are not carried out."""

FOLLOWED_S = 120.0
"""How long the bot is watched after a kill until it is flat."""

QUIET_S = 5.0
"""How long nothing is sent after a message did not get through: a chat that hangs must not hold up what follows."""

MOST_ANSWERS = 10
_MOST_WAITING = 20
_QUESTIONS = {
    Tightening.PAUSE: "Pause: no more entries; what is held keeps its stops and is sold by its own rules.",
    Tightening.KILL: "Kill: cancel all orders and sell everything at the market.",
}


class ChatLine(Protocol):
    """Writes into chats. Raises `BotApiError` when it did not get through."""

    def send(self, chat_id: int, text: str, *, button: Button | None = None) -> None:
        """Write a message."""

    def answer_press(self, press_id: str, text: str) -> None:
        """Tell whoever pressed a button what came of it."""


@dataclass(frozen=True, slots=True)
class DeskParts:
    """What the desk works with. `chat_id` is the only chat that is answered; `clean` takes secrets out of texts."""

    chat_id: int
    line: ChatLine
    door: TightenDoor
    answers: Answers
    alerts: AlertSink
    audit: RemoteAudit
    confirmations: Confirmations
    clock: Clock
    clean: Callable[[str], str] = lambda text: text


class TelegramDesk:
    """Handles updates, each once, in the order of what they may save: presses, then commands; for one thread.

    A tightening is committed before anything is said about it, so that a chat that cannot be reached delays nothing.
    """

    def __init__(self, parts: DeskParts) -> None:
        """Nothing is sent yet."""
        self._parts = parts
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._killed_s: float | None = None
        self._quiet_until_s = float("-inf")
        self.strangers = 0
        self.dropped = 0

    @property
    def is_busy(self) -> bool:
        """Whether something has to be looked at again soon."""
        return self._parts.door.is_owed or self._killed_s is not None

    def handle(self, updates: Sequence[Update], *, after_absence: bool = False) -> None:
        """Do what a batch asks for. After an absence, commands older than `TOO_OLD` are dropped and that is said."""
        own = [item for item in updates if self._is_ours(item)]
        commands = [item for item in own if isinstance(item, Command)]
        if after_absence:
            commands = self._fresh(commands)
        for press in [item for item in own if isinstance(item, Press)]:
            self._pressed(press)
        wanted = {what.value: what for what in Tightening}
        for command in [item for item in commands if item.name in wanted]:
            self._ask(wanted[command.name], command.sender)
        self._answer([item for item in commands if item.name not in wanted])

    def settle(self) -> None:
        """Try again what is owed, and tell when a kill has done its work."""
        done = self._parts.door.retry() if self._parts.door.is_owed else None
        if done is not None:
            self._parts.audit.note(self._now(), "the worker", "retry", "committed", done.said)
            self._say(done.said)
        self._follow()
        while self._waiting and self._send(self._waiting[0]):
            self._waiting.popleft()

    def _is_ours(self, update: Update) -> bool:
        """Tell whether an update comes from the one chat that is answered; another chat is told of once."""
        if update.sender is None:
            return False
        if update.sender.chat_id == self._parts.chat_id:
            return True
        self.strangers += 1
        if self.strangers == 1:
            self._parts.audit.note(self._now(), str(update.sender), "message", "ignored", "this chat is not allowed")
            self._alert(
                AlertLevel.WARNING,
                "telegram_stranger",
                "somebody else writes to the Telegram bot",
                f"{update.sender} was ignored, as all other chats are",
                "keep the bot's name to yourself, or get a new token from BotFather",
            )
        return False

    def _fresh(self, commands: Sequence[Command]) -> list[Command]:
        oldest = self._now() - TOO_OLD
        fresh = [item for item in commands if item.at >= oldest]
        late = [item for item in commands if item.at < oldest]
        if late:
            self.dropped += len(late)
            names = ", ".join(dict.fromkeys(f"/{item.name}" if self._knows(item.name) else "other" for item in late))
            self._parts.audit.note(self._now(), str(late[-1].sender), names, "dropped", f"{len(late)} sent while away")
            self._say(f"{len(late)} commands sent while the bot was away were dropped ({names}); send them again.")
        return fresh

    def _knows(self, name: str) -> bool:
        return self._parts.answers.knows(name) or name in {what.value for what in Tightening}

    def _ask(self, what: Tightening, sender: Sender) -> None:
        token = self._parts.confirmations.ask(what)
        button = Button(f"Yes, {what.value} now", f"{what.value}:{token}")
        is_sent = self._send(f"{_QUESTIONS[what]} Press within {VALID_S:.0f} s.", button)
        outcome = "asked" if is_sent else "question not delivered"
        self._parts.audit.note(self._now(), str(sender), what.value, outcome)

    def _pressed(self, press: Press) -> None:
        now, who = self._now(), str(press.sender)
        try:
            what = self._parts.confirmations.take(press.data.partition(":")[2])
        except NotConfirmed as error:
            self._parts.audit.note(now, who, "press", "refused", str(error))
            self._answer_press(press, f"Nothing done: {error}. Send the command again.")
            return
        door = self._parts.door
        done = door.pause(who) if what is Tightening.PAUSE else door.kill(who)
        self._parts.audit.note(now, who, what.value, "committed" if done.is_committed else "NOT committed", done.said)
        if not done.is_committed:
            # What is committed is told by whoever watches the control state of the book.
            self._alert(
                AlertLevel.CRITICAL,
                f"remote_{what.value}",
                f"{what.value} by Telegram could not be committed",
                f"{who}: {done.said}",
                "run bnml-kill-switch on the machine of the bot",
            )
        if what is Tightening.KILL:
            self._killed_s = self._parts.clock.monotonic()
        self._answer_press(press, done.said)
        self._say(done.said)

    def _answer(self, commands: Sequence[Command]) -> None:
        """Answer questions, the same one once, and no more than a few of a flood."""
        asked = dict.fromkeys((item.name, item.argument) for item in commands)
        for name, argument in list(asked)[-MOST_ANSWERS:]:
            known = self._parts.answers.knows(name)
            text = self._parts.answers.answer(name, argument) if known else HELP
            if name == "health":
                text += f"\nchat: {self.strangers} messages of others ignored, {self.dropped} late commands dropped"
            log.info("chat asked question=%s", name if known else "help")
            self._send(text)

    def _follow(self) -> None:
        """Tell once when a kill has left nothing, or that it has not in time."""
        if self._killed_s is None or self._parts.door.is_owed:
            return
        took_s = self._parts.clock.monotonic() - self._killed_s
        try:
            positions, orders = self._parts.answers.left()
        except StateError as error:
            left = f"the book cannot be read: {error}"
        else:
            left = f"{positions} positions, {orders} orders left" if positions or orders else ""
        if left and took_s < FOLLOWED_S:
            return
        self._killed_s = None
        flat = f"Flat {took_s:.0f} s after the kill: nothing is held or ordered."
        not_flat = f"NOT FLAT {took_s:.0f} s after the kill: {left}. Run bnml-kill-switch on the machine of the bot."
        self._parts.audit.note(self._now(), "the bot", "kill", "not flat" if left else "flat", left)
        self._say(not_flat if left else flat)

    def _say(self, text: str) -> None:
        """Send what must not get lost: it waits when the chat cannot be reached."""
        if self._waiting or not self._send(text):
            self._waiting.append(text)

    def _send(self, text: str, button: Button | None = None) -> bool:
        """Send a message; False when it should be tried again later."""
        return self._reach(lambda: self._parts.line.send(self._parts.chat_id, self._parts.clean(text), button=button))

    def _answer_press(self, press: Press, text: str) -> None:
        self._reach(lambda: self._parts.line.answer_press(press.press_id, self._parts.clean(text)))

    def _reach(self, send: Callable[[], None]) -> bool:
        if self._parts.clock.monotonic() < self._quiet_until_s:
            return False
        try:
            send()
        except BotApiRefused as error:
            log.warning("chat refused a message, it is not repeated: %s", error)
        except BotApiError as error:
            wait_s = error.wait_s if isinstance(error, TooManyRequests) else QUIET_S
            self._quiet_until_s = self._parts.clock.monotonic() + wait_s
            log.warning("chat not reached: %s", error)
            return False
        return True

    def _alert(self, level: AlertLevel, key: str, title: str, why: str, next_action: str) -> None:
        self._parts.alerts.offer(Alert(self._now(), level, key, title, why, next_action))

    def _now(self) -> datetime:
        return self._parts.clock.now()
