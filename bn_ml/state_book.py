"""Positions in full and in the readable tables, trades, cycles, metrics, keyed values and the journal's rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.codecs import display_json, from_json, to_json
from bn_ml.domain.events import Event
from bn_ml.domain.market import Symbol, iso, require_utc, to_ms
from bn_ml.domain.orders import Side
from bn_ml.domain.positions import Position
from bn_ml.errors import StateError
from bn_ml.state_session import Session


class PositionBook:
    """Every position ever held, exact, with the readable row of each symbol's last one."""

    def __init__(self, session: Session) -> None:
        """Work on an open database."""
        self._session = session

    def save(self, position: Position) -> None:
        """Write a position; raises `StateError` for a second open one of a symbol and when a closed one reopens."""
        closed = None if position.is_open else to_ms(position.closed_at or position.opened_at)
        opened = to_ms(position.opened_at)
        with self._session.transaction():
            self._session.execute(
                "INSERT INTO position_book(position_id, symbol, status, opened_ms, closed_ms, json) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(position_id) DO UPDATE SET symbol = excluded.symbol, "
                "status = excluded.status, opened_ms = excluded.opened_ms, closed_ms = excluded.closed_ms, "
                "json = excluded.json",
                (position.position_id, str(position.symbol), position.status.value, opened, closed, to_json(position)),
            )
            newer = self._session.row(
                "SELECT 1 FROM position_book WHERE symbol = ? AND opened_ms > ?", (str(position.symbol), opened)
            )
            if newer is None:
                self._show(position)

    def get(self, position_id: str) -> Position | None:
        """Give a position by its id, None when there is none."""
        row = self._session.row("SELECT json FROM position_book WHERE position_id = ?", (position_id,))
        return None if row is None else from_json(Position, row["json"])

    def open(self) -> tuple[Position, ...]:
        """Give the open positions ordered by symbol."""
        rows = self._session.rows("SELECT json FROM position_book WHERE status = 'OPEN' ORDER BY symbol")
        return tuple(from_json(Position, row["json"]) for row in rows)

    def closed(self, limit: int | None, since: datetime | None) -> tuple[Position, ...]:
        """Give the positions closed at or after `since`, at most the newest `limit`, oldest first."""
        rows = self._session.rows(
            "SELECT json FROM position_book WHERE status = 'CLOSED' AND closed_ms >= ? "
            "ORDER BY closed_ms DESC, rowid DESC LIMIT ?",
            (-(2**62) if since is None else to_ms(since), -1 if limit is None else limit),
        )
        return tuple(from_json(Position, row["json"]) for row in reversed(rows))

    def _show(self, position: Position) -> None:
        self._session.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, 'LONG', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                str(position.symbol),
                float(position.remaining_quantity * position.entry_price),
                float(position.entry_price),
                float(position.stop),
                float(position.target_1),
                float(position.target_2),
                iso(position.opened_at),
                position.status.value,
                display_json(_position_extra(position)),
            ),
        )


