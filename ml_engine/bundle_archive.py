"""Bundles in a zip file: written whole or not at all, read as if a stranger had made it.

An archive holds `<folder>/<SYMBOL_KEY>/<file>` and nothing else. Reading happens in three steps: the shape of the zip
(see `archive_shape`), the signed manifests, which name every file with size and digest, then the files, written into a
private folder while they are digested. Nothing is deserialised here, and a file no manifest names is never written.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from ml_engine.archive_shape import (
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_RATIO,
    checked_entries,
    require_whole,
)
from ml_engine.bundle import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from ml_engine.bundle_files import BundlePaths, read_verified, sync_directory
from ml_engine.bundle_signing import verify

FOLDER = "models"
MAX_BYTES = 512 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PIECE = 1 << 20
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    LookupError,
    EOFError,
    OSError,
    struct.error,
)

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that was written: where, its size and SHA-256, and what it holds and had to leave out, with why."""

    path: Path
    size: int
    sha256: str
    files: int
    symbols: tuple[Symbol, ...]
    left_out: Mapping[Symbol, str]


def pack(models_dir: Path, symbols: Sequence[Symbol], target: Path, trusted: Iterable[str]) -> Packed:
    """Write the verified bundles in service of `symbols` into `target`, in that order as long as 200 files hold them.

    The same bundles give the same bytes. Raises `ModelError` (`no_bundle`) when none of them can be packed, `OSError`
    when the file cannot be written; an archive that was there before is then untouched.
    """
    content, left_out = _content(models_dir, symbols, tuple(trusted))
    if not content:
        why = "; ".join(f"{symbol}: {reason}" for symbol, reason in left_out.items()) or "no bundles"
        raise ModelError(f"nothing to pack from {models_dir} ({why})", reason="no_bundle")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _write(part, content)
        size, digest = _digest(part)
        part.replace(target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    sync_directory(target.parent)
    files = sum(len(bundle) for bundle in content.values())
    return Packed(target, size, digest, files, tuple(content), left_out)


def unpack(
    archive: Path, target: Path, trusted: Iterable[str], *, folder: str = FOLDER, max_bytes: int = MAX_BYTES
) -> tuple[Path, ...]:
    """Write the bundles of an archive as directories below `target`, all verified; gives them sorted.

    `target` must not exist yet. Raises `ModelError` (`bundle_refused`) when anything about the archive is not as it
    must be; then nothing of it is left on disk. `max_bytes` bounds the archive and what it holds.
    """
    try:
        with archive.open("rb") as raw:
            require_whole(raw, max_bytes=max_bytes)
            with zipfile.ZipFile(raw) as opened:
                bundles = checked_entries(opened, folder=folder, max_bytes=max_bytes)
                manifests = {key: _manifest(opened, entries, tuple(trusted)) for key, entries in bundles.items()}
                return _write_out(opened, target, bundles, manifests)
    except _UNREADABLE as error:
        raise _refused(f"{archive.name} cannot be read: {type(error).__name__}") from error


def _content(
    models_dir: Path, symbols: Sequence[Symbol], trusted: tuple[str, ...]
) -> tuple[dict[Symbol, Files], dict[Symbol, str]]:
    paths = BundlePaths(models_dir)
    chosen: dict[Symbol, Files] = {}
    left_out: dict[Symbol, str] = {}
    room = MAX_FILES
    for symbol in dict.fromkeys(symbols):
        try:
            files = read_verified(paths.served(symbol), trusted, keep_all=True)
        except ModelError as error:
            left_out[symbol] = str(error)
            continue
        if files.manifest.symbol != symbol:
            left_out[symbol] = f"the bundle belongs to {files.manifest.symbol}"
        elif len(files.content) > room:
            left_out[symbol] = f"an archive holds at most {MAX_FILES} files"
        else:
            chosen[symbol] = files.content
            room -= len(files.content)
    return chosen, left_out


def _write(path: Path, content: Mapping[Symbol, Files]) -> None:
    with path.open("wb") as raw:
        with zipfile.ZipFile(raw, "w") as archive:
            for symbol in sorted(content):
                for name, data in sorted(content[symbol].items()):
                    entry = zipfile.ZipInfo(f"{FOLDER}/{symbol.key}/{name}", _EPOCH)
                    entry.external_attr = 0o100644 << 16
                    archive.writestr(entry, data, _method(data))
        raw.flush()
        os.fsync(raw.fileno())


def _method(data: bytes) -> int:
    """Compress what stays well inside the ratio a reader accepts; what would shrink more is stored."""
    shrunk = len(zlib.compress(data, 6))
    return zipfile.ZIP_DEFLATED if shrunk * MAX_RATIO > 2 * len(data) else zipfile.ZIP_STORED


def _digest(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _manifest(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], trusted: tuple[str, ...]) -> Manifest:
    """Give the manifest of one bundle once its signature holds, and it names exactly the files that are there."""
    if not {MANIFEST_FILE, SIGNATURE_FILE} <= set(entries):
        raise _refused("a bundle without manifest or signature")
    for name in (MANIFEST_FILE, SIGNATURE_FILE):
        if entries[name].file_size > MAX_MANIFEST_BYTES:
            raise _refused(f"{name} has {entries[name].file_size} bytes, at most {MAX_MANIFEST_BYTES} expected")
    content = opened.read(entries[MANIFEST_FILE])
    verify(content, opened.read(entries[SIGNATURE_FILE]), trusted)
    manifest = Manifest.from_bytes(content)
    expected = {*manifest.files, MANIFEST_FILE, SIGNATURE_FILE}
    if set(entries) != expected:
        raise _refused(
            f"missing files {sorted(expected - set(entries))}, extra files {sorted(set(entries) - expected)}"
        )
    for name, fact in manifest.files.items():
        if entries[name].file_size != fact.size:
            raise _refused(f"{name} has {entries[name].file_size} bytes, its manifest says {fact.size}")
    return manifest


def _write_out(
    opened: zipfile.ZipFile,
    target: Path,
    bundles: Mapping[str, Mapping[str, zipfile.ZipInfo]],
    manifests: Mapping[str, Manifest],
) -> tuple[Path, ...]:
    for key, manifest in manifests.items():
        if manifest.symbol != Symbol.from_key(key):
            raise _refused(f"folder {key} holds the bundle of {manifest.symbol}")
    target.mkdir(mode=0o700)
    written: list[Path] = []
    try:
        for key, entries in sorted(bundles.items()):
            (target / key).mkdir(mode=0o700)
            for name, entry in entries.items():
                fact = manifests[key].files.get(name)
                found = _extract(opened, entry, target / key / name)
                if fact is not None and found != fact.sha256:
                    raise _refused(f"{key}/{name} differs from the manifest")
            written.append(target / key)
    except BaseException:
        _remove(target)
        raise
    return tuple(written)


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> str:
    """Write one entry into a new file, never more bytes than announced; gives its SHA-256."""
    digest, left = hashlib.sha256(), entry.file_size
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file, opened.open(entry) as source:
        while piece := source.read(min(_PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                raise _refused(f"{entry.filename} is longer than announced")
            digest.update(piece)
            file.write(piece)
    if left:
        raise _refused(f"{entry.filename} is shorter than announced")
    return digest.hexdigest()


def _remove(folder: Path) -> None:
    """Take away a folder this module made: directories of files, no deeper."""
    for bundle in folder.iterdir():
        for file in bundle.iterdir():
            file.unlink()
        bundle.rmdir()
    folder.rmdir()


def _refused(message: str) -> ModelError:
    return ModelError(message, reason="bundle_refused")
