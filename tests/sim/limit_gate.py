"""`python -m tests.sim.limit_gate`: many writers on one book, each with its own connection, and not one limit broken.

Threads enter, sell and finish orders at random through the real gate. The price never changes and nothing costs a fee,
so the capital stays what it was and every limit is exact. One more connection reads the book all the while.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from bn_ml.domain.account import ControlState
from bn_ml.domain.market import ZERO, Symbol, from_iso
from bn_ml.domain.orders import (
    Fill,
    IntentRecord,
    IntentState,
    OrderIntent,
    OrderType,
    Purpose,
    Side,
    TimeInForce,
)
from bn_ml.domain.positions import ExitReason, Position, PositionStatus
from bn_ml.errors import Refused, StateError
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from tests.sim.draws import Draws
from trader.gate import Gate

START = from_iso("2023-06-14T00:00:00Z")
PRICE = Decimal(100)
SYMBOLS = tuple(Symbol(f"S{number:02}/USDC") for number in range(12))
CAPITAL = Decimal(1000)
DEADLINE = timedelta(seconds=8)
LIMITS = {"max_open_positions": 4, "max_exposure_pct": 0.3, "max_symbol_exposure_pct": 0.12}
ORDERS = {"max_orders_per_min": 6, "max_notional_per_day_usdt": 40_000}


@dataclass
class Shared:
    """What the threads share: virtual time, which every attempt moves on, and what happened."""

    path: Path
    settings: Settings
    attempts_left: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    second: int = 0
    results: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)
    owner: int = 0

    def next_attempt(self, step_s: int) -> int | None:
        """Give the second of the next attempt, None when there are none left."""
        with self.lock:
            if self.attempts_left <= 0:
                return None
            self.attempts_left -= 1
            self.second += step_s
            return self.second

    def count(self, result: str) -> None:
        """Count a result."""
        with self.lock:
            self.results[result] += 1


class Hammer(threading.Thread):
    """One writer."""

    def __init__(self, shared: Shared, number: int, seed: int) -> None:
        super().__init__(name=f"hammer-{number}")
        self._shared = shared
        self._draws = Draws(seed, "hammer", number)

    def run(self) -> None:
        store = StateStore(self._shared.path)
        store.session.execute("PRAGMA synchronous = OFF")
        gate = Gate(store, self._shared.settings)
        while (second := self._shared.next_attempt(self._draws.one((0, 1, 2, 5, 20)))) is not None:
            try:
                self._attempt(store, gate, second)
            except Refused as error:
                self._shared.count(getattr(error, "rule", "refused"))
            except StateError as error:
                locked = "locked" in str(error)
                self._shared.count("locked" if locked else "conflict")
        store.close()

    def _attempt(self, store: StateStore, gate: Gate, second: int) -> None:
        kind = self._draws.between(0, 9)
        if kind < 5:
            self._commit(store, gate, self._entry(store, second))
            self._shared.count("entered")
        elif kind < 7:
            held = store.open_positions()
            if held:
                self._commit(store, gate, self._sale(store, self._draws.one(held), second))
                self._shared.count("offered")
        else:
            live = store.open_intents()
            if live:
                self._finish(store, self._draws.one(live), second)

    def _commit(self, store: StateStore, gate: Gate, intent: OrderIntent) -> None:
        with store.transaction():
            gate.require_permitted(store.control(), intent)
            store.add_intent(intent, self._shared.owner, intent.created_at + DEADLINE)
            gate.require_room(intent)
        if self._draws.chance(0.9):
            store.update_intent(intent.client_id, IntentState.OPEN, at=intent.created_at)

    def _entry(self, store: StateStore, second: int) -> OrderIntent:
        symbol = self._draws.one(SYMBOLS)
        quantity = Decimal(self._draws.between(100, 1300)) / 1000
        client_id = store.next_client_id()
        return OrderIntent(
            client_id,
            symbol,
            Side.BUY,
            OrderType.LIMIT,
            quantity,
            Purpose.ENTRY,
            f"{symbol.key}-{client_id}",
            START + timedelta(seconds=second),
            limit_price=PRICE,
            time_in_force=TimeInForce.GTC,
            reserved_quote=quantity * PRICE,
        )

    def _sale(self, store: StateStore, position: Position, second: int) -> OrderIntent:
        share = Decimal(self._draws.between(20, 100)) / 100
        return OrderIntent(
            store.next_client_id(),
            position.symbol,
            Side.SELL,
            OrderType.LIMIT,
            max((position.remaining_quantity * share).quantize(Decimal("0.001")), Decimal("0.001")),
            Purpose.EXIT,
            position.position_id,
            START + timedelta(seconds=second),
            limit_price=PRICE,
            time_in_force=TimeInForce.GTC,
            reason=ExitReason.TIME_STOP.value,
        )

    def _finish(self, store: StateStore, record: IntentRecord, second: int) -> None:
        """Let an order end: without a trade, or filled, with what that does to its position."""
        at = START + timedelta(seconds=second)
        with store.transaction():
            fresh = store.intent(record.intent.client_id)
            if fresh is None or fresh.state.is_terminal:
                return
            intent = fresh.intent
            if self._draws.chance(0.25):
                store.update_intent(intent.client_id, IntentState.CANCELED, at=at)
                self._shared.count("cancelled")
                return
            quote = intent.quantity * PRICE
            fill = Fill(
                intent.client_id,
                intent.client_id,
                intent.symbol,
                intent.side,
                PRICE,
                intent.quantity,
                quote,
                ZERO,
                "USDC",
                at,
            )
            store.add_fill(fill)
            store.save_position(_after(store.position(intent.position_id), fill, intent))
            store.update_intent(intent.client_id, IntentState.FILLED, at=at)
            self._shared.count("filled")


class Reader(threading.Thread):
    """Reads committed instants and holds each against the limits."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(name="reader")
        self._shared = shared
        self.done = threading.Event()
        self.reads = 0

    def run(self) -> None:
        connection = sqlite3.connect(f"file:{self._shared.path}?mode=ro", uri=True, isolation_level=None)
        connection.row_factory = sqlite3.Row
        while not self.done.is_set():
            self._look(connection)
        self._look(connection)
        self._check_history(connection)
        connection.close()

    def _look(self, connection: sqlite3.Connection) -> None:
        self.reads += 1
        connection.execute("BEGIN")
        held = {row["symbol"]: json.loads(row["json"]) for row in connection.execute(_OPEN)}
        live = connection.execute(_LIVE).fetchall()
        cash = _amount(connection.execute(_CASH).fetchone()[0])
        connection.execute("COMMIT")
        buys = [row for row in live if row["side"] == "BUY"]
        flight = sum((_amount(row["reserved_quote"]) for row in buys), ZERO)
        worth = sum((Decimal(item["remaining_quantity"]) * PRICE for item in held.values()), ZERO)
        places = [*held, *(row["symbol"] for row in buys)]
        self._demand(len(places) == len(set(places)), f"a symbol twice: {sorted(places)}")
        self._demand(len(places) <= LIMITS["max_open_positions"], f"{len(places)} positions")
        self._demand(worth + flight <= CAPITAL * Decimal("0.3"), f"exposure {worth + flight}")
        self._demand(flight <= cash, f"{flight} in flight, {cash} cash")
        for row in buys:
            self._demand(_amount(row["reserved_quote"]) <= CAPITAL * Decimal("0.12"), f"symbol {row['symbol']}")
        for symbol, item in held.items():
            sells = [row["qty"] for row in live if row["side"] == "SELL" and row["symbol"] == symbol]
            offered = _amount(sum(sells))
            left = Decimal(item["remaining_quantity"])
            self._demand(offered <= left, f"{symbol}: {offered} offered of {left}")

    def _check_history(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(_ENTRIES).fetchall()
        for place, row in enumerate(rows):
            until = row["created_ms"] + 60_000
            within = [item for item in rows[place : place + 20] if item["created_ms"] < until]
            self._demand(len(within) <= ORDERS["max_orders_per_min"], f"{len(within)} entries in a minute")
        days: Counter[int] = Counter()
        for row in rows:
            days[row["created_ms"] // 86_400_000] += row["spent"]
        for day, spent in days.items():
            self._demand(_amount(spent) <= ORDERS["max_notional_per_day_usdt"], f"day {day}: {spent}")
        loose = connection.execute(_FORBIDDEN).fetchone()[0]
        self._demand(loose == 0, f"{loose} entries journaled while they were forbidden")

    def _demand(self, holds: bool, text: str) -> None:
        if not holds:
            self._shared.breaches.append(text)


def run(threads: int, attempts: int, seed: int, folder: Path) -> dict[str, object]:
    """Hammer a new book: `attempts` per thread."""
    settings = Settings.from_mapping(
        {"base_quote": "USDC", "risk": LIMITS, "exchange": {"orders": ORDERS}, "storage": {"min_free_disk_mb": 0}}
    )
    path = folder / "gate.db"
    store = StateStore(path)
    store.session.execute("PRAGMA synchronous = OFF")
    store.bind_book("live", "gate", START)
    store.deposit("USDC", CAPITAL, START, "capital")
    shared = Shared(path, settings, threads * attempts, owner=store.start_epoch(START, "start").owner)
    reader = Reader(shared)
    hammers = [Hammer(shared, number, seed) for number in range(threads)]
    reader.start()
    for hammer in hammers:
        hammer.start()
    _toggle(store, shared, hammers)
    for hammer in hammers:
        hammer.join()
    reader.done.set()
    reader.join()
    store.close()
    return {
        "threads": threads,
        "attempts": threads * attempts,
        "reads": reader.reads,
        "results": dict(sorted(shared.results.items())),
        "breaches": len(shared.breaches),
        "first": shared.breaches[:5],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print one JSON line; 0 when no limit was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.limit_gate", description=__doc__)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--attempts", type=int, default=10_000, help="per thread")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        figures = run(options.threads, options.attempts, options.seed, Path(folder))
    sys.stdout.write(json.dumps(figures) + "\n")
    return int(figures["breaches"] != 0)


def _toggle(store: StateStore, shared: Shared, hammers: Sequence[Hammer]) -> None:
    """Forbid entries now and then, as an operator would from another process."""
    states = (ControlState.REDUCE_ONLY, ControlState.NORMAL)
    turn = 0
    while any(hammer.is_alive() for hammer in hammers):
        hammers[0].join(timeout=0.02 if turn % 2 else 1.0)
        try:
            store.set_control(states[turn % 2], "resumed", "operator", START + timedelta(seconds=shared.second))
        except StateError:
            shared.count("locked")
            continue
        turn += 1


def _after(before: Position | None, fill: Fill, intent: OrderIntent) -> Position:
    if before is None:
        return Position(
            intent.position_id,
            fill.symbol,
            PositionStatus.OPEN,
            fill.at,
            PRICE,
            fill.quantity,
            fill.quantity,
            fill.quote_quantity,
            stop=Decimal(90),
            target_1=Decimal(110),
            target_2=Decimal(120),
            max_price_seen=PRICE,
            cost_open_quote=fill.quote_quantity,
        )
    left = before.remaining_quantity - fill.quantity
    if left < 0:
        raise StateError(f"{before.symbol}: sold {fill.quantity} of {before.remaining_quantity}")
    after = replace(before, remaining_quantity=left, cost_open_quote=left * PRICE)
    if left > 0:
        return after
    return replace(after, status=PositionStatus.CLOSED, closed_at=fill.at, close_reason=ExitReason.TIME_STOP)


def _amount(units: int) -> Decimal:
    return Decimal(units) / 10**8


_OPEN = "SELECT symbol, json FROM position_book WHERE status = 'OPEN'"
_LIVE = "SELECT * FROM intents WHERE state IN ('SENT','OPEN','UNKNOWN')"
_CASH = "SELECT coalesce(sum(amount), 0) FROM ledger WHERE asset = 'USDC'"
_ENTRIES = (
    "SELECT i.created_ms, coalesce((SELECT sum(quote) FROM fills f WHERE f.client_id = i.client_id), 0) AS spent "
    "FROM intents i WHERE purpose = 'entry' ORDER BY created_ms"
)
_FORBIDDEN = (
    "SELECT count(*) FROM intents i JOIN control c USING (epoch) WHERE i.purpose = 'entry' AND c.state <> 'NORMAL'"
)


if __name__ == "__main__":
    sys.exit(main())
