"""What the bundles on disk say of themselves, from their JSON alone: no model is loaded and nothing is verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitoring.plain_values import mapping

METADATA_FILE = "metadata.json"
LARGEST_BYTES = 8_000_000
MOST_BUNDLES = 1_000


@dataclass(frozen=True, slots=True)
class BundleFigures:
    """One bundle folder: its metadata as written, how many files it has and their bytes.

    `problem` says why the metadata could not be read; it names no path.
    """

    model_key: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    files: int = 0
    size_bytes: int = 0
    problem: str = ""


def read_bundles(models_dir: Path | str) -> tuple[BundleFigures, ...]:
    """Give the bundles below a folder by name; a folder that is absent has none. Nothing is raised."""
    try:
        folders = sorted(path for path in Path(models_dir).iterdir() if not path.name.startswith(".") and path.is_dir())
    except OSError:
        return ()
    with_metadata = [folder for folder in folders if (folder / METADATA_FILE).exists()]
    return tuple(_read(folder) for folder in with_metadata[:MOST_BUNDLES])


def stamp_of(models_dir: Path | str) -> tuple[tuple[str, int], ...]:
    """Give what changes when a bundle comes, goes or is replaced."""
    try:
        files = sorted(Path(models_dir).glob(f"*/{METADATA_FILE}"))
        return tuple((path.parent.name, path.stat().st_mtime_ns) for path in files)
    except OSError:
        return ()


def _read(folder: Path) -> BundleFigures:
    try:
        files = [path for path in folder.iterdir() if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        metadata = _metadata(folder / METADATA_FILE)
    except OSError as error:
        return BundleFigures(folder.name, problem=error.strerror or type(error).__name__)
    except ValueError as error:
        return BundleFigures(folder.name, problem=str(error))
    return BundleFigures(folder.name, metadata, len(files), size)


def _metadata(path: Path) -> Mapping[str, object]:
    """Read one metadata file; raises `ValueError` for what is none, too large or not text."""
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{METADATA_FILE} is larger than {LARGEST_BYTES // 1_000_000} MB")
    try:
        content = mapping(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError):
        raise ValueError(f"{METADATA_FILE} is not JSON: train the symbol again") from None
    if not content:
        raise ValueError(f"{METADATA_FILE} is empty: train the symbol again")
    return content
