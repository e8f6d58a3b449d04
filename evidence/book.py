"""A finished book as evidence needs it: closed positions, equity of every cycle, fills, what kept entries out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bn_ml.codecs import from_json, from_units
from bn_ml.database import reading
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import exact, from_iso, from_ms
from bn_ml.domain.orders import Fill
from bn_ml.domain.positions import Position
from bn_ml.errors import StateError
from bn_ml.state_rows import control_of, fill_of
from trader.performance import EquityPoint


@dataclass(frozen=True, slots=True)
class Book:
    """What a run left behind.

    `closed` and `fills` in time order. `curve` starts with the capital and has one point per cycle. `exposure_frac` is
    aligned with the cycles. `funnel` counts, over all cycles, the symbols each reason code kept out. `halts` are the
    reasons the bot was halted for.
    """

    mode: str
    data_source: str
    quote_asset: str
    capital: Decimal
    closed: tuple[Position, ...]
    held: tuple[Position, ...]
    fills: tuple[Fill, ...]
    curve: tuple[EquityPoint, ...]
    exposure_frac: tuple[float, ...] = ()
    funnel: Mapping[str, int] = field(default_factory=dict)
    halts: tuple[str, ...] = ()

    @property
    def begin(self) -> datetime:
        """The first instant known."""
        return self.curve[0].at

    @property
    def end(self) -> datetime:
        """The last instant known."""
        return self.curve[-1].at


def read_book(path: Path | str) -> Book:
    """Read a book without disturbing its writer; raises `StateError` for one without a single cycle."""
    with reading(path) as connection:
        deposit = connection.execute(
            "SELECT asset, amount, at_ms FROM ledger WHERE reason = 'deposit' ORDER BY id LIMIT 1"
        ).fetchone()
        cycles = connection.execute("SELECT ts, data_json FROM cycles ORDER BY id").fetchall()
        positions = connection.execute("SELECT json FROM position_book ORDER BY opened_ms, rowid").fetchall()
        fills = connection.execute("SELECT * FROM fills ORDER BY id").fetchall()
        control = connection.execute("SELECT * FROM control ORDER BY epoch").fetchall()
    if deposit is None or not cycles:
        raise StateError(f"{path}: nothing was traded here yet, there is no finished cycle; run the bot first")
    rows = [_cycle(path, row["data_json"]) for row in cycles]
    capital, last = from_units(deposit["amount"]), rows[-1]
    points = [
        EquityPoint(from_iso(row["ts"]), exact(float(cycle["equity"]))) for row, cycle in zip(cycles, rows, strict=True)
    ]
    book = [from_json(Position, row["json"]) for row in positions]
    closed = [position for position in book if position.closed_at is not None]
    return Book(
        mode=str(last["mode"]),
        data_source=str(last["data_source"]),
        quote_asset=deposit["asset"],
        capital=capital,
        closed=tuple(sorted(closed, key=lambda position: (position.closed_at, position.position_id))),
        held=tuple(position for position in book if position.is_open),
        fills=tuple(fill_of(row) for row in fills),
        curve=(EquityPoint(min(from_ms(deposit["at_ms"]), points[0].at), capital), *points),
        exposure_frac=tuple(float(cycle["exposure_pct"]) for cycle in rows),
        funnel=_funnel(rows),
        halts=tuple(state.reason for state in map(control_of, control) if state.state is ControlState.HALTED),
    )


def _cycle(path: Path | str, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise StateError(f"{path}: a cycle is not JSON ({error}); restore a backup") from error
    if not isinstance(content, dict) or not {"equity", "exposure_pct", "mode", "data_source"} <= content.keys():
        raise StateError(f"{path}: a cycle lacks its equity; restore a backup")
    return content


def _funnel(cycles: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for cycle in cycles:
        counts.update(cycle.get("funnel", {}))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
