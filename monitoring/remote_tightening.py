"""The one door through which something far away may change the bot: towards less risk, and in no other direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tightened:
    """What came of a request: whether it is committed, the control state in force, and a sentence for people."""

    is_committed: bool
    state: str
    said: str


class TightenDoor(Protocol):
    """Takes requests; each call returns within seconds and never raises."""

    @property
    def is_owed(self) -> bool:
        """Whether a request still waits for a book that could not be written."""

    def pause(self, who: str) -> Tightened:
        """Ask for no more entries (REDUCE_ONLY)."""

    def kill(self, who: str) -> Tightened:
        """Ask for all orders to be cancelled and everything to be sold (HALTED)."""

    def retry(self) -> Tightened | None:
        """Try what is owed again, None when nothing is owed or the book still cannot be written."""
