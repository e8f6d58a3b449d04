"""Keeps what the account's history leaves behind, in step with the fills, and gives the account as of now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.account import AccountState, Balance, Control, ControlState
from bn_ml.domain.events import CycleFinished
from bn_ml.domain.market import ZERO, Quote, Symbol, iso
from bn_ml.domain.orders import Fill, IntentRecord, OrderType, Side
from bn_ml.domain.positions import Leg, Position
from bn_ml.errors import MarketDataError
from trader.account_view import account_fields
from trader.accounting import (
    AccountBook,
    account_state,
    book_closed_position,
    book_planned_loss,
    book_resumed,
    new_book,
)
from trader.cycle_report import CycleReport
from trader.desk import Desk

BOOK, HEARTBEAT = "account_book", "heartbeat"
DAY = timedelta(days=1)
RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When the last cycle ended and which it was."""

    at: datetime
    cycle: int
    mode: str


class AccountKeeper:
    """Owns the account's book. Methods that follow a fill run inside the fill's transaction."""

    def __init__(self, desk: Desk) -> None:
        """Load the book, the cash of the ledger and the last cycle's number."""
        self._desk = desk
        self.quote_asset = desk.settings.base_quote
        self._cash = desk.store.ledger_balances().get(self.quote_asset, ZERO)
        kept = desk.store.get(BOOK)
        self._book = None if kept is None else from_plain(AccountBook, kept)
        self.cycles = _last_cycle(desk.store.get(HEARTBEAT))
        since = desk.clock.now() - DAY
        closed = desk.store.closed_positions(since=since)
        self._recent = deque((item.closed_at or item.opened_at, item.realized_quote) for item in closed)
        self._full_closes = 0
        self._legs = 0

    @property
    def counts(self) -> tuple[int, int]:
        """Positions closed and parts sold since the start of the process."""
        return self._full_closes, self._legs

    @property
    def marks(self) -> Mapping[Symbol, Decimal]:
        """The bids at which the last account valued what was held."""
        return {} if self._book is None else self._book.marks

    def account(self, positions: Sequence[Position], intents: Sequence[IntentRecord]) -> AccountState:
        """Give the account as of now on the newest quotes; a symbol without quote keeps its last mark."""
        now = self._desk.clock.now()
        quotes = self._quotes(positions)
        book = self._book or new_book(self._cash, now)
        state, rolled = account_state(
            book, cash=self._balance(intents), positions=positions, quotes=quotes, intents=intents, now=now
        )
        opens, self._book = self._book is None, rolled
        if opens:
            # Kept before anything is bought: a death in between must not take the cash left for the opening equity.
            self._save()
        return state

    def follow(self, control: Control) -> None:
        """Take notice of the control state: after an operator's resume the drawdown counts from the present equity."""
        if control.state is ControlState.NORMAL and control.reason.startswith(RESUMED):
            self._book = book_resumed(self._opened_book(), control.since)

    def fill_booked(self, fill: Fill) -> None:
        """Move the cash of a fill."""
        fee = fill.fee if fill.fee_asset == self.quote_asset else ZERO
        amount = fill.quote_quantity if fill.side is Side.SELL else -fill.quote_quantity
        self._cash += amount - fee

    def cash_left(self, amount: Decimal) -> None:
        """Take out cash that is gone from the account: a withdrawal, neither profit nor loss."""
        self._cash -= amount
        book = self._opened_book()
        self._book = replace(
            book,
            equity_peak=book.equity_peak - amount,
            day=replace(book.day, opening_equity=book.day.opening_equity - amount),
            week=replace(book.week, opening_equity=book.week.opening_equity - amount),
        )
        self._save()

    def entry_made(self, position: Position) -> None:
        """Count the planned loss of a position whose entry has ended."""
        self._book = book_planned_loss(self._opened_book(), position.planned_loss_quote)
        self._save()

    def leg_taken(self, leg: Leg) -> None:
        """Count a part that was sold."""
        del leg
        self._legs += 1

    def position_closed(self, position: Position) -> None:
        """Count a closed position."""
        at = position.closed_at or self._desk.clock.now()
        self._book = book_closed_position(self._opened_book(), position, at, self._desk.settings.risk)
        self._full_closes += 1
        self._recent.append((at, position.realized_quote))
        self._save()

    def record_cycle(self, report: CycleReport) -> None:
        """Write the cycle row, the account, the scan and the heartbeat in one transaction."""
        store, now = self._desk.store, report.at
        scan = report.scan
        with store.transaction():
            store.add_cycle(
                at=now,
                opportunities=len(scan.opportunities) if scan else 0,
                opened_positions=report.opened,
                data=report.data(),
            )
            store.put(HEARTBEAT, _beside(store.get(HEARTBEAT), Heartbeat(now, report.cycle, report.mode)), now)
            store.put("account_state", account_fields(report, self._opened_book(), self._win_rate(now)), now)
            if scan is not None:
                rows = [item.as_dict() for item in (*scan.opportunities, *scan.refused)]
                store.put("latest_scan", {"at": iso(scan.at), "rows": rows, "data_source": report.data_source}, now)
            self._save()
            self._desk.journal.emit(
                CycleFinished(
                    at=now,
                    cycle=report.cycle,
                    equity=report.account.equity,
                    open_positions=report.open_positions,
                    opened=report.opened,
                    closed=report.full_closes,
                )
            )

    def _opened_book(self) -> AccountBook:
        if self._book is None:
            self._book = new_book(self._cash, self._desk.clock.now())
        return self._book

    def _quotes(self, positions: Sequence[Position]) -> dict[Symbol, Quote]:
        quotes: dict[Symbol, Quote] = {}
        for position in positions:
            try:
                quotes[position.symbol] = self._desk.market.quote(position.symbol)
            except MarketDataError:
                continue
        return quotes

    def _balance(self, intents: Sequence[IntentRecord]) -> Balance:
        locked = sum((_locked(record) for record in intents), ZERO)
        return Balance(self.quote_asset, self._cash - locked, locked)

    def _win_rate(self, now: datetime) -> float:
        while self._recent and self._recent[0][0] < now - DAY:
            self._recent.popleft()
        wins = sum(1 for _, pnl in self._recent if pnl > 0)
        return wins / len(self._recent) if self._recent else 0.0

    def _save(self) -> None:
        now = self._desk.clock.now()
        self._desk.store.put(BOOK, to_plain(self._book), now)


def _locked(record: IntentRecord) -> Decimal:
    """What the venue locks for a buy that rests: its limit times what is still to be bought."""
    intent = record.intent
    rests = intent.side is Side.BUY and not record.state.is_terminal and intent.type is OrderType.LIMIT
    if not rests or intent.limit_price is None:
        return ZERO
    return intent.limit_price * (intent.quantity - record.filled_quantity)


def _last_cycle(kept: object) -> int:
    """Give the number of the last cycle, 0 before the first one."""
    if not isinstance(kept, Mapping) or "cycle" not in kept:
        return 0
    return from_plain(Heartbeat, {name: kept[name] for name in Heartbeat.__slots__}).cycle


def _beside(kept: object, beat: Heartbeat) -> dict[str, object]:
    """Give the heartbeat with what others keep beside it, the health of the workers."""
    others = kept if isinstance(kept, Mapping) else {}
    return {**others, **from_plain(dict[str, object], to_plain(beat))}
