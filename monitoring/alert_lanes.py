"""What waits for one channel, and when it is tried: doubling waits, a breaker, nothing critical ever dropped."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from monitoring.alert_channels import Channel
from monitoring.alert_entries import Batch, Entry
from monitoring.alert_text import Message
from monitoring.channel_failures import ChannelFailed

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 900.0
REFUSED_WAIT_S = 300.0
DEAD_AFTER = 3
"""From so many failures in a row on a channel counts as dead: it is reported, and only critical alerts wait for it."""
MOST_WAITING = 500


class Health(Enum):
    """What a channel's newest outcome changed."""

    SAME = "same"
    DIED = "died"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one try came to: what was told or given up, and whether the channel changed."""

    told: tuple[Entry, ...] = ()
    dropped: tuple[Entry, ...] = ()
    ok: bool = False
    health: Health = Health.SAME


class AlertLane:
    """One channel with its queue; used by the sending thread only, times in monotonic seconds."""

    def __init__(self, channel: Channel) -> None:
        """Begin with an empty queue and a channel that counts as healthy."""
        self.channel = channel
        self.failures = 0
        self.last_error = ""
        self._waiting: list[Entry] = []
        self._suppressed = 0
        self._next_try_s = float("-inf")

    @property
    def name(self) -> str:
        """The channel's name."""
        return self.channel.name

    @property
    def is_dead(self) -> bool:
        """Whether it failed too often in a row."""
        return self.failures >= DEAD_AFTER

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and not self._suppressed

    def add(self, batch: Batch) -> tuple[Entry, ...]:
        """Queue a batch; gives the entries for which there was no place, never critical ones."""
        self._waiting.extend(batch.entries)
        self._suppressed += batch.suppressed
        return self._trimmed()

    def is_due(self, now_s: float) -> bool:
        """Tell whether something waits and may be tried."""
        return not self.is_empty and now_s >= self._next_try_s

    def batch(self) -> Batch:
        """Give all that waits, to be written as one message; what it does not tell stays."""
        return Batch(tuple(self._waiting), self._suppressed)

    def send(self, message: Message, now_s: float) -> Outcome:
        """Try once to send what was written of `batch`; `now_s` is when the try began."""
        was_dead = self.is_dead
        # Counted before: an error nobody foresaw is a failure too, and must not be met again at once.
        self._fail(now_s, "", wait_s=None, refused=False)
        try:
            self.channel.send(message)
        except ChannelFailed as error:
            return self._failed(error, now_s, was_dead=was_dead)
        told = set(map(id, message.told))
        self._waiting = [entry for entry in self._waiting if id(entry) not in told]
        self._suppressed -= message.suppressed
        self.failures, self.last_error, self._next_try_s = 0, "", float("-inf")
        return Outcome(told=message.told, ok=True, health=Health.RECOVERED if was_dead else Health.SAME)

    def _failed(self, error: ChannelFailed, now_s: float, *, was_dead: bool) -> Outcome:
        self.failures -= 1
        self._fail(now_s, str(error), wait_s=error.wait_s, refused=error.refused)
        level = logging.DEBUG if was_dead else logging.WARNING
        log.log(level, "alert not sent channel=%s failures=%s reason=%s", self.name, self.failures, error)
        dropped = self._trimmed()
        return Outcome(dropped=dropped, health=Health.DIED if self.is_dead and not was_dead else Health.SAME)

    def _fail(self, now_s: float, reason: str, *, wait_s: float | None, refused: bool) -> None:
        self.failures = max(self.failures + 1, DEAD_AFTER if refused else 0)
        self.last_error = reason
        own_s = wait_after_s(self.failures, refused=refused)
        self._next_try_s = now_s + (own_s if wait_s is None else max(wait_s, FIRST_WAIT_S))

    def _trimmed(self) -> tuple[Entry, ...]:
        """Give up what may be: everything but critical alerts where the channel is dead or the queue too long."""
        if self.is_dead:
            dropped = [entry for entry in self._waiting if not entry.is_critical]
        else:
            spare = [entry for entry in self._waiting if not entry.is_critical]
            dropped = spare[: max(len(self._waiting) - MOST_WAITING, 0)]
        if dropped:
            gone = set(map(id, dropped))
            self._waiting = [entry for entry in self._waiting if id(entry) not in gone]
            self._suppressed += len(dropped)
        self._waiting = joined(self._waiting) if len(self._waiting) > MOST_WAITING else self._waiting
        return tuple(dropped)


def wait_after_s(failures: int, *, refused: bool) -> float:
    """Give the wait before the next try after so many failures in a row.

    >>> [wait_after_s(failures, refused=False) for failures in (1, 2, 3, 20)]
    [2.0, 4.0, 8.0, 900.0]
    """
    first_s = REFUSED_WAIT_S if refused else FIRST_WAIT_S
    doublings = max(failures - (DEAD_AFTER if refused else 1), 0)
    return float(min(first_s * 2.0 ** min(doublings, 20), LONGEST_WAIT_S))


def joined(entries: Sequence[Entry]) -> list[Entry]:
    """Give one entry per incident, its newest, with all its occurrences counted."""
    by_key: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        key = (entry.alert.key, entry.id, entry.turn.value)
        earlier = by_key.pop(key, None)
        joins = entry
        if earlier is not None:
            over_s = earlier.over_s + entry.over_s
            joins = replace(entry, count=earlier.count + entry.count, over_s=over_s, kept=max(earlier.kept, entry.kept))
        by_key[key] = joins
    return list(by_key.values())
