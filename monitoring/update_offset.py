"""Which update was taken last, kept in a file so that none is taken twice, whenever the program ends."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.market import EPOCH, from_iso, iso
from bn_ml.ports import Clock
from monitoring.export_files import write_atomically

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = timedelta(days=6)
"""After a quiet week update numbers begin anew at random: an older mark would hide every later command."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """The next update wanted, and when the last one came."""

    offset: int
    at: datetime


class UpdateOffset:
    """The mark of one bot. A file that cannot be read or written is told once; then the mark lives in memory only."""

    def __init__(self, path: Path, bot: str, clock: Clock) -> None:
        """Take up the mark that was left for this bot (its public number); one of another bot counts for nothing."""
        self.path = path
        self._bot = hashlib.sha256(bot.encode()).hexdigest()[:16]
        self._clock = clock
        self._told = ""
        self._mark = self._read()

    def next(self) -> int | None:
        """Give the number of the next update wanted, None when any is welcome."""
        if self._mark is None or self._clock.now() - self._mark.at >= FORGOTTEN_AFTER:
            return None
        return self._mark.offset

    def is_taken(self, update_id: int) -> bool:
        """Tell whether an update was taken before."""
        wanted = self.next()
        return wanted is not None and update_id < wanted

    def take(self, update_id: int) -> None:
        """Note, durably and before anything is done about it, that all updates up to this one are taken."""
        self._mark = _Mark(update_id + 1, self._clock.now())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(
                self.path, json.dumps({"bot": self._bot, "offset": self._mark.offset, "at": iso(self._mark.at)})
            )
            self.path.chmod(0o600)
        except OSError as error:
            self._tell(f"not written ({error.strerror})")
        else:
            self._told = ""

    def _read(self) -> _Mark | None:
        try:
            said = json.loads(self.path.read_text(encoding="utf-8"))
            if said["bot"] != self._bot:
                return None
            mark = _Mark(int(said["offset"]), from_iso(said["at"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
            self._tell(f"not read ({type(error).__name__})")
            return None
        return mark if mark.offset > 0 and mark.at > EPOCH else None

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            log.warning("mark of taken updates %s path=%s", problem, self.path)
            self._told = problem
