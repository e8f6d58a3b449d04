"""Bundles as one zip that is never held whole: measured first, then sent while it is read again.

Only files a bundle's manifest names go in, each checked against its digest. The directories stay open between both
readings, so a bundle replaced meanwhile is still sent as it was.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bn_ml.errors import ModelError
from public_api.bundle_listing import MANIFEST_FILE, ListedFile, manifest_files, record

MOST_FILES = 5_000
MOST_BYTES = 2 * 1024**3
_CHUNK = 256 * 1024
_SAME_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: its open directory, its name there and in the archive."""

    folder: int
    file: ListedFile
    name: str


class Archive:
    """A zip of some bundles; close it when it was sent. `files`, `size_bytes` and `sha256` are of the zip itself."""

    def __init__(self, models_dir: Path, keys: Sequence[str]) -> None:
        """Open the bundles and measure the zip.

        Raises `ModelError` for a bundle that is gone, unreadable or not what its manifest says, and for too much.
        """
        self._open = ExitStack()
        try:
            self._members = tuple(self._found(models_dir, keys))
            total = sum(member.file.size for member in self._members)
            if len(self._members) > MOST_FILES or total > MOST_BYTES:
                raise ModelError("too large for one archive; ask for one model_key", reason="too_large")
            digest, size = hashlib.sha256(), 0
            for chunk in self.chunks():
                digest.update(chunk)
                size += len(chunk)
        except OSError as error:
            self.close()
            raise ModelError(f"a bundle cannot be read: {error.strerror}", reason="bundle_refused") from error
        except BaseException:
            self.close()
            raise
        self.files, self.size_bytes, self.sha256 = len(self._members), size, digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Give the zip in pieces; raises `ModelError` for a file that is not what its manifest says."""
        sink = _Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as zipped:
            for member in self._members:
                facts = zipfile.ZipInfo(member.name, _SAME_DATE)
                facts.external_attr = 0o644 << 16
                with zipped.open(facts, "w", force_zip64=True) as target:
                    for chunk in _checked(member):
                        target.write(chunk)
                        yield from sink.taken()
                yield from sink.taken()
        yield from sink.taken()

    def close(self) -> None:
        """Let go of the directories."""
        self._open.close()

    def _found(self, models_dir: Path, keys: Sequence[str]) -> Iterator[Member]:
        for key in keys:
            folder = os.open(models_dir / key, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            self._open.callback(os.close, folder)
            try:
                files = manifest_files(folder, record(folder, MANIFEST_FILE))
            except ValueError as error:
                raise ModelError(f"{key}: {error}", reason="bundle_refused") from error
            yield from (Member(folder, file, f"{key}/{file.name}") for file in files)


class _Sink:
    """Where `zipfile` writes: a stream that cannot be sought, emptied piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to close."""

    def taken(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return [b"".join(pieces)] if pieces else []


def _checked(member: Member) -> Iterator[bytes]:
    digest, left = hashlib.sha256(), member.file.size
    handle = os.open(member.file.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=member.folder)
    with open(handle, "rb") as file:
        while chunk := file.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            yield chunk
    if left or (member.file.sha256 is not None and digest.hexdigest() != member.file.sha256):
        raise ModelError(f"{member.name}: not what its manifest says", reason="bundle_refused")
