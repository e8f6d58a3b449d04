"""Whether the disk has room, the folders can be written, and what the graphics card is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from bn_ml.hardware import Machine, this_machine
from bn_ml.settings import AccelerationSettings
from scripts.doctor_findings import Check, Diagnosis, bad, doubtful, good, listed
from scripts.doctor_situation import Situation

SOON_FULL = 2.0
"""A disk with less than so many times the least free space is worth a word."""


def checks(situation: Situation) -> list[Check]:
    """Give what is looked at on this machine."""
    acceleration = situation.settings.model.acceleration
    return [
        Check("disk", partial(disk, situation)),
        Check("folders", partial(folders, situation)),
        Check("graphics card", lambda: graphics_card(acceleration, this_machine())),
    ]


def places(situation: Situation) -> Mapping[str, Path]:
    """Give the folders that are written, by what they hold."""
    settings = situation.settings
    found = {
        "database": situation.database.absolute().parent,
        "logs": Path(settings.monitoring.logs_dir),
        "metrics": Path(settings.monitoring.metrics_dir),
        "models": Path(settings.model.models_dir),
        "history": Path(settings.data.history_dir),
    }
    if settings.storage.backup.enabled:
        found["backups"] = Path(settings.storage.backup.base_dir)
    return {name: path.absolute() for name, path in found.items()}


def disk(situation: Situation) -> Iterator[Diagnosis]:
    """Tell which disks have less room than the bot wants before it buys."""
    least_mb = situation.settings.storage.min_free_disk_mb
    found = places(situation)
    free = {name: shutil.disk_usage(nearest(path)).free / 1e6 for name, path in found.items()}
    name = min(free, key=lambda name: free[name])
    seen = f"{free[name]:.0f} MB free where {listed(_beside(name, found))} lie, storage.min_free_disk_mb {least_mb:g}"
    if free[name] < least_mb:
        yield bad("disk", seen, f"free space on the disk of {found[name]}: below this nothing is bought")
    elif free[name] < SOON_FULL * least_mb:
        yield doubtful("disk", seen, f"free space on the disk of {found[name]} soon")
    else:
        yield good("disk", seen)


def folders(situation: Situation) -> Iterator[Diagnosis]:
    """Tell which folders could not be written."""
    found = places(situation)
    problems = {name: problem for name, path in found.items() if (problem := unwritable(path))}
    for name, problem in problems.items():
        yield bad("folders", f"{name}: {problem}", f"give the bot's user write access, or change {_KEYS[name]}")
    if not problems:
        yield good("folders", f"{', '.join(found)} can be written")


_KEYS: Mapping[str, str] = {
    "database": "storage.sqlite_path",
    "logs": "monitoring.logs_dir",
    "metrics": "monitoring.metrics_dir",
    "models": "model.models_dir",
    "history": "data.history_dir",
    "backups": "storage.backup.base_dir",
}


def unwritable(folder: Path) -> str:
    """Say why files could not be written in a folder, or why it could not be made; empty when they can."""
    existing = nearest(folder)
    if not existing.is_dir():
        return f"{existing} is a file, no folder can be there"
    if existing != folder:
        return "" if os.access(existing, os.W_OK | os.X_OK) else f"{folder} cannot be made in {existing}"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"


def nearest(path: Path) -> Path:
    """Give a path, or the nearest of its parents that exists."""
    for candidate in (path, *path.parents):
        if candidate.exists():
            return candidate
    return Path("/")


def graphics_card(settings: AccelerationSettings, machine: Machine) -> Iterator[Diagnosis]:
    """Tell which card there is and whether one is asked for that is not."""
    demanded = settings.gpu_enable is True or settings.device == "cuda"
    if machine.card is not None:
        card = machine.card
        seen = f"{card.name}, {card.memory_mb} MB, driver {card.driver}; bnml-hardware-probe tries a fit on it"
        yield good("graphics card", seen)
    elif not demanded:
        yield good("graphics card", f"none, training uses {machine.cores} cores")
    elif settings.allow_cuda_fallback:
        fix = "set model.acceleration.device: cpu, or install the card's driver"
        yield doubtful("graphics card", "asked for and none answers, the processor trains", fix)
    else:
        fix = "set model.acceleration.allow_cuda_fallback: true or device: cpu, or install the card's driver"
        yield bad("graphics card", "demanded and none answers, nothing can be trained", fix)


def _beside(name: str, found: Mapping[str, Path]) -> list[str]:
    """Name everything that lies on the same disk."""
    device = nearest(found[name]).stat().st_dev
    return [other for other, path in found.items() if nearest(path).stat().st_dev == device]
