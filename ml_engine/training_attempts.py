"""When each symbol was last tried and how that ended, kept in the models folder for every process that trains."""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import Symbol, from_iso, iso
from ml_engine.retraining_triggers import Attempt
from ml_engine.training_locks import training_folder
from ml_engine.training_progress import FAILED

log = logging.getLogger(__name__)

_FILE, _LOCK = "attempts.json", "attempts.lock"


class TrainingAttempts:
    """Survives restarts; a file that cannot be read or written costs the memory of it, nothing else."""

    def __init__(self, models_dir: Path) -> None:
        """Name the models folder; nothing is read or created yet."""
        self._folder = training_folder(models_dir)
        self._known: dict[Symbol, Attempt] = {}
        self._told = False

    def all(self) -> Mapping[Symbol, Attempt]:
        """Give the last attempt of every symbol, by whatever process."""
        self._known |= self._read()
        return dict(self._known)

    def begin(self, symbols: Iterable[Symbol], now: datetime) -> None:
        """Note that symbols are tried from now on."""
        known = self.all()
        self._write({name: Attempt(now, "", known[name].failures if name in known else 0) for name in symbols})

    def end(self, symbol: Symbol, result: str, now: datetime) -> None:
        """Note how the attempt of a symbol ended."""
        attempt = self.all().get(symbol) or Attempt(now)
        failures = attempt.failures + 1 if result == FAILED else 0
        self._write({symbol: replace(attempt, result=result, failures=failures)})

    def withdraw(self, symbols: Iterable[Symbol]) -> None:
        """Forget attempts that were called off, so that they may be made again at once."""
        self._write(dict.fromkeys(symbols))

    def _write(self, changes: Mapping[Symbol, Attempt | None]) -> None:
        self._known = _changed(self._known, changes)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / _LOCK).open("w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                merged = _changed(self._read(), changes)
                fresh = self._folder / f"{_FILE}.part"
                fresh.write_text(json.dumps({str(name): _plain(item) for name, item in sorted(merged.items())}))
                fresh.replace(self._folder / _FILE)
                self._told = False
        except OSError as error:
            if not self._told:
                log.warning("training attempts are not kept over a restart: %s", error)
            self._told = True

    def _read(self) -> dict[Symbol, Attempt]:
        try:
            content = json.loads((self._folder / _FILE).read_text(encoding="utf-8"))
            return {Symbol(name): _attempt(fields) for name, fields in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the record of training attempts is not readable: %s", error)
            return {}


def _changed(known: Mapping[Symbol, Attempt], changes: Mapping[Symbol, Attempt | None]) -> dict[Symbol, Attempt]:
    merged = {**known, **changes}
    return {name: item for name, item in merged.items() if item is not None}


def _plain(attempt: Attempt) -> dict[str, object]:
    return {"at": iso(attempt.at), "result": attempt.result, "failures": attempt.failures}


def _attempt(fields: Mapping[str, object]) -> Attempt:
    failures = fields["failures"]
    if not isinstance(failures, int) or failures < 0:
        raise ValueError(f"failures: {failures!r}")
    return Attempt(from_iso(str(fields["at"])), str(fields["result"]), failures)
