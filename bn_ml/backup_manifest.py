"""What a backup says about itself: `manifest.json`, its files with size and SHA-256, and whose book is in it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from bn_ml.codecs import from_json, from_plain, to_plain
from bn_ml.database import explained
from bn_ml.domain.account import ControlState
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import from_ms
from bn_ml.durable_files import files_below, sha256_of, write_durably
from bn_ml.errors import StateError
from bn_ml.schema import checked_version

MANIFEST = "manifest.json"
BOOK = "bn_ml.db"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileFact:
    """One file of a backup: its path below the folder, its size and its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BookFacts:
    """What the database in a backup holds.

    `identity` is None for a book that belongs to nobody yet. `newest` is the instant of its newest fact. Positions and
    orders are the open ones.
    """

    schema_version: int
    identity: BookIdentity | None
    state: ControlState
    newest: datetime | None
    positions: int
    orders: int
    fills: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole backup. `included` names its parts (state_db, metrics, logs, models), `book` is None without a database.

    `signers` are the public keys that signed the bundles, `source` the database that was copied.
    """

    backup_id: str
    made_at: datetime
    source: str
    included: tuple[str, ...]
    files: tuple[FileFact, ...]
    book: BookFacts | None = None
    signers: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def size_bytes(self) -> int:
        """What its files weigh together; those shared with other backups count in each."""
        return sum(file.size for file in self.files)

    def below(self, folder: str) -> tuple[FileFact, ...]:
        """Give the files of one part."""
        return tuple(file for file in self.files if file.path.startswith(f"{folder}/"))

    def write(self, folder: Path) -> None:
        """Write it into the backup's folder, durably."""
        text = json.dumps(to_plain(self), indent=2, sort_keys=True)
        write_durably(folder / MANIFEST, f"{text}\n".encode())


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a backup; raises `StateError` when there is none or it cannot be understood."""
    path = folder / MANIFEST
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        manifest: Manifest = from_plain(Manifest, plain)
    except OSError as error:
        raise StateError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, StateError) as error:
        raise StateError(f"{path}: is no manifest of a backup ({error})") from error
    if manifest.format != FORMAT:
        raise StateError(f"{path}: format {manifest.format} is not known; upgrade BN-ML")
    outside = [file.path for file in manifest.files if not _is_inside(file.path)]
    if outside:
        raise StateError(f"{path}: names files outside the backup: {', '.join(outside)}")
    return manifest


def problems_of(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Read every byte of a backup and give what is wrong with it, one line each; empty when it is whole."""
    found: list[str] = []
    for fact in manifest.files:
        try:
            present = sha256_of(folder / fact.path)
        except OSError as error:
            found.append(f"{fact.path}: cannot be read ({error.strerror})")
            continue
        if present != (fact.size, fact.sha256):
            found.append(f"{fact.path}: {present[0]} bytes and other content than the {fact.size} bytes backed up")
    known = {fact.path for fact in manifest.files}
    strangers = {str(path.relative_to(folder)) for path in files_below(folder)} - known - {MANIFEST}
    found.extend(f"{name}: is not in the manifest" for name in sorted(strangers))
    if manifest.book is not None and not found:
        try:
            if book_facts(folder / BOOK) != manifest.book:
                found.append(f"{BOOK}: holds something else than the manifest says")
        except StateError as error:
            found.append(str(error))
    return tuple(found)


def book_facts(path: Path) -> BookFacts:
    """Check a copied database thoroughly and give what it holds; nothing else may write to it meanwhile.

    Raises `StateError` when it is damaged, foreign, newer than this program or its references do not hold.
    """
    with _looking(path) as connection:
        version = checked_version(connection, path)
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise StateError(f"{path}: the copy is corrupt ({verdict})")
        strays = len(connection.execute("PRAGMA foreign_key_check").fetchmany(1))
        if strays:
            raise StateError(f"{path}: rows of the copy lack the row they belong to")
        if not version:
            raise StateError(f"{path}: the copy is empty")
        return BookFacts(
            schema_version=version,
            identity=_identity(connection),
            state=_state(connection),
            newest=_instant(connection, "SELECT max(at_ms) FROM journal"),
            positions=_count(connection, "SELECT count(*) FROM position_book WHERE status = 'OPEN'"),
            orders=_count(connection, "SELECT count(*) FROM intents WHERE resolved_ms IS NULL"),
            fills=_count(connection, "SELECT count(*) FROM fills"),
        )


def identity_in(path: Path) -> BookIdentity | None:
    """Give whose book a file is as far as it can still be read; None when it does not say. Raises `StateError`."""
    with _looking(path) as connection:
        return _identity(connection)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


@contextmanager
def _looking(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that nobody writes to, leaving nothing beside it."""
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except UnicodeDecodeError as error:
        raise StateError(f"{path}: the schema is no text, the file is corrupt") from error


def _identity(connection: sqlite3.Connection) -> BookIdentity | None:
    row = connection.execute("SELECT value_json FROM kv_state WHERE key = 'book_identity'").fetchone()
    return None if row is None else from_json(BookIdentity, row[0])


def _state(connection: sqlite3.Connection) -> ControlState:
    row = connection.execute("SELECT state FROM control ORDER BY epoch DESC LIMIT 1").fetchone()
    return ControlState.NORMAL if row is None else ControlState(row[0])


def _instant(connection: sqlite3.Connection, query: str) -> datetime | None:
    (milliseconds,) = connection.execute(query).fetchone()
    return None if milliseconds is None else from_ms(milliseconds)


def _count(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
