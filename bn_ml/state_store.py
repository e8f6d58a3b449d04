"""The one writer of the state database: everything the bot remembers, committed durably or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.events import Event
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, IntentRecord, IntentState, OrderIntent, Side
from bn_ml.domain.positions import Position
from bn_ml.errors import StateError
from bn_ml.state_book import PositionBook, Records
from bn_ml.state_money import ControlBook, IntentBook, Ledger
from bn_ml.state_rows import LedgerEntry
from bn_ml.state_session import Session

IDENTITY_KEY = "book_identity"


class StateStore:
    """The books of one bot in one SQLite file; used by the main thread only.

    Instants are aware UTC and kept to the millisecond; amounts are `Decimal` of at most 8 decimals. Every method raises
    `StateError` when the file cannot be read or written. A write outside a transaction is one of its own.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the database, or create it, and bring it to the newest schema."""
        self.session = Session(path)
        self._control = ControlBook(self.session)
        self._intents = IntentBook(self.session, self._control)
        self._ledger = Ledger(self.session, self._intents)
        self._positions = PositionBook(self.session)
        self._records = Records(self.session)

    @property
    def path(self) -> Path:
        """The database file."""
        return self.session.path

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self.session.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Commit everything in the block or nothing of it; a block inside another joins it."""
        return self.session.transaction()

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the outermost running transaction has committed; at once when none is running."""
        self.session.on_commit(callback)

    def control(self) -> Control:
        """Give the newest control state; epoch 0 and NORMAL before the first start."""
        return self._control.current()

    def set_control(self, state: ControlState, reason: str, set_by: str, at: datetime) -> Control:
        """Commit a control state under the next epoch."""
        return self._control.change(state, reason, set_by, at)

    def start_epoch(self, at: datetime, set_by: str) -> Control:
        """Begin a new epoch in the present state; orders of older epochs are refused from here on."""
        return self._control.start(at, set_by)

    def next_client_id(self, prefix: str = "bnml") -> str:
        """Give an order id never given before by this book."""
        identity = self.identity()
        return self._control.next_client_id(prefix, identity.text if identity else "")

    def skip_client_ids(self, count: int) -> None:
        """Leave out ids that a newer copy of this book may have given; for use after a backup was restored."""
        self._control.advance(count)

    def add_intent(self, intent: OrderIntent, owner: int, deadline: datetime | None = None) -> None:
        """Write an intent as SENT; refuses a process whose epoch is over and what the control state forbids.

        From `deadline` on the exchange can no longer accept it; 8 s after its creation when not given.
        """
        self._intents.add(intent, owner, deadline)

    def update_intent(
        self, client_id: str, state: IntentState, *, exchange_id: str = "", reason: str = "", at: datetime
    ) -> None:
        """Note what became of an intent; a terminal one never changes, empty texts keep what is known."""
        self._intents.update(client_id, state, exchange_id=exchange_id, reason=reason, at=at)

    def intent(self, client_id: str) -> IntentRecord | None:
        """Give an intent with the quantities its fills add up to, None when there is no such intent."""
        return self._intents.get(client_id)

    def open_intents(self) -> tuple[IntentRecord, ...]:
        """Give all intents that are not terminal, oldest first."""
        return self._intents.open()

    def intents_of(self, position_id: str) -> tuple[IntentRecord, ...]:
        """Give all intents of a position, oldest first."""
        return self._intents.of_position(position_id)

    def recent_intents(self, limit: int) -> tuple[IntentRecord, ...]:
        """Give the newest intents, newest first."""
        return self._intents.recent(limit)

    def entries_since(self, at: datetime) -> tuple[IntentRecord, ...]:
        """Give the entry orders created at or after an instant, oldest first."""
        return self._intents.entries_since(at)

    def intents_since(self, at: datetime) -> tuple[IntentRecord, ...]:
        """Give every order created or finished at or after an instant, oldest first."""
        return self._intents.changed_since(at)

    def intent_at_exchange(self, symbol: Symbol, exchange_id: str) -> IntentRecord | None:
        """Give the intent the exchange keeps under a number of its own, None when it is none of ours."""
        return self._intents.by_exchange_id(symbol, exchange_id)

    def add_fill(self, fill: Fill) -> bool:
        """Book a fill and the balance changes it makes; False, and no change, when that trade is booked already."""
        return self._ledger.add_fill(fill)

    def fills_of(self, client_id: str) -> tuple[Fill, ...]:
        """Give the fills of an order in booking order."""
        return self._ledger.fills_of(client_id)

    def fills_of_position(self, position_id: str) -> tuple[Fill, ...]:
        """Give the fills of all orders of a position in booking order."""
        return self._ledger.fills_of_position(position_id)

    def has_fill(self, symbol: Symbol, trade_id: str) -> bool:
        """Whether a trade of a symbol is booked."""
        return self._ledger.has_fill(symbol, trade_id)

    def fills_since(self, at: datetime) -> tuple[Fill, ...]:
        """Give the fills the venue made at or after an instant, in booking order."""
        return self._ledger.filled_since(at)

    def deposit(self, asset: str, amount: Decimal, at: datetime, note: str) -> None:
        """Book what came in from outside; a negative amount is a withdrawal."""
        self._ledger.deposit(asset, amount, at, note)

    def ledger_balances(self) -> dict[str, Decimal]:
        """Give what we own of each asset by the ledger."""
        return self._ledger.balances()

    def ledger_balance(self, asset: str) -> Decimal:
        """Give what we own of one asset by the ledger."""
        return self._ledger.balance(asset)

    def declare_foreign(self, asset: str, amount: Decimal, at: datetime, note: str) -> None:
        """Note how much more of an asset on the account is not ours; a negative amount takes some of it back."""
        self._ledger.declare_foreign(asset, amount, at, note)

    def foreign_balances(self) -> dict[str, Decimal]:
        """Give what of each asset on the account is declared not ours; assets without are left out."""
        return self._ledger.foreign()

    def ledger_entries(self) -> tuple[LedgerEntry, ...]:
        """Give every ledger entry in booking order."""
        return self._ledger.entries()

    def save_position(self, position: Position) -> None:
        """Write a position, exact and readable; refuses a second open one of its symbol."""
        self._positions.save(position)

    def position(self, position_id: str) -> Position | None:
        """Give a position by its id, None when there is none."""
        return self._positions.get(position_id)

    def open_positions(self) -> tuple[Position, ...]:
        """Give the open positions ordered by symbol."""
        return self._positions.open()

    def closed_positions(self, limit: int | None = None, since: datetime | None = None) -> tuple[Position, ...]:
        """Give the positions closed at or after `since`, at most the newest `limit`, oldest first."""
        return self._positions.closed(limit, since)

    def add_trade(  # noqa: PLR0913  one keyword per column of the table
        self,
        *,
        at: datetime,
        symbol: Symbol,
        side: Side,
        size_quote: Decimal,
        price: Decimal,
        mode: str,
        extra: Mapping[str, object],
    ) -> int:
        """Write a readable trade and give its number."""
        return self._records.add_trade(at, symbol, (side, size_quote, price), mode, extra)

    def add_cycle(self, *, at: datetime, opportunities: int, opened_positions: int, data: Mapping[str, object]) -> int:
        """Write what a turn of the loop did and give its number."""
        return self._records.add_cycle(at, opportunities, opened_positions, data)

    def add_model_metrics(self, at: datetime, metrics: Mapping[str, object]) -> int:
        """Write one set of model metrics and give its number."""
        return self._records.add_model_metrics(at, metrics)

    def add_event(self, event: Event, cycle: int) -> int:
        """Append a fact to the journal and give its number."""
        return self._records.add_event(event, cycle)

    def put(self, key: str, value: object, at: datetime) -> None:
        """Set a keyed value for readers; exact values go through `codecs.to_plain` first."""
        self._records.put(key, value, at)

    def get(self, key: str) -> object:
        """Give a keyed value as plain lists, objects, texts and numbers, None when it was never set."""
        return self._records.get(key)

    def prune(self, *, now: datetime, cycles_days: int, metrics_days: int) -> int:
        """Delete cycles and model metrics older than their retention and give how many rows went."""
        return self._records.prune(now, cycles_days, metrics_days)

    def forget(self, prefix: str, *, before: datetime, keep: Collection[str]) -> int:
        """Delete the keyed values under a prefix last set before an instant, except the kept keys; count them."""
        return self._records.forget(prefix, before, keep)

    def identity(self) -> BookIdentity | None:
        """Give whose book this is, None while it is bound to nobody."""
        plain = self.get(IDENTITY_KEY)
        return None if plain is None else from_plain(BookIdentity, plain)

    def bind_book(self, mode: str, account: str, at: datetime) -> BookIdentity:
        """Make this the book of an environment and account, for ever; raises `StateError` when it is another's."""
        with self.transaction():
            present = self.identity()
            if present is None:
                present = BookIdentity(mode, account, at)
                self.put(IDENTITY_KEY, to_plain(present), at)
            if (present.mode, present.account) != (mode, account):
                raise StateError(
                    f"{self.path}: is the {present.mode} book of {present.account}, not the {mode} book of {account}; "
                    "switch the book or point storage.sqlite_path elsewhere"
                )
            return present
