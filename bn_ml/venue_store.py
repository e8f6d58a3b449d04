"""What a simulated exchange remembers of itself, in tables of its own beside the bot's book."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from bn_ml.errors import StateError
from bn_ml.state_store import StateStore


class VenueStore:
    """Orders, trades, balances and settings of a simulated exchange as JSON text.

    Like a real exchange it answers only after it has committed by itself, so it cannot be called inside a
    transaction of the book.
    """

    def __init__(self, store: StateStore) -> None:
        """Keep the records in the store's file."""
        self._session = store.session

    def save(
        self,
        changed_orders: Mapping[str, str],
        new_trades: Sequence[str],
        balances: Mapping[str, str],
        meta: Mapping[str, str],
        *,
        closed: Collection[str] = (),
    ) -> None:
        """Commit all changes at once; orders whose key is in `closed` can no longer trade.

        Raises `StateError` inside a transaction of the book: what the exchange did cannot be taken back with it.
        """
        if self._session.in_transaction:
            raise StateError("an order was sent inside a transaction of the book; commit the intent first")
        ended = frozenset(closed)
        with self._session.transaction():
            for key, text in changed_orders.items():
                self._session.execute(
                    "INSERT INTO venue_orders(key, json, open) VALUES (?, ?, ?) "
                    "ON CONFLICT(key) DO UPDATE SET json = excluded.json, open = excluded.open",
                    (key, text, int(key not in ended)),
                )
            for text in new_trades:
                self._session.execute("INSERT INTO venue_trades(json) VALUES (?)", (text,))
            for asset, text in balances.items():
                self._session.execute("INSERT OR REPLACE INTO venue_balances VALUES (?, ?)", (asset, text))
            for key, text in meta.items():
                self._session.execute("INSERT OR REPLACE INTO venue_meta VALUES (?, ?)", (key, text))

    def orders(self, *, open_only: bool = False) -> dict[str, str]:
        """Give the orders by key in the order they were first saved."""
        where = "WHERE open = 1" if open_only else ""
        rows = self._session.rows(f"SELECT key, json FROM venue_orders {where} ORDER BY rowid")
        return {row["key"]: row["json"] for row in rows}

    def order(self, key: str) -> str | None:
        """Give one order, None when it was never saved."""
        row = self._session.row("SELECT json FROM venue_orders WHERE key = ?", (key,))
        return None if row is None else str(row["json"])

    def trades(self) -> tuple[str, ...]:
        """Give the trades in the order they were made."""
        return tuple(row["json"] for row in self._session.rows("SELECT json FROM venue_trades ORDER BY id"))

    def balances(self) -> dict[str, str]:
        """Give the balances by asset name."""
        return {row["asset"]: row["json"] for row in self._session.rows("SELECT * FROM venue_balances ORDER BY asset")}

    def meta(self) -> dict[str, str]:
        """Give the settings and counters by name."""
        return {row["key"]: row["value"] for row in self._session.rows("SELECT * FROM venue_meta ORDER BY key")}

    def load(self) -> str | None:
        """Give everything as one JSON object (orders, trades, balances, meta), None when nothing was ever saved."""
        parts = {"orders": self.orders(), "trades": self.trades(), "balances": self.balances(), "meta": self.meta()}
        return json.dumps(parts, separators=(",", ":")) if any(parts.values()) else None
