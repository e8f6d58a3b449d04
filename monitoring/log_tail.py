"""The last lines of a log file, whatever its size: read from the end, as redacted as they were written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monitoring.plain_values import mapping

MOST_BYTES = 256_000
MOST_LINES = 1_000
LONGEST_TEXT = 2_000
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_LINE = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z) (DEBUG|INFO|WARNING|ERROR|CRITICAL) (\S+) ?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record of the log: its UTC time as written, level, logger and text with what followed it (a traceback)."""

    at: str
    level: str
    logger: str
    text: str


@dataclass(frozen=True, slots=True)
class LogTail:
    """The newest records, newest first; `problem` says why there are none, `cut` whether older ones were left out."""

    lines: tuple[LogLine, ...] = ()
    size_bytes: int = 0
    is_cut: bool = False
    problem: str = ""


def read_tail(path: Path | str, *, most_bytes: int = MOST_BYTES) -> LogTail:
    """Read the end of a log file; one that cannot be read gives the problem, without its path. Nothing is raised."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(size - most_bytes, 0)
            file.seek(start)
            content = file.read(most_bytes)
    except FileNotFoundError:
        return LogTail(problem="no log yet")
    except OSError as error:
        return LogTail(problem=error.strerror or type(error).__name__)
    text = content.decode("utf-8", errors="replace")
    if start:
        # The first line is the rest of one.
        text = text.partition("\n")[2]
    lines = parsed(text)
    return LogTail(tuple(reversed(lines[-MOST_LINES:])), size, start > 0 or len(lines) > MOST_LINES)


def parsed(text: str) -> tuple[LogLine, ...]:
    """Give the records of a log in text or JSON form in their order; what fits neither belongs to the one before."""
    found: list[LogLine] = []
    for line in text.split("\n"):
        record = _from_json(line) if line.startswith("{") else _from_text(line)
        if record is not None:
            found.append(record)
        elif found and line.strip() and len(found[-1].text) < LONGEST_TEXT:
            found[-1] = replace(found[-1], text=f"{found[-1].text}\n{line}"[:LONGEST_TEXT])
    return tuple(found)


def at_least(lines: Sequence[LogLine], level: str) -> tuple[LogLine, ...]:
    """Give the records of a level and above; an unknown level gives all."""
    floor = LEVELS.index(level) if level in LEVELS else 0
    return tuple(line for line in lines if LEVELS.index(line.level) >= floor)


def _from_text(line: str) -> LogLine | None:
    found = _LINE.fullmatch(line.rstrip("\r"))
    if found is None:
        return None
    at, level, logger, text = found.groups()
    return LogLine(at, level, logger, text[:LONGEST_TEXT])


def _from_json(line: str) -> LogLine | None:
    try:
        record = mapping(json.loads(line))
    except (ValueError, RecursionError):
        return None
    level = str(record.get("level"))
    if level not in LEVELS:
        return None
    text = str(record.get("message") or "")
    traceback = record.get("traceback")
    whole = f"{text}\n{traceback}" if traceback else text
    return LogLine(str(record.get("ts") or ""), level, str(record.get("logger") or ""), whole[:LONGEST_TEXT])