class Records:
    """Readable rows and keyed values that explain the bot's work, and the append-only journal."""

    def __init__(self, session: Session) -> None:
        """Work on an open database."""
        self._session = session

    def add_trade(
        self,
        at: datetime,
        symbol: Symbol,
        amounts: tuple[Side, Decimal, Decimal],
        mode: str,
        extra: Mapping[str, object],
    ) -> int:
        """Write a readable trade; `amounts` is side, quote amount and price. Gives its number."""
        side, size_quote, price = amounts
        return self._insert(
            "INSERT INTO trades(ts, symbol, side, size_usdt, price, mode, extra_json) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_stamp(at), str(symbol), side.value, float(size_quote), float(price), mode, display_json(extra)),
        )

    def add_cycle(self, at: datetime, opportunities: int, opened: int, data: Mapping[str, object]) -> int:
        """Write what a turn of the loop did and give its number."""
        return self._insert(
            "INSERT INTO cycles(ts, opportunities, opened_positions, data_json) VALUES (?, ?, ?, ?)",
            (_stamp(at), opportunities, opened, display_json(data)),
        )

    def add_model_metrics(self, at: datetime, metrics: Mapping[str, object]) -> int:
        """Write one set of model metrics and give its number."""
        return self._insert(
            "INSERT INTO model_metrics(ts, metrics_json) VALUES (?, ?)", (_stamp(at), display_json(metrics))
        )

    def add_event(self, event: Event, cycle: int) -> int:
        """Append a fact to the journal and give its number."""
        require_utc(event.at)
        return self._insert(
            "INSERT INTO journal(at_ms, cycle, kind, payload) VALUES (?, ?, ?, ?)",
            (to_ms(event.at), cycle, event.kind, display_json(event.payload())),
        )

    def put(self, key: str, value: object, at: datetime) -> None:
        """Set a keyed value; raises `StateError` when it is not made of objects, lists, texts and numbers."""
        self._insert(
            "INSERT OR REPLACE INTO kv_state(key, value_json, updated_at) VALUES (?, ?, ?)",
            (key, display_json(value), _stamp(at)),
        )

    def get(self, key: str) -> object:
        """Give a keyed value, None when it was never set."""
        row = self._session.row("SELECT value_json FROM kv_state WHERE key = ?", (key,))
        if row is None:
            return None
        try:
            return json.loads(row["value_json"])
        except (TypeError, ValueError) as error:
            raise StateError(f"{self._session.path}: kv_state {key} is not JSON ({error}); restore a backup") from error

    def prune(self, now: datetime, cycles_days: int, metrics_days: int) -> int:
        """Delete cycles and model metrics older than their retention and give how many rows went."""
        with self._session.transaction():
            gone = 0
            for table, days in (("cycles", cycles_days), ("model_metrics", metrics_days)):
                limit = _stamp(now - timedelta(days=days))
                gone += self._session.execute(f"DELETE FROM {table} WHERE ts < ?", (limit,)).rowcount
            return gone

    def forget(self, prefix: str, before: datetime, keep: Collection[str]) -> int:
        """Delete the keyed values under a prefix that were last set before an instant, except the kept keys."""
        with self._session.transaction():
            found = self._session.rows(
                "SELECT key FROM kv_state WHERE substr(key, 1, ?) = ? AND updated_at < ?",
                (len(prefix), prefix, _stamp(before)),
            )
            gone = [row["key"] for row in found if row["key"] not in keep]
            for key in gone:
                self._session.execute("DELETE FROM kv_state WHERE key = ?", (key,))
            return len(gone)

    def _insert(self, sql: str, values: tuple[str | int | float, ...]) -> int:
        with self._session.transaction():
            return int(self._session.execute(sql, values).lastrowid or 0)


def _stamp(at: datetime) -> str:
    require_utc(at)
    return iso(at)


def _position_extra(position: Position) -> dict[str, object]:
    cost = position.cost_quote
    return {
        "position_id": position.position_id,
        "initial_size_usdt": position.initial_quantity * position.entry_price,
        "initial_base_qty": position.initial_quantity,
        "remaining_base_qty": position.remaining_quantity,
        "dust_qty": position.dust_quantity,
        "tp1_hit": position.tp1_hit,
        "tp2_hit": position.tp2_hit,
        "trailing_stop": position.trailing_active,
        "trailing_active": position.trailing_active,
        "max_price_seen": position.max_price_seen,
        "fees_usdt": position.fees_quote,
        "stop_order_id": next((item.stop_client_id for item in position.tranches if item.stop_client_id), None),
        "tranches": position.tranches,
        "bundle_version": position.bundle_version,
        "confidence": position.confidence,
        "score": position.score,
        "data_source": position.data_source,
        "closed_at": position.closed_at,
        "close_reason": position.close_reason,
        "close_blocked_reason": position.close_blocked_reason,
        "pnl_usdt": position.realized_quote,
        "pnl_pct": position.realized_quote / cost if cost > 0 else 0.0,
    }
