"""The exact money state of a book at one instant, read without disturbing whoever writes it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from bn_ml.codecs import from_json, from_plain, from_units
from bn_ml.database import reading
from bn_ml.domain.account import Control
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import from_ms
from bn_ml.domain.orders import Fill, IntentRecord, IntentState
from bn_ml.domain.positions import Position
from bn_ml.errors import StateError
from bn_ml.state_rows import NEVER_STARTED, control_of, fill_of, intent_record

BEAT = "loop_beat"
"""The keyed value under which the loop of the bot says that it lives: its process, the instant, the step it is at."""

DIFFERENCES = "reconciliation"
"""The keyed value that keeps the last comparison of book and exchange."""


@dataclass(frozen=True, slots=True)
class BookView:
    """What a book holds. `beat` is the loop's last sign of life, empty when there never was one.

    `orders` are the unfinished ones, oldest first; `mark` counts every row that money work leaves behind, so two views
    with the same mark tell of a loop that did nothing in between. `ledger` holds what is owned of each asset, `reached`
    is the instant of the newest fact, `differences` the last table of reconciliation, None without one.
    """

    identity: BookIdentity | None
    control: Control
    positions: tuple[Position, ...]
    orders: tuple[IntentRecord, ...]
    last_fill: int
    mark: tuple[int, ...]
    ledger: Mapping[str, Decimal] = field(default_factory=dict)
    beat: Mapping[str, object] = field(default_factory=dict)
    data_source: str = ""
    reached: datetime | None = None
    differences: object = None


class BookWatch:
    """Looks at one book, as often as wanted. Raises `StateError` when it cannot be read."""

    def __init__(self, path: Path) -> None:
        """Name the database; it is opened by each look."""
        self.path = path

    def look(self) -> BookView:
        """Give the book as of now."""
        with reading(self.path) as connection:
            identity = _kv(connection, "book_identity")
            beat = _kv(connection, BEAT)
            (last_fill,) = connection.execute("SELECT coalesce(max(id), 0) FROM fills").fetchone()
            return BookView(
                identity=None if identity is None else from_plain(BookIdentity, identity),
                control=_control(connection),
                positions=_positions(connection),
                orders=_orders(connection),
                last_fill=int(last_fill),
                mark=_mark(connection),
                ledger=_ledger(connection),
                beat=beat if isinstance(beat, dict) else {},
                data_source=_data_source(connection),
                reached=_reached(connection),
                differences=_kv(connection, DIFFERENCES),
            )

    def fills_after(self, fill_id: int) -> tuple[Fill, ...]:
        """Give the fills booked after the one with this number, oldest first."""
        with reading(self.path) as connection:
            rows = connection.execute("SELECT * FROM fills WHERE id > ? ORDER BY id", (fill_id,)).fetchall()
        return tuple(fill_of(row) for row in rows)

    def intents(self, client_ids: Sequence[str]) -> tuple[IntentRecord, ...]:
        """Give the intents of these ids, as far as the book has them, oldest first."""
        marks = ", ".join("?" * len(client_ids))
        with reading(self.path) as connection:
            rows = connection.execute(
                f"SELECT * FROM intent_records WHERE client_id IN ({marks}) ORDER BY seq", tuple(client_ids)
            ).fetchall()
        return tuple(intent_record(row) for row in rows)


def _control(connection: sqlite3.Connection) -> Control:
    row = connection.execute("SELECT * FROM control ORDER BY epoch DESC LIMIT 1").fetchone()
    return NEVER_STARTED if row is None else control_of(row)


def _positions(connection: sqlite3.Connection) -> tuple[Position, ...]:
    rows = connection.execute("SELECT json FROM position_book WHERE status = 'OPEN' ORDER BY symbol").fetchall()
    return tuple(from_json(Position, row["json"]) for row in rows)


def _orders(connection: sqlite3.Connection) -> tuple[IntentRecord, ...]:
    states = ", ".join(f"'{state.value}'" for state in IntentState if not state.is_terminal)
    rows = connection.execute(f"SELECT * FROM intent_records WHERE state IN ({states}) ORDER BY seq").fetchall()
    return tuple(intent_record(row) for row in rows)


def _mark(connection: sqlite3.Connection) -> tuple[int, ...]:
    row = connection.execute(
        "SELECT coalesce((SELECT max(seq) FROM intents), 0), coalesce((SELECT max(id) FROM fills), 0), "
        "(SELECT count(*) FROM intents WHERE resolved_ms IS NULL), "
        "(SELECT count(*) FROM position_book WHERE status = 'OPEN')"
    ).fetchone()
    return tuple(int(value) for value in row)


def _ledger(connection: sqlite3.Connection) -> dict[str, Decimal]:
    rows = connection.execute("SELECT asset, sum(amount) AS total FROM ledger GROUP BY asset ORDER BY asset")
    return {row["asset"]: from_units(row["total"]) for row in rows}


def _data_source(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT data_json FROM cycles ORDER BY id DESC LIMIT 1").fetchone()
    content = {} if row is None else _parsed(row["data_json"])
    return str(content.get("data_source", "")) if isinstance(content, dict) else ""


def _reached(connection: sqlite3.Connection) -> datetime | None:
    (at_ms,) = connection.execute("SELECT max(at_ms) FROM journal").fetchone()
    return None if at_ms is None else from_ms(at_ms)


def _kv(connection: sqlite3.Connection, key: str) -> object:
    row = connection.execute("SELECT value_json FROM kv_state WHERE key = ?", (key,)).fetchone()
    return None if row is None else _parsed(row["value_json"])


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise StateError(f"a stored value is not JSON ({error}); restore a backup") from error
