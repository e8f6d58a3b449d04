"""Hears of exceptions that nobody caught: in threads, and where Python cannot raise them."""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

log = logging.getLogger(__name__)

KEPT = 20


@dataclass(frozen=True, slots=True)
class Trouble:
    """An exception nobody caught: in which thread, or where, and what it said, without secrets."""

    where: str
    error: str


class ThreadTroubles:
    """Keeps the last troubles, counts them all, logs each and tells whoever wants to hear. Thread-safe; never raises.

    `clean` takes secrets out of a text.
    """

    def __init__(self, clean: Callable[[str], str]) -> None:
        """Begin without troubles and without listeners."""
        self._clean = clean
        self._listeners: list[Callable[[Trouble], None]] = []
        self._last: deque[Trouble] = deque(maxlen=KEPT)
        self._count = 0
        self._busy = threading.local()

    @property
    def count(self) -> int:
        """How many there were so far."""
        return self._count

    @property
    def last(self) -> tuple[Trouble, ...]:
        """The newest ones, oldest first."""
        return tuple(self._last)

    def tell(self, listener: Callable[[Trouble], None]) -> None:
        """Tell `listener` of each trouble from here on, in the thread it happened in; it must return at once."""
        self._listeners.append(listener)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear of every uncaught exception of this process within the block."""
        before = threading.excepthook, sys.unraisablehook
        threading.excepthook, sys.unraisablehook = self._of_thread, self._unraisable
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = before

    def _of_thread(self, hook: threading.ExceptHookArgs) -> None:
        if hook.exc_type is not SystemExit:
            name = hook.thread.name if hook.thread is not None else "a thread"
            self._note(name, hook.exc_type, hook.exc_value, hook.exc_traceback)

    def _unraisable(self, hook: sys.UnraisableHookArgs) -> None:
        where = hook.err_msg or "exception ignored"
        self._note(f"{where} in {_named(hook.object)}", hook.exc_type, hook.exc_value, hook.exc_traceback)

    def _note(
        self,
        where: str,
        kind: type[BaseException],
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if getattr(self._busy, "noting", False):
            return
        self._busy.noting = True
        try:
            trouble = Trouble(self._clean(where), self._clean(f"{kind.__name__}: {error!s:.300}"))
            self._count += 1
            self._last.append(trouble)
            log.error("uncaught exception where=%r", where, exc_info=(kind, error or kind(), traceback))
            for listener in self._listeners:
                listener(trouble)
        except Exception:  # noqa: BLE001 - a hook of the interpreter: there is nobody left who could be told
            print("an uncaught exception could not be reported", file=sys.__stderr__)
        finally:
            self._busy.noting = False


def _named(subject: object) -> str:
    """Name what was being cleaned up without showing its content."""
    return getattr(subject, "__qualname__", None) or type(subject).__name__
