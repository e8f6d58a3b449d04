"""What a book keeps about its orders beyond fills: what each entry promised, and the price each order reckoned with."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from bn_ml.codecs import from_units
from bn_ml.database import reading


@dataclass(frozen=True, slots=True)
class EntryNotes:
    """`promised` maps a position id to the net return, as a fraction, its entry was bought for: the lower bound of the
    bundle's line of expected value less costs. Entries of a bundle without such a line are absent.

    `references` maps a client id to the price its order reckoned with: the ask at an entry, the level of a stop, the
    price seen at another sale. Resting targets are absent.
    """

    promised: Mapping[str, float] = field(default_factory=dict)
    references: Mapping[str, Decimal] = field(default_factory=dict)


NO_NOTES = EntryNotes()


def read_entry_notes(path: Path | str) -> EntryNotes:
    """Read the notes of a book without disturbing its writer."""
    with reading(path) as connection:
        orders = connection.execute(
            "SELECT client_id, position_id, purpose, stop_px, reference_px FROM intents ORDER BY seq"
        ).fetchall()
        bought = connection.execute("SELECT extra_json FROM trades WHERE side = 'BUY' ORDER BY id").fetchall()
    entries = {row["client_id"]: row["position_id"] for row in orders if row["purpose"] == "entry"}
    return EntryNotes(promised=_promised(bought, entries), references=_references(orders))


def _promised(bought: Iterable[sqlite3.Row], entries: Mapping[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in bought:
        notes = json.loads(row["extra_json"] or "{}")
        position_id, value = entries.get(str(notes.get("client_id"))), notes.get("expected_net_pct")
        if position_id is not None and isinstance(value, float):
            found.setdefault(position_id, value)
    return found


def _references(orders: Iterable[sqlite3.Row]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for row in orders:
        if row["reference_px"]:
            found[row["client_id"]] = Decimal(row["reference_px"])
        elif row["stop_px"]:
            found[row["client_id"]] = from_units(row["stop_px"])
    return found
