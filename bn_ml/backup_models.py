"""The bundles in a backup: every backup shows all of them, files already in the one before are the same file on disk.

Hard links between backups rather than a store by content: each backup is a complete folder that ordinary tools can read
and copy, deleting one never touches another, and nothing has to be collected afterwards. Private keys and what is still
being written stay out; the signatures come along, so that a restored bundle verifies as before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bn_ml.backup_manifest import FileFact
from bn_ml.backup_store import Backup
from bn_ml.durable_files import copy_durably, files_below, make_private
from bn_ml.errors import StateError

log = logging.getLogger(__name__)

MODELS = "models"
SIGNATURE = "manifest.sig"
INCOMING, VERSIONS = ".incoming", ".versions"
_UNFINISHED = (".part", ".lock", ".tmp")
_ATTEMPTS = 5

Key = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file to back up: where it lies, its path below the backup, and what is known of it from the backup before."""

    source: Path
    path: str
    size: int
    twin: Path | None = None
    fact: FileFact | None = None


def plan_models(models: Path, before: Backup | None) -> tuple[ModelFile, ...]:
    """Give the files of all bundles as they lie there at this moment; an absent folder has none."""
    known = _known(before) if before else {}
    return tuple(_planned(source, name, known) for source, name in _sources(models))


def copied_bytes(files: Sequence[ModelFile]) -> int:
    """Give how much of a plan is new on the disk."""
    return sum(file.size for file in files if file.twin is None)


def copy_models(
    models: Path, target: Path, before: Backup | None, tell: Callable[[], None]
) -> tuple[tuple[FileFact, ...], tuple[str, ...]]:
    """Put all bundles below `target`; give their files and the public keys that signed them.

    A bundle that is replaced meanwhile is copied as it is afterwards. Raises `StateError` when they never hold still,
    lets `OSError` out.
    """
    facts: dict[str, FileFact] = {}
    for _ in range(_ATTEMPTS):
        planned = plan_models(models, before)
        identities = _identities(planned)
        try:
            for file in planned:
                if file.path not in facts:
                    facts[file.path] = _put(file, target / file.path)
                    tell()
        except FileNotFoundError as error:
            log.debug("a bundle was replaced while it was copied file=%s", error.filename)
        settled = plan_models(models, before)
        if identities == _identities(settled) and {file.path for file in settled} == set(facts):
            return tuple(facts[name] for name in sorted(facts)), _signers(target, facts)
        _forget(target, facts)
    raise StateError(f"{models}: bundles are being replaced all the time; the backup is tried again later")


def _sources(models: Path) -> Iterator[tuple[Path, str]]:
    """Give each file with its path below the backup; a bundle about to be swapped in counts where none serves."""
    served = {path.name for path in models.iterdir() if path.is_dir()} if models.is_dir() else set()
    for path in files_below(models):
        parts = path.relative_to(models).parts
        if parts[0] == INCOMING and len(parts) == 3 and parts[1] not in served and not parts[1].endswith(".part"):
            yield path, "/".join((MODELS, *parts[1:]))
        elif _is_bundle(parts):
            yield path, "/".join((MODELS, *parts))


def _is_bundle(parts: Sequence[str]) -> bool:
    """Whether a file belongs to a version in service or an earlier one, not to keys, trainings or what comes in."""
    is_kept = parts[0] == VERSIONS or not parts[0].startswith(".")
    return is_kept and len(parts) > 1 and not any(part.endswith(_UNFINISHED) for part in parts)


def _planned(source: Path, name: str, known: Mapping[Key, tuple[Path, FileFact]]) -> ModelFile:
    try:
        facts = source.stat()
    except FileNotFoundError:
        return ModelFile(source, name, 0)
    twin, fact = known.get(_key(name, facts.st_size, facts.st_mtime_ns), (None, None))
    return ModelFile(source, name, facts.st_size, twin, fact)


def _known(before: Backup) -> dict[Key, tuple[Path, FileFact]]:
    """Give the files of the backup before by what does not change when a version is set aside."""
    found: dict[Key, tuple[Path, FileFact]] = {}
    for fact in before.manifest.below(MODELS):
        path = before.folder / fact.path
        try:
            facts = path.stat()
        except OSError:
            continue
        if facts.st_size == fact.size:
            found[_key(fact.path, facts.st_size, facts.st_mtime_ns)] = path, fact
    return found


def _key(name: str, size: int, changed_ns: int) -> Key:
    parts = name.split("/")
    symbol = parts[2] if parts[1] == VERSIONS and len(parts) > 2 else parts[1]
    return symbol, parts[-1], size, changed_ns


def _put(file: ModelFile, target: Path) -> FileFact:
    make_private(target.parent)
    if file.twin is not None and file.fact is not None and _linked(file.twin, target):
        return replace(file.fact, path=file.path)
    facts = file.source.stat()
    size, digest = copy_durably(file.source, target)
    # The next backup knows the file again by the time it was made.
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return FileFact(file.path, size, digest)


def _linked(twin: Path, target: Path) -> bool:
    try:
        os.link(twin, target)
    except OSError as error:
        log.debug("copied, since no link can be made file=%s reason=%s", twin, error.strerror)
        return False
    return True


def _identities(files: Sequence[ModelFile]) -> frozenset[tuple[str, int, int]]:
    """Give what changes whenever a folder is replaced by another one."""
    found: set[tuple[str, int, int]] = set()
    for file in files:
        try:
            facts = file.source.stat()
        except FileNotFoundError:
            continue
        found.add((file.path, facts.st_ino, facts.st_mtime_ns))
    return frozenset(found)


def _signers(target: Path, facts: Mapping[str, FileFact]) -> tuple[str, ...]:
    """Give the public keys at the head of the signatures."""
    lines = [(target / name).read_text(errors="replace") for name in facts if name.endswith(f"/{SIGNATURE}")]
    return tuple(sorted({line.split()[0] for line in lines if line.strip()}))


def _forget(target: Path, facts: dict[str, FileFact]) -> None:
    for name in facts:
        (target / name).unlink(missing_ok=True)
    facts.clear()
