"""What the API asks the state database: one read transaction per question, rows in pages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.database import Parameter, reading
from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import StateError
from public_api.paging import Page

Row = Mapping[str, object]
_HAS_MOOD = (
    "id > (SELECT max(id) FROM cycles) - 20000 AND json_extract(data_json, '$.market_intelligence_score') IS NOT NULL "
    "AND json_extract(data_json, '$.market_intelligence_regime') <> 'disabled'"
)


@dataclass(frozen=True, slots=True)
class TradeWish:
    """Which trades are asked for; None means any. `since` is inclusive, `until` exclusive."""

    symbol: Symbol | None = None
    side: str | None = None
    mode: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """One page of a list, how many rows there are in all, and the keyed values of the same instant."""

    total: int
    rows: Sequence[Row]
    kept: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Glance:
    """The bot at one instant: counts, the newest cycle and control row (empty before the first), keyed values."""

    open_positions: int
    trades: int
    cycle: Row
    control: Row
    kept: Mapping[str, Row]
    alerts: int


class BookQueries:
    """Read-only questions. Every method raises `StateError` when the database is absent or cannot be read."""

    def __init__(self, path: Path) -> None:
        """Name the database; each question opens it."""
        self._path = path

    def glance(self, *keys: str) -> Glance:
        """Give the bot at a glance with the keyed values named."""
        with reading(self._path) as connection:
            held, trades = connection.execute(
                "SELECT (SELECT count(*) FROM position_book WHERE status = 'OPEN'), (SELECT count(*) FROM trades)"
            ).fetchone()
            cycle = connection.execute("SELECT * FROM cycles ORDER BY id DESC LIMIT 1").fetchone()
            control = connection.execute("SELECT state, reason FROM control ORDER BY epoch DESC LIMIT 1").fetchone()
            alerts = self._list(connection, "recent_alerts")
            return Glance(
                open_positions=int(held),
                trades=int(trades),
                cycle={} if cycle is None else {"ts": cycle["ts"], **_object(cycle["data_json"])},
                control={} if control is None else dict(control),
                kept=self._values(connection, keys),
                alerts=sum(isinstance(row, dict) and row.get("ended_at") is None for row in alerts),
            )

    def values(self, *keys: str) -> Mapping[str, Row]:
        """Give keyed values, an empty object for each that was never set."""
        with reading(self._path) as connection:
            return self._values(connection, keys)

    def stamp(self, key: str) -> str:
        """Give when a keyed value was last written, as kept; empty for never."""
        with reading(self._path) as connection:
            row = connection.execute("SELECT updated_at FROM kv_state WHERE key = ?", (key,)).fetchone()
            return "" if row is None else str(row["updated_at"])

    def positions(self, status: str, page: Page) -> Rows:
        """Give the last position of each symbol by status (open, closed, all), the newest first."""
        where, values = ("", ()) if status == "all" else ("WHERE status = ?", (status.upper(),))
        return self._page("positions", where, values, "opened_at DESC, symbol", page, "latest_scan")

    def trades(self, wish: TradeWish, page: Page) -> Rows:
        """Give the trades that are asked for, the newest first."""
        where, values = _conditions(
            ("symbol = ?", None if wish.symbol is None else str(wish.symbol)),
            ("side = ?", wish.side),
            ("mode = ?", wish.mode),
            ("ts >= ?", None if wish.since is None else iso(wish.since)),
            ("ts < ?", None if wish.until is None else iso(wish.until)),
        )
        return self._page("trades", where, values, "id DESC", page)

    def moods(self, since: datetime | None, until: datetime | None, page: Page) -> Rows:
        """Give those of the newest 20,000 cycles that know the market's mood, the newest first."""
        where, values = _conditions(
            (_HAS_MOOD, ""),
            ("ts >= ?", None if since is None else iso(since)),
            ("ts < ?", None if until is None else iso(until)),
        )
        return self._page("cycles", where, values, "id DESC", page, "santrade_intelligence")

    def _page(self, table: str, where: str, values: Sequence[Parameter], order: str, page: Page, *keys: str) -> Rows:
        with reading(self._path) as connection:
            (total,) = connection.execute(f"SELECT count(*) FROM {table} {where}", values).fetchone()
            rows = connection.execute(
                f"SELECT * FROM {table} {where} ORDER BY {order} LIMIT ? OFFSET ?", (*values, page.limit, page.offset)
            ).fetchall()
            kept = self._values(connection, (*keys, "account_state", "heartbeat", "loop_beat"))
        return Rows(int(total), [_decoded(row) for row in rows], kept)

    def _values(self, connection: sqlite3.Connection, keys: Sequence[str]) -> Mapping[str, Row]:
        marks = ",".join("?" * len(keys))
        rows = connection.execute(f"SELECT key, value_json FROM kv_state WHERE key IN ({marks})", tuple(keys))
        found = {str(row["key"]): _object(row["value_json"]) for row in rows}
        return {key: found.get(key, {}) for key in keys}

    def _list(self, connection: sqlite3.Connection, key: str) -> Sequence[object]:
        row = connection.execute("SELECT value_json FROM kv_state WHERE key = ?", (key,)).fetchone()
        content = None if row is None else _parsed(row["value_json"])
        return content if isinstance(content, list) else ()


def _conditions(*given: tuple[str, str | None]) -> tuple[str, tuple[str, ...]]:
    wanted = [(condition, value) for condition, value in given if value is not None]
    where = "WHERE " + " AND ".join(condition for condition, _ in wanted) if wanted else ""
    return where, tuple(value for condition, value in wanted if value is not None and condition.endswith("?"))


def _decoded(row: sqlite3.Row) -> Row:
    """Give a row with its JSON column taken apart: `extra` for what the tables call extra, else `data`."""
    found = dict(row)
    for column, name in (("extra_json", "extra"), ("data_json", "data")):
        if column in found:
            found[name] = _object(found.pop(column))
    return found


def _object(text: object) -> dict[str, object]:
    content = _parsed(text)
    return content if isinstance(content, dict) else {}


def _parsed(text: object) -> object:
    try:
        return json.loads(str(text))
    except ValueError as error:
        raise StateError(f"a stored value is not JSON ({error}); restore a backup") from error
