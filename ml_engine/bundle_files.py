"""Bundle directories on disk: read whole or not at all, replaced by renames, old versions kept aside.

`<models>/<KEY>/` is the version in service, `<models>/.versions/<KEY>/<n>/` the earlier ones. A replacement is written
to `.incoming/<KEY>.part`, flushed, renamed to `.incoming/<KEY>` (complete from that moment), and only then swapped in.
A reader that finds no `<KEY>/` looks into `.incoming/`, so it sees the old or the new bundle at every instant, also
after a crash between two renames.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from ml_engine.bundle import CORE_FILES, MANIFEST_FILE, SIGNATURE_FILE, Manifest, fact_of
from ml_engine.bundle_signing import verify

MAX_FILES = 200
MAX_BYTES = 512 * 1024 * 1024
_READ_ATTEMPTS = 20
_MARK = "newest"

Identity = tuple[int, int, int]
Contents = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class VerifiedFiles:
    """The manifest of a directory whose every byte was checked, and the content of the kept files."""

    manifest: Manifest
    content: Mapping[str, bytes]
    key: str


@dataclass(frozen=True, slots=True)
class BundlePaths:
    """Where the bundles of one models folder lie."""

    root: Path

    def current(self, symbol: Symbol) -> Path:
        """The directory in service."""
        return self.root / symbol.key

    def incoming(self, symbol: Symbol) -> Path:
        """The complete directory about to be swapped in."""
        return self.root / ".incoming" / symbol.key

    def history(self, symbol: Symbol) -> Path:
        """The folder of earlier versions."""
        return self.root / ".versions" / symbol.key

    def served(self, symbol: Symbol) -> Path:
        """The directory to read: in service, or complete and waiting; raises `ModelError` when there is none."""
        for path in (self.current(symbol), self.incoming(symbol)) * 3:
            if path.is_dir():
                return path
        raise ModelError(f"{symbol}: no bundle in {self.root}", reason="no_bundle")

    def earlier(self, symbol: Symbol) -> dict[int, Path]:
        """Earlier versions by number."""
        folder = self.history(symbol)
        if not folder.is_dir():
            return {}
        return {int(path.name): path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()}

    def newest(self, symbol: Symbol) -> int:
        """The highest version ever published here, 0 when none was."""
        marks = [*self.earlier(symbol), 0]
        mark = self.history(symbol) / _MARK
        if mark.is_file():
            text = mark.read_text().strip()
            marks.append(int(text) if text.isdigit() else 0)
        return max(marks)

    def remember_newest(self, symbol: Symbol, version: int) -> None:
        """Keep the highest version published, so that an older one put back by hand is recognised."""
        mark = self.history(symbol) / _MARK
        mark.parent.mkdir(parents=True, exist_ok=True)
        fresh = mark.with_name(f"{_MARK}.part")
        fresh.write_text(f"{version}\n")
        fresh.replace(mark)

    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols that have a directory, sorted."""
        if not self.root.is_dir():
            return ()
        keys = {path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith(".")}
        waiting = self.root / ".incoming"
        if waiting.is_dir():
            keys |= {path.name for path in waiting.iterdir() if not path.name.endswith(".part")}
        return tuple(sorted(symbol for key in keys if (symbol := _symbol(key)) is not None))


def identity(path: Path) -> Identity | None:
    """Give what changes whenever a directory is replaced: inode, time and size of its signature; None without one."""
    try:
        facts = (path / SIGNATURE_FILE).stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def contents(path: Path) -> Contents:
    """Give what changes whenever any file of a directory does: name, inode, times and size of each; empty without."""
    try:
        with os.scandir(path) as entries:
            facts = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return ()
    return tuple(sorted((name, it.st_ino, it.st_mtime_ns, it.st_ctime_ns, it.st_size) for name, it in facts))


def read_served(paths: BundlePaths, symbol: Symbol, trusted: Iterable[str]) -> VerifiedFiles:
    """Read the directory in service like `read_verified`; one that is replaced meanwhile is looked for again."""
    keys = tuple(trusted)
    for _ in range(_READ_ATTEMPTS - 1):
        path = paths.served(symbol)
        before = _inode(path)
        try:
            return read_verified(path, keys)
        except ModelError:
            if before is not None and _inode(path) == before:
                raise
    return read_verified(paths.served(symbol), keys)


