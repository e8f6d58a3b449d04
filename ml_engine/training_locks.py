"""Who trains what at this moment, across processes: locks in the models folder that end with their process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bn_ml.domain.market import Symbol

FOLDER = ".training"
_SESSION = "session.lock"


def training_folder(models_dir: Path) -> Path:
    """Give the folder of locks and of what was tried when."""
    return models_dir / FOLDER


@contextmanager
def symbol_lock(models_dir: Path, symbol: Symbol) -> Iterator[bool]:
    """Hold a symbol for the block; gives False, and holds nothing, when another process trains it."""
    with _held(training_folder(models_dir) / f"{symbol.key}.lock", "") as mine:
        yield mine


@contextmanager
def session_lock(models_dir: Path, name: str) -> Iterator[bool]:
    """Say for the length of the block that a run called `name` is under way; False when another run already does."""
    with _held(training_folder(models_dir) / _SESSION, f"{name} (process {os.getpid()})") as mine:
        yield mine


def running_session(models_dir: Path) -> str:
    """Give the name of the run under way in any process, empty when there is none."""
    path = training_folder(models_dir) / _SESSION
    try:
        with path.open("r", encoding="utf-8") as file:
            if _locked(file.fileno()):
                return ""
            return file.read().strip() or "another process"
    except OSError:
        return ""


@contextmanager
def _held(path: Path, text: str) -> Iterator[bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        mine = _locked(file.fileno())
        if mine:
            file.truncate(0)
            file.write(text)
            file.flush()
        yield mine


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
