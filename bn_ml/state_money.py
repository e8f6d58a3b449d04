"""The exact books: control states, client ids, intents, fills and the ledger, in integer units of 1e-8."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.client_ids import instance_of, make_client_id
from bn_ml.codecs import from_units, round_to_units, to_units
from bn_ml.control import permits
from bn_ml.database import Parameter
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.market import Symbol, require_utc, to_ms
from bn_ml.domain.orders import (
    Fill,
    IntentRecord,
    IntentState,
    OrderIntent,
    Side,
)
from bn_ml.errors import StateError
from bn_ml.state_rows import NEVER_STARTED, LedgerEntry, control_of, entries_of, fill_of, intent_record, ledger_entry
from bn_ml.state_session import Session

ACCEPTANCE = timedelta(seconds=8)
"""How long after its request an order may still be accepted when the writer does not say: a receive window and 3 s."""

NEVER_PLACED = frozenset({IntentState.REFUSED, IntentState.NEVER_ACCEPTED})


class ControlBook:
    """The committed control states, newest last, and the sequence of client ids."""

    def __init__(self, session: Session) -> None:
        """Work on an open database."""
        self._session = session

    def current(self) -> Control:
        """Give the newest control state; epoch 0 and NORMAL before the first start."""
        row = self._session.row("SELECT * FROM control ORDER BY epoch DESC LIMIT 1")
        return NEVER_STARTED if row is None else control_of(row)

    def change(self, state: ControlState, reason: str, set_by: str, at: datetime) -> Control:
        """Commit a state under the next epoch."""
        with self._session.transaction():
            last = self.current()
            return self._append(Control(last.epoch + 1, state, reason, at, set_by, last.owner), at)

    def start(self, at: datetime, set_by: str) -> Control:
        """Commit the present state under the next epoch, which owns the book: an older process can place no order."""
        with self._session.transaction():
            last = self.current()
            if last.epoch == 0:
                return self._append(Control(1, ControlState.NORMAL, "first start", at, set_by, owner=1), at)
            # Who tightened decides who may loosen, so a restart must not sign for it.
            signed = set_by if last.state is ControlState.NORMAL else last.set_by
            epoch = last.epoch + 1
            return self._append(Control(epoch, last.state, last.reason, last.since, signed, owner=epoch), at)

    def next_client_id(self, prefix: str, identity: str) -> str:
        """Give an id never given before for this identity of the book."""
        return make_client_id(prefix, instance_of(identity), self.advance(1))

    def advance(self, count: int) -> int:
        """Move the sequence of client ids on by `count` and give its new value."""
        with self._session.transaction():
            self._session.execute(
                "INSERT INTO sequences(name, value) VALUES ('client_id', ?) "
                "ON CONFLICT(name) DO UPDATE SET value = value + excluded.value",
                (count,),
            )
            (row,) = self._session.rows("SELECT value FROM sequences WHERE name = 'client_id'")
            return int(row["value"])

    def _append(self, control: Control, at: datetime) -> Control:
        require_utc(at)
        since = to_ms(control.since)
        values = (control.epoch, control.state.value, control.reason, since, control.set_by, to_ms(at), control.owner)
        self._session.execute(
            "INSERT INTO control(epoch, state, reason, since_ms, set_by, at_ms, owner) VALUES (?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return self.current()


class IntentBook:
    """What we meant to send and what became of it. Terminal rows never change."""

    def __init__(self, session: Session, control: ControlBook) -> None:
        """Work on an open database under its control states."""
        self._session = session
        self._control = control

    def add(self, intent: OrderIntent, owner: int, deadline: datetime | None) -> None:
        """Write an intent as SENT; raises `StateError` when the book has another owner or its state forbids it."""
        with self._session.transaction():
            control = self._control.current()
            if control.owner != owner:
                raise StateError(
                    f"{intent.client_id}: epoch {owner} is over, the book is owned by epoch {control.owner} "
                    f"({control.set_by})"
                )
            if not permits(control.state, intent.purpose):
                raise StateError(
                    f"{intent.client_id}: {intent.purpose.value} refused, control state is {control.state.value} "
                    f"({control.reason})"
                )
            values = _intent_values(intent, control.epoch, deadline or intent.created_at + ACCEPTANCE)
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            self._session.execute(f"INSERT INTO intents({names}) VALUES ({marks})", tuple(values.values()))

    def update(
        self, client_id: str, state: IntentState, *, exchange_id: str = "", reason: str = "", at: datetime
    ) -> None:
        """Note what became of an intent; empty texts keep what is known.

        Saying the same terminal state twice is a no-op; raises `StateError` for an unknown intent, for any other change
        of a terminal one, for a return to SENT, and when an intent with fills is said never to have been placed.
        """
        with self._session.transaction():
            record = self.get(client_id)
            if record is None:
                raise StateError(f"{client_id}: no such intent")
            if record.state.is_terminal and record.state is state:
                return
            _require_step(record, state)
            self._session.execute(
                "UPDATE intents SET state = ?, exchange_id = ?, reason = ?, resolved_ms = ? WHERE client_id = ?",
                (
                    state.value,
                    exchange_id or record.exchange_id,
                    reason or record.reason,
                    to_ms(at) if state.is_terminal else None,
                    client_id,
                ),
            )

    def get(self, client_id: str) -> IntentRecord | None:
        """Give an intent with its filled quantities, None when there is no such intent."""
        return next(iter(self._select("WHERE client_id = ?", (client_id,))), None)

    def open(self) -> tuple[IntentRecord, ...]:
        """Give everything not terminal, oldest first."""
        terminal = ", ".join(f"'{state.value}'" for state in IntentState if state.is_terminal)
        return self._select(f"WHERE state NOT IN ({terminal}) ORDER BY seq", ())

    def of_position(self, position_id: str) -> tuple[IntentRecord, ...]:
        """Give every intent of a position, oldest first."""
        return self._select("WHERE position_id = ? ORDER BY seq", (position_id,))

    def recent(self, limit: int) -> tuple[IntentRecord, ...]:
        """Give the newest intents, newest first."""
        return self._select("ORDER BY seq DESC LIMIT ?", (limit,))

    def entries_since(self, at: datetime) -> tuple[IntentRecord, ...]:
        """Give the entry orders created at or after an instant, oldest first."""
        return self._select("WHERE purpose = 'entry' AND created_ms >= ? ORDER BY seq", (to_ms(at),))

    def changed_since(self, at: datetime) -> tuple[IntentRecord, ...]:
        """Give every order created or finished at or after an instant, oldest first."""
        since = to_ms(at)
        return self._select("WHERE created_ms >= ? OR resolved_ms >= ? ORDER BY seq", (since, since))

    def by_exchange_id(self, symbol: Symbol, exchange_id: str) -> IntentRecord | None:
        """Give the intent the exchange keeps under a number of its own, None when it is none of ours."""
        found = self._select("WHERE symbol = ? AND exchange_id = ?", (str(symbol), exchange_id))
        return next(iter(found), None) if exchange_id else None

    def _select(self, tail: str, parameters: tuple[Parameter, ...]) -> tuple[IntentRecord, ...]:
        rows = self._session.rows(f"SELECT * FROM intent_records {tail}", parameters)
        return tuple(intent_record(row) for row in rows)


class Ledger:
    """Fills and the balance changes they explain. Both are append-only."""

    def __init__(self, session: Session, intents: IntentBook) -> None:
        """Work on an open database beside its intents."""
        self._session = session
        self._intents = intents

    def add_fill(self, fill: Fill) -> bool:
        """Book a fill; False when it is booked already.

        Raises `StateError` when it belongs to no intent, disagrees with its intent, or differs from the fill booked
        under the same trade id.
        """
        with self._session.transaction():
            record = self._intents.get(fill.client_id)
            if record is None:
                raise StateError(f"{fill.symbol}: trade {fill.trade_id} belongs to no intent ({fill.client_id})")
            if (record.intent.symbol, record.intent.side) != (fill.symbol, fill.side):
                raise StateError(
                    f"{fill.client_id}: trade {fill.trade_id} is {fill.side.value} {fill.symbol}, "
                    f"the intent {record.intent.side.value} {record.intent.symbol}"
                )
            if self._is_booked(fill):
                return False
            self._write(fill)
            return True

    def fills_of(self, client_id: str) -> tuple[Fill, ...]:
        """Give the fills of an order in booking order."""
        return self._fills("WHERE client_id = ?", client_id)

    def fills_of_position(self, position_id: str) -> tuple[Fill, ...]:
        """Give the fills of all orders of a position in booking order."""
        return self._fills("WHERE client_id IN (SELECT client_id FROM intents WHERE position_id = ?)", position_id)

    def deposit(self, asset: str, amount: Decimal, at: datetime, note: str) -> None:
        """Book what came in from outside; a negative amount is a withdrawal."""
        reason = "deposit" if amount > 0 else "withdrawal"
        with self._session.transaction():
            self._append(LedgerEntry(at, asset, amount, reason, note=note))

    def balances(self) -> dict[str, Decimal]:
        """Give what the ledger says we own of each asset ever touched, by asset name."""
        rows = self._session.rows("SELECT asset, sum(amount) AS total FROM ledger GROUP BY asset ORDER BY asset")
        return {row["asset"]: from_units(row["total"]) for row in rows}

    def balance(self, asset: str) -> Decimal:
        """Give what the ledger says we own of one asset."""
        (row,) = self._session.rows("SELECT coalesce(sum(amount), 0) AS total FROM ledger WHERE asset = ?", (asset,))
        return from_units(row["total"])

    def declare_foreign(self, asset: str, amount: Decimal, at: datetime, note: str) -> None:
        """Note how much more of an asset on the account is not ours; a negative amount takes some of it back."""
        require_utc(at)
        self._session.execute(
            "INSERT INTO foreign_balances(at_ms, asset, amount, note) VALUES (?, ?, ?, ?)",
            (to_ms(at), asset, to_units(amount), note),
        )

    def foreign(self) -> dict[str, Decimal]:
        """Give what of each asset on the account is declared not ours, by asset name; settled ones are left out."""
        rows = self._session.rows(
            "SELECT asset, sum(amount) AS total FROM foreign_balances GROUP BY asset HAVING total <> 0 ORDER BY asset"
        )
        return {row["asset"]: from_units(row["total"]) for row in rows}

    def has_fill(self, symbol: Symbol, trade_id: str) -> bool:
        """Whether a trade of a symbol is booked."""
        query = "SELECT 1 FROM fills WHERE symbol = ? AND trade_id = ?"
        return self._session.row(query, (str(symbol), trade_id)) is not None

    def filled_since(self, at: datetime) -> tuple[Fill, ...]:
        """Give the fills the venue made at or after an instant, in booking order."""
        rows = self._session.rows("SELECT * FROM fills WHERE at_ms >= ? ORDER BY id", (to_ms(at),))
        return tuple(fill_of(row) for row in rows)

    def entries(self) -> tuple[LedgerEntry, ...]:
        """Give every entry in booking order."""
        return tuple(ledger_entry(row) for row in self._session.rows("SELECT * FROM ledger ORDER BY id"))

    def _is_booked(self, fill: Fill) -> bool:
        booked = self._session.row(
            "SELECT * FROM fills WHERE symbol = ? AND trade_id = ?", (str(fill.symbol), fill.trade_id)
        )
        if booked is None:
            return False
        known = fill_of(booked)
        if (known.client_id, known.price, known.quantity) != (fill.client_id, fill.price, fill.quantity):
            raise StateError(f"{fill.symbol}: trade {fill.trade_id} is booked as {known}, told again as {fill}")
        return True

    def _write(self, fill: Fill) -> None:
        values = (
            str(fill.symbol),
            fill.trade_id,
            fill.client_id,
            fill.side.value,
            to_units(fill.price),
            to_units(fill.quantity),
            to_units(fill.quote_quantity),
            to_units(fill.fee),
            fill.fee_asset,
            to_ms(fill.at),
        )
        self._session.execute(
            "INSERT INTO fills(symbol, trade_id, client_id, side, price, qty, quote, fee, fee_asset, at_ms) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        for entry in entries_of(fill):
            self._append(entry)

    def _append(self, entry: LedgerEntry) -> None:
        require_utc(entry.at)
        symbol = str(entry.symbol) if entry.symbol else None
        values = (
            to_ms(entry.at),
            entry.asset,
            to_units(entry.amount),
            entry.reason,
            symbol,
            entry.trade_id,
            entry.note,
        )
        self._session.execute(
            "INSERT INTO ledger(at_ms, asset, amount, reason, symbol, trade_id, note) VALUES (?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    def _fills(self, where: str, parameter: str) -> tuple[Fill, ...]:
        rows = self._session.rows(f"SELECT * FROM fills {where} ORDER BY id", (parameter,))
        return tuple(fill_of(row) for row in rows)


def _require_step(record: IntentRecord, state: IntentState) -> None:
    change = f"{record.intent.client_id}: {record.state.value} cannot become {state.value}"
    if record.state.is_terminal:
        raise StateError(f"{change}, a terminal intent never changes")
    if state is IntentState.SENT and record.state is not IntentState.SENT:
        raise StateError(change)
    if state in NEVER_PLACED and record.filled_quantity:
        raise StateError(f"{change}, it has filled {record.filled_quantity}")


def _intent_values(intent: OrderIntent, epoch: int, deadline: datetime) -> dict[str, Parameter]:
    created = to_ms(intent.created_at)
    quantity = to_units(intent.quantity)
    return {
        "client_id": intent.client_id,
        "symbol": str(intent.symbol),
        "side": intent.side.value,
        "type": intent.type.value,
        "qty": quantity,
        "limit_px": None if intent.limit_price is None else to_units(intent.limit_price),
        "stop_px": None if intent.stop_price is None else to_units(intent.stop_price),
        "purpose": intent.purpose.value,
        "position_id": intent.position_id,
        "state": IntentState.SENT.value,
        "epoch": epoch,
        "request_ts": created,
        "deadline_ts": to_ms(deadline),
        # A reservation is an upper bound, so it is rounded up.
        "reserved_quote": to_units(round_to_units(intent.reserved_quote, up=True)),
        "reserved_base": quantity if intent.side is Side.SELL else 0,
        "time_in_force": intent.time_in_force.value if intent.time_in_force else None,
        "list_id": intent.list_id,
        "tranche": intent.tranche,
        "note": intent.reason,
        "reference_px": None if intent.reference_price is None else str(intent.reference_price),
        "created_ms": created,
        "trailing_bp": intent.trailing_bp,
        "replaces": intent.replaces,
    }
