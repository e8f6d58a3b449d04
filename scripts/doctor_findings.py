"""What the doctor finds, and looking at everything at once: a check that hangs or breaks costs itself and nothing else.

Only the standard library is imported here: a machine without the packages is examined too.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue

from bn_ml.ports import Clock

LIMIT_S = 3.0
"""How long one check may take, seconds from its own start."""
IN_ALL_S = 14.0
AT_ONCE = 8
LONGEST_TEXT = 300


class Status(Enum):
    """How a check ended: in order, worth knowing, or to be mended."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One finding: what was looked at, how it is, what was found and, unless it is in order, what to do about it."""

    name: str
    status: Status
    found: str
    fix: str = ""

    def line(self) -> str:
        """Give the finding as one line.

        >>> Diagnosis("disk", Status.FAIL, "12 MB free", "free disk space").line()
        'FAIL disk: 12 MB free -> free disk space'
        """
        fix = f" -> {self.fix}" if self.fix else ""
        return f"{self.status.value:<4} {self.name}: {self.found}{fix}"


Look = Callable[[], Iterable[Diagnosis]]


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at: its name and what looks at it, within `limit_s` seconds."""

    name: str
    look: Look
    limit_s: float = LIMIT_S


def good(name: str, found: str) -> Diagnosis:
    """Say that something is in order."""
    return Diagnosis(name, Status.OK, brief(found))


def doubtful(name: str, found: str, fix: str) -> Diagnosis:
    """Say that something works but is not as it should be."""
    return Diagnosis(name, Status.WARN, brief(found), brief(fix))


def bad(name: str, found: str, fix: str) -> Diagnosis:
    """Say that something must be mended."""
    return Diagnosis(name, Status.FAIL, brief(found), brief(fix))


def told(name: str, status: Status, message: str, fix: str = "") -> Diagnosis:
    """Give a finding from a message that ends in what to do, as `what is wrong; what to do about it`."""
    found, _, advice = message.rpartition("; ")
    return Diagnosis(name, status, brief(found or message), brief(advice if found else fix))


def brief(text: str) -> str:
    """Give a text on one line, cut where it is long.

    >>> brief("two\\nlines")
    'two lines'
    """
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 3]}..."


def listed(names: Sequence[object], most: int = 6) -> str:
    """Name things, the first few when there are many.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def diagnosed(checks: Sequence[Check], clock: Clock, *, in_all_s: float = IN_ALL_S) -> tuple[Diagnosis, ...]:
    """Run all checks, several at a time, and give their findings in the order of the checks.

    A check that takes longer than its limit is left behind; one that the time for all of them leaves out is named.
    """
    answers: dict[int, tuple[Diagnosis, ...]] = {}
    waiting = deque(range(len(checks)))
    running: dict[int, float] = {}
    done: SimpleQueue[tuple[int, tuple[Diagnosis, ...]]] = SimpleQueue()
    end = clock.monotonic() + in_all_s
    while (waiting or running) and clock.monotonic() < end:
        while waiting and len(running) < AT_ONCE:
            place = waiting.popleft()
            running[place] = clock.monotonic() + checks[place].limit_s
            threading.Thread(target=_look, args=(place, checks[place], done), daemon=True).start()
        try:
            place, found = done.get(timeout=max(min(*running.values(), end) - clock.monotonic(), 0.0))
        except Empty:
            late = [place for place, until in running.items() if until <= clock.monotonic()]
        else:
            late = []
            if running.pop(place, None) is not None:
                answers[place] = found
        for place in late:
            del running[place]
            answers[place] = (_too_slow(checks[place]),)
    return tuple(item for place, check in enumerate(checks) for item in answers.get(place, (_too_slow(check),)))


def _too_slow(check: Check) -> Diagnosis:
    fix = "run the doctor again when the machine is less busy; if it stays, look at what this check asks"
    return bad(check.name, f"no result within {check.limit_s:g} s", fix)


def _look(place: int, check: Check, done: SimpleQueue[tuple[int, tuple[Diagnosis, ...]]]) -> None:
    """Run one check in its own thread; whatever it raises is its finding."""
    try:
        found = tuple(check.look())
    # The main of a thread: a check that breaks is told like any other finding and hides no other.
    except Exception as error:
        found = (bad(check.name, f"the check itself failed: {type(error).__name__}: {error}", "report this"),)
    done.put((place, found))
