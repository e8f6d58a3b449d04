"""Files that survive a power cut: written or copied beside, flushed, renamed, and the folder flushed too."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file by `content`, mode 0600, wholly or not at all. Lets `OSError` out."""
    draft = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def copy_durably(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file to one that is not there yet, flushed, mode 0600; give its size and SHA-256. Lets `OSError` out.

    The copy ends where the source ended when it was opened, so that a growing log is no endless copy.
    """
    digest = hashlib.sha256()
    with source.open("rb") as read, os.fdopen(_created(target), "wb") as written:
        left = os.fstat(read.fileno()).st_size
        size = 0
        while left > 0 and (chunk := read.read(min(CHUNK, left))):
            written.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            left -= len(chunk)
        written.flush()
        os.fsync(written.fileno())
    return size, digest.hexdigest()


def sha256_of(path: Path) -> tuple[int, str]:
    """Give the size and SHA-256 of a file; never of an open database, whose locks a second opening would drop."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """Give the regular files below a folder in sorted order; links are not followed, an absent folder has none."""
    for name, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(name) / item for item in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, all with mode 0700."""
    for level in (*reversed(folder.parents), folder):
        if not level.is_dir():
            level.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(folder: Path) -> None:
    """Flush the names in a folder and in all below it, the deepest first."""
    for name, _, _ in os.walk(folder, topdown=False):
        sync(Path(name))


def _created(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
