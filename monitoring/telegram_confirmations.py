"""Questions that need a second look: each may be answered once, within its time, and in this run of the program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bn_ml.ports import Clock

VALID_S = 30.0
"""How long a question may be answered; at that age it is too late."""

MOST_OPEN = 8
_REMEMBERED = 64


class Tightening(Enum):
    """What may be asked for from afar; there is nothing that loosens and nothing that buys."""

    PAUSE = "pause"
    KILL = "kill"


class NotConfirmed(Exception):
    """A button that decides nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class _Question:
    what: Tightening
    asked_s: float


class Confirmations:
    """Keeps the open questions, `MOST_OPEN` at most; the oldest gives way."""

    def __init__(self, clock: Clock, new_token: Callable[[], str]) -> None:
        """Age questions by the clock's monotonic seconds; `new_token` gives texts that nobody can guess."""
        self._clock = clock
        self._new_token = new_token
        self._open: dict[str, _Question] = {}
        self._answered: dict[str, None] = {}

    def ask(self, what: Tightening) -> str:
        """Open a question and give the token its answer has to bring."""
        while len(self._open) >= MOST_OPEN:
            self._open.pop(next(iter(self._open)))
        token = self._new_token()
        self._open[token] = _Question(what, self._clock.monotonic())
        return token

    def take(self, token: str) -> Tightening:
        """Give what an answer decides and close the question; raises `NotConfirmed` when it decides nothing."""
        question = self._open.pop(token, None)
        if question is None:
            why = "this button was used already" if token in self._answered else "this button is not valid any more"
            raise NotConfirmed(why)
        self._answered[token] = None
        while len(self._answered) > _REMEMBERED:
            self._answered.pop(next(iter(self._answered)))
        if self._clock.monotonic() - question.asked_s >= VALID_S:
            raise NotConfirmed(f"too late: the question was older than {VALID_S:.0f} s")
        return question.what