def read_verified(path: Path, trusted: Iterable[str], *, keep_all: bool = False) -> VerifiedFiles:
    """Check signature, names, sizes and digests of a directory.

    Raises `ModelError` (`bundle_refused`) on any difference. Only what the trading process reads is kept, unless
    `keep_all`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _refused(f"{path}: {error.strerror}") from error
    try:
        return _read_open(handle, tuple(trusted), keep_all=keep_all)
    except OSError as error:
        raise _refused(f"{path}: {error}") from error
    finally:
        os.close(handle)


def stage(paths: BundlePaths, symbol: Symbol, files: Mapping[str, bytes]) -> Path:
    """Write a complete directory into `.incoming/`, flushed to disk; what cannot be written whole leaves nothing."""
    target = paths.incoming(symbol)
    part = target.with_name(f"{symbol.key}.part")
    for leftover in (part, target):
        if leftover.exists():
            shutil.rmtree(leftover)
    try:
        _write_all(part, files)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(target)
    sync_directory(target.parent)
    return target


def swap_in(paths: BundlePaths, symbol: Symbol, current_version: int | None) -> None:
    """Put the waiting directory in service; the present one becomes an earlier version (or goes, when unreadable)."""
    current, waiting = paths.current(symbol), paths.incoming(symbol)
    if current.exists():
        if current_version is None:
            shutil.rmtree(current)
        else:
            kept = paths.history(symbol) / str(current_version)
            kept.parent.mkdir(parents=True, exist_ok=True)
            if kept.exists():
                shutil.rmtree(kept)
            current.rename(kept)
            sync_directory(kept.parent)
    waiting.rename(current)
    sync_directory(paths.root)


def prune(paths: BundlePaths, symbol: Symbol, keep: int) -> None:
    """Remove all but the newest `keep` earlier versions."""
    earlier = paths.earlier(symbol)
    for version in sorted(earlier, reverse=True)[keep:]:
        shutil.rmtree(earlier[version])


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    sync_directory(folder)


def _read_open(handle: int, trusted: tuple[str, ...], *, keep_all: bool) -> VerifiedFiles:
    names = set(os.listdir(handle))
    if len(names) > MAX_FILES:
        raise _refused(f"{len(names)} files, at most {MAX_FILES}")
    if not {MANIFEST_FILE, SIGNATURE_FILE} <= names:
        raise _refused("the manifest or its signature is missing")
    content = _read_file(handle, MANIFEST_FILE, MAX_BYTES)
    key = verify(content, _read_file(handle, SIGNATURE_FILE, MAX_BYTES), trusted)
    manifest = Manifest.from_bytes(content)
    expected = {*manifest.files, MANIFEST_FILE, SIGNATURE_FILE}
    if names != expected:
        raise _refused(f"missing files {sorted(expected - names)}, extra files {sorted(names - expected)}")
    if sum(fact.size for fact in manifest.files.values()) > MAX_BYTES:
        raise _refused(f"more than {MAX_BYTES} bytes")
    kept = {}
    for name, fact in manifest.files.items():
        data = _read_file(handle, name, fact.size)
        if fact_of(data) != fact:
            raise _refused(f"{name} differs from the manifest")
        if keep_all or name in CORE_FILES:
            kept[name] = data
    if keep_all:
        kept |= {MANIFEST_FILE: content, SIGNATURE_FILE: _read_file(handle, SIGNATURE_FILE, MAX_BYTES)}
    return VerifiedFiles(manifest, kept, key)


def _read_file(directory: int, name: str, limit: int) -> bytes:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(f"{name} is not a regular file")
        if facts.st_size > limit:
            raise _refused(f"{name} has {facts.st_size} bytes, at most {limit} expected")
        return file.read(limit + 1)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _symbol(key: str) -> Symbol | None:
    try:
        return Symbol.from_key(key)
    except ValueError:
        return None


def _refused(message: str) -> ModelError:
    return ModelError(message, reason="bundle_refused")
