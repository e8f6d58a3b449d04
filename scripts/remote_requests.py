"""Requests from afar, committed through the kill switch's door, and the wiring of the Telegram chat that makes them.

The loop is not asked: it may be stuck. A request is one short transaction on a connection of its own, as the kill
switch makes it, and the loop sees the new control state within a second. Only two such transactions can be reached from
here, `commit_pause` and `commit_halt`, and neither ever makes the control state less strict.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.domain.account import Control
from bn_ml.env import TELEGRAM_CONTROL, Secrets, wants_telegram_control
from bn_ml.errors import ConfigError, StateError
from bn_ml.halting import FLATTEN_CAUSES, BookBusy, HaltMarker, commit_halt, commit_pause
from bn_ml.ports import AlertSink, Clock
from bn_ml.redaction import Redactor
from monitoring.poll_troubles import Patience
from monitoring.remote_audit import FILE_NAME, RemoteAudit
from monitoring.remote_tightening import Tightened
from monitoring.telegram_answers import Answers
from monitoring.telegram_bot_api import API_URL, TelegramBotApi, bot_id
from monitoring.telegram_confirmations import Confirmations
from monitoring.telegram_control import ControlParts, TelegramControl
from monitoring.telegram_desk import DeskParts, TelegramDesk
from monitoring.update_offset import UpdateOffset

log = logging.getLogger(__name__)

ATTEMPTS, ATTEMPT_S = 10, 0.3
"""How often, and how long each time, a request waits for another writer of the book before it is owed."""

OFFSET_FILE = "telegram_offset.json"
UNKNOWN_STATE = "unknown"


class RemoteRequests:
    """A `TightenDoor` into one book; for one thread.

    A request the book cannot take at once is owed until it can. An owed kill also leaves the marker that makes the next
    start HALTED, so that it survives the end of this process.
    """

    def __init__(self, book: Path, clock: Clock, *, attempts: int = ATTEMPTS) -> None:
        """Name the book; it is opened by each request, `attempts` times while others write it."""
        self._book = book
        self._clock = clock
        self._attempts = attempts
        self._owed_kill: str | None = None
        self._owed_pause: str | None = None

    @property
    def is_owed(self) -> bool:
        """Whether a request still waits for a book that could not be written."""
        return self._owed_kill is not None or self._owed_pause is not None

    def pause(self, who: str) -> Tightened:
        """Commit REDUCE_ONLY, or owe it."""
        try:
            done = self._paused(who, self._attempts)
        except StateError as error:
            self._owed_pause = who
            return Tightened(False, UNKNOWN_STATE, f"Not paused yet, it is tried again: {error}")
        return done

    def kill(self, who: str) -> Tightened:
        """Commit HALTED with the order to sell, or owe it and leave the marker."""
        try:
            return self._killed(who, self._attempts)
        except StateError as error:
            self._owed_kill = who
            return Tightened(False, UNKNOWN_STATE, f"NOT HALTED yet, it is tried again: {error}. {self._marked(who)}")

    def retry(self) -> Tightened | None:
        """Try once what is owed, a kill first."""
        try:
            if self._owed_kill is not None:
                return self._killed(self._owed_kill, 1)
            if self._owed_pause is not None:
                return self._paused(self._owed_pause, 1)
        except StateError as error:
            log.debug("a request from afar still waits for the book: %s", error)
        return None

    def _paused(self, who: str, attempts: int) -> Tightened:
        control = self._insisting(lambda: commit_pause(self._book, who, self._clock.now(), busy_s=ATTEMPT_S), attempts)
        self._owed_pause = None
        return Tightened(True, control.state.value, f"{control.state.value}: no entries until an operator resumes.")

    def _killed(self, who: str, attempts: int) -> Tightened:
        control = self._insisting(lambda: commit_halt(self._book, who, self._clock.now(), busy_s=ATTEMPT_S), attempts)
        if self._owed_kill is not None:
            HaltMarker.beside(self._book).remove()
        self._owed_kill = self._owed_pause = None
        return Tightened(True, control.state.value, f"{control.state.value}: orders are cancelled, holdings are sold.")

    def _insisting(self, commit: Callable[[], Control], attempts: int) -> Control:
        """Commit as soon as no other writer is in the way; raises `StateError` when it could not."""
        for _ in range(attempts - 1):
            try:
                return commit()
            except BookBusy:
                log.debug("the book is being written to, trying again")
        return commit()

    def _marked(self, who: str) -> str:
        try:
            HaltMarker.beside(self._book).write(f"{FLATTEN_CAUSES[0]}: {who}", self._clock.now())
        except StateError as error:
            return f"No marker could be left either ({error}): run bnml-kill-switch on the machine of the bot."
        return "The next start is HALTED in any case; bnml-kill-switch on the machine of the bot is faster."


def open_telegram_control(
    environ: Mapping[str, str],
    *,
    book: Path,
    clock: Clock,
    alerts: AlertSink,
    url: str = API_URL,
    patience: Patience | None = None,
) -> TelegramControl | None:
    """Give the worker of the control chat, not yet started; None when it is not switched on.

    Its files lie beside the book. Requests are committed by the bot's `clock`; messages are dated by the wall,
    whatever time the bot lives in. Raises `ConfigError` when the token or the chat is missing or no such thing.
    """
    if not wants_telegram_control(environ):
        return None
    known = Secrets.from_environ(environ)
    token, chat_id = known.telegram_bot_token, _chat_id(known)
    wall = SystemClock()
    api = TelegramBotApi(token, wall, url=url)
    desk = TelegramDesk(
        DeskParts(
            chat_id=chat_id,
            line=api,
            door=RemoteRequests(book, clock),
            answers=Answers(book, clock),
            alerts=alerts,
            audit=RemoteAudit(book.with_name(FILE_NAME)),
            confirmations=Confirmations(wall, lambda: secrets.token_hex(8)),
            clock=wall,
            clean=Redactor(known.hidden()).clean,
        )
    )
    offset = UpdateOffset(book.with_name(OFFSET_FILE), bot_id(token), wall)
    return TelegramControl(ControlParts(api, desk, offset, alerts, wall, patience or Patience()))


def _chat_id(known: Secrets) -> int:
    """Read the chat; raises `ConfigError` for a missing token or a chat that is not named by its number."""
    problems = []
    if not known.telegram_bot_token:
        problems.append(f"{TELEGRAM_CONTROL}=true needs TELEGRAM_BOT_TOKEN")
    text = known.telegram_chat_id
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) <= 16):
        problems.append(
            f"{TELEGRAM_CONTROL}=true needs TELEGRAM_CHAT_ID as a number (a name of a channel is not enough)"
        )
    if problems:
        raise ConfigError(problems)
    return int(text)
