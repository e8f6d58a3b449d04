"""Reading the state database without ever disturbing its writer, and database errors that name the file and the fix."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bn_ml.errors import StateError
from bn_ml.schema import MIGRATIONS, checked_version

Parameter = str | int | float | None
BUSY_TIMEOUT_MS = 5000
CACHE_KIB = 512
"""How much of a database is kept in memory: what the loop asks for fits, and weeks of growth do not show."""

_FIXES = (
    ("file is not a database", "it is no SQLite file: move it away or restore a backup (bnml-doctor backups list)"),
    ("malformed", "the file is corrupt: restore a backup (bnml-doctor backups list)"),
    ("full", "free disk space and start again; nothing of this transaction was written"),
    ("locked", "another process is writing: stop it, or wait for it, and start again"),
    ("readonly", "give the bot's user write access to the file and its folder"),
    ("unable to open", "give the bot's user access to the file and its folder"),
    ("disk I/O error", "check the disk (dmesg) and restore a backup if it was damaged"),
    ("Could not decode", "a stored text is damaged: restore a backup (bnml-doctor backups list)"),
    ("unsupported file format", "the file is corrupt: restore a backup (bnml-doctor backups list)"),
    ("already exists", "its schema version is wrong: restore a backup (bnml-doctor backups list)"),
    ("duplicate column", "its schema version is wrong: restore a backup (bnml-doctor backups list)"),
    ("no such table", "the file is not a complete BN-ML database: restore a backup (bnml-doctor backups list)"),
)


@contextmanager
def reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    """Open a state database read-only, in one read transaction, for the length of the block.

    Works while the bot writes; what is read is one committed instant. Raises `StateError` when the file is absent,
    corrupt, foreign or of another schema version.
    """
    file = Path(path).absolute()
    if not file.exists():
        raise StateError(f"{file}: no database yet; start the bot (bnml-bot) or correct storage.sqlite_path")
    with naming(file):
        connection = sqlite3.connect(
            f"{file.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("BEGIN")
            version = checked_version(connection, file)
            if version != MIGRATIONS[-1].version:
                raise StateError(
                    f"{file}: schema version {version} is older than {MIGRATIONS[-1].version}; "
                    "start the bot to upgrade it"
                )
            yield connection
        finally:
            connection.close()


def explained(error: sqlite3.Error, path: Path) -> StateError:
    """Give the `StateError` for a database error: the path, what happened and what to do."""
    text = str(error)
    fix = next((fix for needle, fix in _FIXES if needle in text), "")
    return StateError(f"{path}: {text}" + (f"; {fix}" if fix else ""))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn database errors inside the block into `StateError` about `path`."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except UnicodeDecodeError as error:
        # Words of the database itself about a schema that is no text any more.
        raise StateError(f"{path}: the file is corrupt: restore a backup (bnml-doctor backups list)") from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise StateError(f"{path}: a value cannot be stored: {error}") from error
