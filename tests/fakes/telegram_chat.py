"""A chat without a network: what the desk says is kept, and a book on disk stands behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

from bn_ml.clock import SimulatedClock
from bn_ml.domain.account import Control
from bn_ml.domain.alerts import Alert
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from monitoring.remote_audit import RemoteAudit
from monitoring.telegram_answers import Answers
from monitoring.telegram_bot_api import BotApiError, Button
from monitoring.telegram_confirmations import Confirmations
from monitoring.telegram_desk import DeskParts, TelegramDesk
from monitoring.telegram_updates import Command, Press, Sender
from scripts.remote_requests import RemoteRequests
from tests.fakes.book_builders import AT

OURS = Sender(-1_001_234_567_890, "@anna")
STRANGER = Sender(4711, "@eve")


@dataclass
class Alerts:
    """Keeps every alert."""

    told: list[Alert] = field(default_factory=list)

    def offer(self, alert: Alert) -> None:
        self.told.append(alert)

    def names(self) -> list[str]:
        return [alert.key for alert in self.told]


@dataclass
class Line:
    """Keeps what was said; fails with the errors it is given, one a message."""

    said: list[tuple[int, str, str]] = field(default_factory=list)
    answered: list[tuple[str, str]] = field(default_factory=list)
    failures: list[BotApiError] = field(default_factory=list)

    def send(self, chat_id: int, text: str, *, button: Button | None = None) -> None:
        self._fail()
        self.said.append((chat_id, text, button.data if button else ""))

    def answer_press(self, press_id: str, text: str) -> None:
        self._fail()
        self.answered.append((press_id, text))

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def texts(self) -> list[str]:
        return [text for _, text, _ in self.said]

    def buttons(self) -> list[str]:
        return [data for _, _, data in self.said if data]


class Chat:
    """The desk with everything it needs, by a clock that only a test moves."""

    def __init__(self, folder: Path) -> None:
        self.clock = SimulatedClock(AT)
        self.book = folder / "bn_ml.db"
        self.line, self.alerts = Line(), Alerts()
        self.audit = RemoteAudit(folder / "remote_control.jsonl")
        self.door = RemoteRequests(self.book, self.clock, attempts=1)
        tokens = count()
        self.desk = TelegramDesk(
            DeskParts(
                chat_id=OURS.chat_id,
                line=self.line,
                door=self.door,
                answers=Answers(self.book, self.clock),
                alerts=self.alerts,
                audit=self.audit,
                confirmations=Confirmations(self.clock, lambda: f"t{next(tokens)}"),
                clock=self.clock,
            )
        )
        self._numbers = count(1)

    def write(self, text: str, sender: Sender = OURS, *, age_s: float = 0.0, after_absence: bool = False) -> None:
        self.desk.handle([self.command(text, sender, age_s=age_s)], after_absence=after_absence)

    def command(self, text: str, sender: Sender = OURS, *, age_s: float = 0.0) -> Command:
        name, _, argument = text.removeprefix("/").partition(" ")
        return Command(next(self._numbers), sender, name, argument, self.clock.now() - timedelta(seconds=age_s))

    def press(self, data: str, sender: Sender = OURS) -> None:
        self.desk.handle([Press(next(self._numbers), sender, "press-1", data)])

    def wait(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.now() + timedelta(seconds=seconds))

    def control(self) -> Control:
        return StateReader(self.book).control()


@contextmanager
def a_chat(folder: Path) -> Iterator[tuple[Chat, StateStore]]:
    """Give a chat and the store of its book, which its bot has open and has started."""
    store = StateStore(folder / "bn_ml.db")
    try:
        store.start_epoch(AT, "start")
        yield Chat(folder), store
    finally:
        store.close()
