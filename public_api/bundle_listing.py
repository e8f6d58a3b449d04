"""The bundles of the models folder as lists show them, read from their own metadata and manifests."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from public_api.paging import KEY_PATTERN

METADATA_FILE, MANIFEST_FILE, SIGNATURE_FILE = "metadata.json", "manifest.json", "manifest.sig"
MOST_BUNDLES = 500
LARGEST_RECORD = 4 * 1024 * 1024
_KEY = re.compile(KEY_PATTERN)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file the manifest names, with its size in bytes and its digest."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ListedBundle:
    """One bundle directory: what its metadata says (empty when unreadable) and which files belong to it."""

    key: str
    metadata: Json
    files: tuple[ListedFile, ...]
    problem: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(item.size for item in self.files)


def bundle_keys(models_dir: Path) -> tuple[str, ...]:
    """Give the names of the bundle directories, sorted; links and other names are none."""
    try:
        with os.scandir(models_dir) as entries:
            found = [entry.name for entry in entries if _KEY.fullmatch(entry.name) and _is_folder(entry)]
    except OSError:
        return ()
    return tuple(sorted(found)[:MOST_BUNDLES])


def listed_bundle(models_dir: Path, key: str) -> ListedBundle:
    """Read one bundle; `key` is a name `bundle_keys` gave. What cannot be read is said in `problem`."""
    try:
        folder = os.open(models_dir / key, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return ListedBundle(key, {}, (), "unreadable")
    try:
        metadata, manifest = record(folder, METADATA_FILE), record(folder, MANIFEST_FILE)
        return ListedBundle(key, metadata, manifest_files(folder, manifest))
    except (OSError, ValueError):
        return ListedBundle(key, {}, (), "unreadable")
    finally:
        os.close(folder)


def record(folder: int, name: str) -> Json:
    """Read a JSON object of an open directory; raises `OSError` or `ValueError`."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    with open(handle, "rb") as file:
        content = json.loads(file.read(LARGEST_RECORD))
    if not isinstance(content, dict):
        raise ValueError(f"{name} holds no object")
    return content


def manifest_files(folder: int, manifest: Json) -> tuple[ListedFile, ...]:
    """Give the files the manifest names, with the manifest itself and its signature; raises like `record`."""
    named = manifest.get("files")
    if not isinstance(named, dict):
        raise ValueError("the manifest names no files")
    found = [_named_file(str(name), fact) for name, fact in sorted(named.items())]
    for name in (MANIFEST_FILE, SIGNATURE_FILE):
        found.append(ListedFile(name, os.stat(name, dir_fd=folder, follow_symlinks=False).st_size, None))
    return tuple(found)


def _named_file(name: str, fact: object) -> ListedFile:
    size, digest = (fact.get("size"), fact.get("sha256")) if isinstance(fact, dict) else (None, None)
    if not _FILE_NAME.fullmatch(name) or not isinstance(size, int) or size < 0 or not isinstance(digest, str):
        raise ValueError("the manifest names an odd file")
    return ListedFile(name, size, digest)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)
