"""The words of a message: plain text whose first line says it all, one alert in full or several in lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.alerts import AlertLevel
from monitoring.alert_entries import Batch, Entry, Turn

LONGEST_SINGLE = 600
LONGEST_GROUP = 3800
LONGEST_NAME = 48
LINES_IN_FULL = ((12, 12), (60, 3))
"""Up to so many entries, so many of them are told in full; of more, only the names."""
OLD_S = 300.0


@dataclass(frozen=True, slots=True)
class Message:
    """What one channel is given to send.

    `told` are the entries it tells or counts; critical ones that did not fit are not among them. `subject` is the
    first line.
    """

    text: str
    mode: str
    told: tuple[Entry, ...] = ()
    suppressed: int = 0

    @property
    def subject(self) -> str:
        """The first line."""
        return self.text.partition("\n")[0]

    @property
    def level(self) -> AlertLevel:
        """The highest level told."""
        return max((entry.alert.level for entry in self.told), default=AlertLevel.INFO)


def message_of(batch: Batch, mode: str, now: datetime) -> Message:
    """Write a batch as one message; call again with what was not told while critical entries are left."""
    if not batch.entries:
        text = f"[{mode}] {batch.suppressed} more alerts suppressed, see the log and the dashboard"
        return Message(text, mode, (), batch.suppressed)
    if len(batch.entries) == 1:
        text = _single(batch.entries[0], mode, now)
        return Message(_with_suppressed(text, batch.suppressed), mode, batch.entries, batch.suppressed)
    return _group(batch, mode, now)


def first_line(entry: Entry, now: datetime) -> str:
    """Give the line that tells an entry, without the mode."""
    alert = entry.alert
    if entry.turn is Turn.ENDS:
        return f"RESOLVED #{entry.id} after {duration(entry.over_s)}: {alert.title}"
    level = "" if alert.level is AlertLevel.INFO else f"{alert.level.name} "
    again = f" (x{entry.count} in {duration(entry.over_s)})" if entry.count > 1 or entry.turn is Turn.AGAIN else ""
    old = (now - alert.at).total_seconds() > OLD_S and entry.turn is Turn.BEGINS
    at = f" at {alert.at:%m-%d %H:%M:%S}Z" if old else ""
    mark = "" if alert.level is AlertLevel.INFO else f" #{entry.id}"
    return f"{level}{alert.title}{again}{at}{mark}"


def duration(seconds: float) -> str:
    """Give a length of time in the unit that fits.

    >>> duration(31), duration(300), duration(5400), duration(200000)
    ('31 s', '5 min', '1.5 h', '2.3 d')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} d"


def clipped(text: str, longest: int) -> str:
    """Give a text on one line, cut where it is too long.

    >>> clipped("stop\\nrefused", 8)
    'stop ...'
    """
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: max(longest - 3, 0)] + "..."


def _single(entry: Entry, mode: str, now: datetime) -> str:
    first = clipped(f"[{mode}] {first_line(entry, now)}", 440)
    more = [f"why: {entry.alert.why}"] if entry.alert.why else []
    more += [f"next: {entry.alert.next_action}"] if entry.alert.next_action else []
    room = LONGEST_SINGLE - len(first) - len(more)
    return "\n".join([first, *(clipped(line, room // len(more)) for line in more)])


def _group(batch: Batch, mode: str, now: datetime) -> Message:
    """List entries, the most urgent first and in full, as long as they fit; the rest by name or by number."""
    ordered = sorted(batch.entries, key=lambda entry: -entry.alert.level)
    critical = [entry for entry in ordered if entry.is_critical]
    lines = [clipped(f"[{mode}] {_headline(ordered, len(critical), now)}", 300)]
    full = next((lines for most, lines in LINES_IN_FULL if len(ordered) <= most), 0)
    in_full, rest = ordered[:full], ordered[full:]
    lines += [f"- {_in_full(entry, now)}" for entry in in_full]
    room = LONGEST_GROUP - sum(map(len, lines)) - len(lines) - 120
    named, names = _named([entry for entry in rest if entry.is_critical], room)
    if names:
        lines.append(f"also CRITICAL: {names}")
    others = [entry for entry in rest if not entry.is_critical]
    if others:
        lines.append(f"and {len(others)} more that are not critical, see the log and the dashboard")
    text = _with_suppressed("\n".join(lines), batch.suppressed)
    return Message(text, mode, (*in_full, *named, *others), batch.suppressed)


def _headline(ordered: Sequence[Entry], critical: int, now: datetime) -> str:
    others = len(ordered) - critical
    if critical == 1:
        return f"{first_line(ordered[0], now)}, and {others} more"
    if critical:
        beside = f" and {others} more" if others else ""
        return f"CRITICAL x{critical}{beside}: {ordered[0].alert.title}; {ordered[1].alert.title}"
    return f"{len(ordered)} alerts: " + "; ".join(first_line(entry, now) for entry in ordered)


def _in_full(entry: Entry, now: datetime) -> str:
    told = first_line(entry, now)
    told += f" | {entry.alert.why}" if entry.alert.why else ""
    told += f" | next: {entry.alert.next_action}" if entry.alert.next_action else ""
    return clipped(told, 240)


def _named(entries: Sequence[Entry], room: int) -> tuple[list[Entry], str]:
    """Give the entries whose names fit, and those names."""
    told: list[Entry] = []
    names: list[str] = []
    for entry in entries:
        name = _name(entry)
        room -= len(name) + 2
        if room < 0:
            break
        told.append(entry)
        names.append(name)
    return told, ", ".join(names)


def _name(entry: Entry) -> str:
    title = entry.alert.title
    name = clipped(title if len(title) <= LONGEST_NAME else entry.alert.key, LONGEST_NAME)
    return name if entry.count == 1 else f"{name} (x{entry.count})"


def _with_suppressed(text: str, suppressed: int) -> str:
    return text if not suppressed else f"{text}\n{suppressed} more suppressed, see the log and the dashboard"
