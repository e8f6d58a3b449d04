"""What was done while the book could not be written: JSON lines beside it, each on disk before the next step."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.orders import Fill, OrderIntent
from bn_ml.errors import StateError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SideStory:
    """What a side journal tells: what was meant to be sold, what is known to be settled, and the trades made."""

    intents: Mapping[str, OrderIntent]
    settled: frozenset[str]
    fills: tuple[Fill, ...]

    @property
    def unsettled(self) -> tuple[OrderIntent, ...]:
        """The orders of which nobody knows yet what became of them."""
        return tuple(item for client_id, item in self.intents.items() if client_id not in self.settled)


class SideJournal:
    """Writes `<database>.emergency.jsonl`. A line that cannot be written is logged: selling goes before telling."""

    def __init__(self, database: Path) -> None:
        """Name the database; the file is made by the first line."""
        self.path = Path(f"{database.absolute()}.emergency.jsonl")

    def intent(self, intent: OrderIntent) -> None:
        """Note an order about to be sent."""
        self._append("intent", to_plain(intent))

    def settled(self, client_id: str, outcome: str) -> None:
        """Note that an order can do nothing more."""
        self._append("settled", {"client_id": client_id, "outcome": outcome})

    def fill(self, fill: Fill) -> None:
        """Note a trade."""
        self._append("fill", to_plain(fill))

    def note(self, text: str) -> None:
        """Note anything else."""
        self._append("note", {"text": text})

    def story(self) -> SideStory:
        """Give what earlier runs left; raises `StateError` when the file cannot be read."""
        intents: dict[str, OrderIntent] = {}
        settled: set[str] = set()
        fills: dict[tuple[str, str], Fill] = {}
        for kind, content in self._lines():
            if kind == "intent":
                intent = from_plain(OrderIntent, content)
                intents[intent.client_id] = intent
            elif kind == "fill":
                fill = from_plain(Fill, content)
                fills[fill.symbol, fill.trade_id] = fill
            elif kind == "settled" and isinstance(content, dict):
                settled.add(str(content["client_id"]))
        return SideStory(intents, frozenset(settled), tuple(fills.values()))

    def _lines(self) -> Iterator[tuple[str, object]]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"{self.path}: cannot be read ({type(error).__name__})") from error
        for line in text.splitlines():
            try:
                content = json.loads(line)
                yield str(content["kind"]), content["what"]
            except (ValueError, KeyError, TypeError):
                # The last line of a run that was ended in the middle of it.
                log.warning("a line of %s cannot be read: %r", self.path.name, line[:80])

    def _append(self, kind: str, what: object) -> None:
        line = json.dumps({"kind": kind, "what": what}, separators=(",", ":")) + "\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.critical("not noted in %s (%s): %s", self.path, error.strerror, line.strip())
