"""The shape an archive must have before a byte of its content is looked at.

A zip file can say things in two places that contradict each other. Only one plain form is accepted: one part, no
comment, no 64-bit extension, nothing before, between or after the entries, regular files under plain names, stored or
deflated, none twice, few enough, and none that grows suspiciously.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError

MAX_FILES = 200
MAX_RATIO = 100
MAX_MANIFEST_BYTES = 1024 * 1024
_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")
_END_SIGNATURE, _LOCAL_SIGNATURE, _LOCATOR_SIGNATURE = b"PK\x05\x06", b"PK\x03\x04", b"PK\x06\x07"
_LOCATOR_BYTES = 20
_DESCRIPTOR_BYTES = 16
_LONGEST_DIRECTORY = 256 * 1024
_HAS_DESCRIPTOR = 0x0008
_ALLOWED_FLAGS = _HAS_DESCRIPTOR | 0x0800 | 0x0006
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")

Entries = Mapping[str, zipfile.ZipInfo]


def require_whole(raw: BinaryIO, *, max_bytes: int) -> None:
    """Judge the end of an archive, which says how many entries there are, before anything is read from it.

    Raises `ModelError` (`bundle_refused`).
    """
    size = raw.seek(0, io.SEEK_END)
    if size > max_bytes:
        raise _refused(f"the archive has {size} bytes, at most {max_bytes} are allowed")
    if size < _END.size:
        raise _refused("not a zip file")
    raw.seek(size - _END.size)
    signature, disk, first_disk, here, entries, length, start, comment = _END.unpack(raw.read(_END.size))
    if signature != _END_SIGNATURE or comment:
        raise _refused("not a zip file, or one with a comment")
    if disk or first_disk or here != entries:
        raise _refused("an archive of several parts")
    if not 0 < entries <= MAX_FILES:
        raise _refused(f"{entries} files, at most {MAX_FILES} and at least one")
    if length > _LONGEST_DIRECTORY or start + length != size - _END.size:
        raise _refused("the list of files is not where it must be")
    if length >= _LOCATOR_BYTES:
        raw.seek(size - _END.size - _LOCATOR_BYTES)
        if raw.read(4) == _LOCATOR_SIGNATURE:
            raise _refused("the 64-bit form of an archive")
    raw.seek(0)


def checked_entries(opened: zipfile.ZipFile, *, folder: str, max_bytes: int) -> dict[str, dict[str, zipfile.ZipInfo]]:
    """Give the entries by symbol key and file name; raises `ModelError` (`bundle_refused`) for any doubtful one."""
    entries = opened.infolist()
    if not 0 < len(entries) <= MAX_FILES:
        raise _refused(f"{len(entries)} files, at most {MAX_FILES} and at least one")
    prefix = tuple(part for part in folder.strip("/").split("/") if part)
    bundles: dict[str, dict[str, zipfile.ZipInfo]] = {}
    seen: set[str] = set()
    for entry in entries:
        _require_plain(entry)
        key, name = _placed(entry, prefix)
        if entry.filename.casefold() in seen:
            raise _refused(f"{entry.filename} is there twice")
        seen.add(entry.filename.casefold())
        bundles.setdefault(key, {})[name] = entry
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise _refused(f"{total} bytes once unpacked, at most {max_bytes} are allowed")
    if total > MAX_RATIO * max(1, sum(entry.compress_size for entry in entries)):
        raise _refused(f"it grows more than {MAX_RATIO} times when unpacked")
    _require_gapless(opened, entries)
    return bundles


def _require_plain(entry: zipfile.ZipInfo) -> None:
    kind = entry.external_attr >> 16
    if stat.S_IFMT(kind) not in (0, stat.S_IFREG):
        raise _refused(f"{_shown(entry)} is not a regular file")
    if entry.flag_bits & ~_ALLOWED_FLAGS:
        raise _refused(f"{_shown(entry)} is encrypted or of an unknown form")
    if entry.compress_type not in _METHODS:
        raise _refused(f"{_shown(entry)} is compressed in a way that is not accepted")
    if entry.comment or entry.extra or entry.volume:
        raise _refused(f"{_shown(entry)} carries more than its content")
    if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
        raise _refused(f"{_shown(entry)} has two sizes")
    if entry.file_size > MAX_RATIO * max(1, entry.compress_size):
        raise _refused(f"{_shown(entry)} grows more than {MAX_RATIO} times when unpacked")


def _placed(entry: zipfile.ZipInfo, prefix: tuple[str, ...]) -> tuple[str, str]:
    """Give symbol key and file name of an entry that lies where a bundle's files lie."""
    parts = tuple(entry.filename.split("/"))
    if entry.orig_filename != entry.filename or not all(map(_NAME.fullmatch, parts)):
        raise _refused(f"{_shown(entry)} is not a plain name")
    if len(parts) != len(prefix) + 2 or parts[: len(prefix)] != prefix:
        raise _refused(f"{_shown(entry)} is not a file of a bundle below {'/'.join(prefix) or 'the top'}")
    if not _is_symbol_key(parts[-2]):
        raise _refused(f"{_shown(entry)} is not in a symbol's folder")
    return parts[-2], parts[-1]


def _require_gapless(opened: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Require the entries to lie one after the other, each under the name and at the size the list says."""
    raw = opened.fp
    place = 0
    for entry in sorted(entries, key=lambda item: item.header_offset):
        if entry.header_offset != place or raw is None:
            raise _refused(f"{_shown(entry)} overlaps another file or leaves a gap")
        raw.seek(place)
        header = raw.read(_LOCAL.size)
        if len(header) != _LOCAL.size:
            raise _refused(f"{_shown(entry)} has no header")
        signature, _, flags, method, _, _, _, _, _, name_length, extra = _LOCAL.unpack(header)
        said = (signature, flags, method, extra, raw.read(name_length))
        if said != (_LOCAL_SIGNATURE, entry.flag_bits, entry.compress_type, 0, entry.filename.encode()):
            raise _refused(f"{_shown(entry)} is described in two ways")
        place += _LOCAL.size + name_length + entry.compress_size
        place += _DESCRIPTOR_BYTES if entry.flag_bits & _HAS_DESCRIPTOR else 0
    if place != opened.start_dir:
        raise _refused("bytes between the files and their list")


def _is_symbol_key(text: str) -> bool:
    try:
        return Symbol.from_key(text).key == text
    except ValueError:
        return False


def _shown(entry: zipfile.ZipInfo) -> str:
    return repr(entry.filename[:80])


def _refused(message: str) -> ModelError:
    return ModelError(message, reason="bundle_refused")
