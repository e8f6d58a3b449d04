"""Positions follow fills: what a fill does to a position is pure; storing it happens in the fill's own transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.events import (
    DifferenceWrittenOff,
    LegTaken,
    OrderFilled,
    PositionClosed,
    PositionOpened,
    PositionReconciled,
)
from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import Fill, OrderIntent, Purpose, Side
from bn_ml.domain.positions import ExitReason, Leg, Position, PositionStatus, Tranche
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.entry_plan import load_plan, read_notes
from trader.exit_manager import ExitManager
from trader.position_arithmetic import bought_after_close, grown, missed, opened, received, reduced, sale_reason

log = logging.getLogger(__name__)

DUST = "dust"


class PositionManager:
    """Keeps the stored positions equal to the fills; every method runs inside the caller's transaction."""

    def __init__(self, desk: Desk, exits: ExitManager, keeper: AccountKeeper) -> None:
        """Load what is held."""
        self._store = desk.store
        self._journal = desk.journal
        self._mode = desk.mode
        self._exits = exits
        self._keeper = keeper
        self._held = {item.position_id: item for item in self._store.open_positions()}

    def open_positions(self) -> tuple[Position, ...]:
        """Give what is held, ordered by symbol."""
        return tuple(sorted(self._held.values(), key=lambda position: position.symbol))

    def position(self, position_id: str) -> Position | None:
        """Give one position as of its last fill, None when nothing was ever bought under this id."""
        return self._held.get(position_id) or self._store.position(position_id)

    def save(self, position: Position) -> None:
        """Store a position and keep it at hand while it is open."""
        self._store.save_position(position)
        if position.is_open:
            self._held[position.position_id] = position
        else:
            self._held.pop(position.position_id, None)

    def write_off(self, position: Position, at: datetime) -> None:
        """Close a position whose rest is too small for the exchange to take; what is left becomes dust."""
        reason, rest = ExitReason.BELOW_MIN_SIZE, position.remaining_quantity
        lost = Leg(reason, rest, position.entry_price, -position.cost_open_quote, at)
        closed = replace(
            position,
            status=PositionStatus.CLOSED,
            dust_quantity=rest,
            remaining_quantity=ZERO,
            cost_open_quote=ZERO,
            realized_quote=position.realized_quote + lost.pnl_quote,
            legs=(*position.legs, lost),
            tranches=(),
            closed_at=at,
            close_reason=reason,
        )
        with self._store.transaction():
            self.save(closed)
            self._keeper.leg_taken(lost)
            self._close(closed, reason)

    def go_missing(self, position: Position, missing: Decimal, at: datetime) -> Position:
        """Take a part that the account does not hold any more out of a position, and tell of it."""
        step = load_plan(self._store, position.position_id).rules.step
        with self._store.transaction():
            after = missed(position, missing, step, at)
            self.save(after)
            leg = after.legs[-1]
            self._keeper.leg_taken(leg)
            self._journal.emit(
                PositionReconciled(at, position.symbol, position.position_id, missing, lost_quote=-leg.pnl_quote)
            )
            if not after.is_open:
                self._close(after, ExitReason.RECONCILED)
        return after

    def take_out(self, asset: str, amount: Decimal, at: datetime, note: str) -> None:
        """Take an amount that is gone from the account out of the books: of dust first, then of what is held.

        The orders of a position that loses by it must have ended before.
        """
        with self._store.transaction():
            self._store.deposit(asset, -amount, at, note)
            self._journal.emit(DifferenceWrittenOff(at, asset, amount, note))
            if asset == self._keeper.quote_asset:
                self._keeper.cash_left(amount)
                return
            from_dust = min(max(dust(self._store).get(asset, ZERO), ZERO), amount)
            self._leave_dust(asset, -from_dust, at)
            for position in self.open_positions():
                if position.symbol.base == asset and amount > from_dust:
                    self.go_missing(position, min(amount - from_dust, position.remaining_quantity), at)

    def book_fill(self, intent: OrderIntent, fill: Fill) -> Decimal:
        """Apply one new fill to its position and write all that follows from it.

        Gives the quantity that cannot be what the order was for: sold beyond what was held, or bought for a position
        already closed.
        """
        held = self.position(intent.position_id)
        self._journal.emit(_filled(fill))
        self._keeper.fill_booked(fill)
        if fill.side is Side.BUY:
            self._book_buy(intent, fill)
            return ZERO if held is None or held.is_open else fill.quantity
        self._book_sale(intent, fill)
        return ZERO if held is None else max(fill.quantity - held.remaining_quantity, ZERO)

    def entry_ended(self, intent: OrderIntent) -> None:
        """Take notice that an entry order can buy no more."""
        position = self.position(intent.position_id) if intent.purpose is Purpose.ENTRY else None
        if position is None:
            return
        self._keeper.entry_made(position)
        self._journal.emit(
            PositionOpened(
                at=position.opened_at,
                symbol=position.symbol,
                position_id=position.position_id,
                quantity=position.initial_quantity,
                entry_price=position.entry_price,
                stop=position.stop,
            )
        )

    def _book_buy(self, intent: OrderIntent, fill: Fill) -> None:
        plan = load_plan(self._store, intent.position_id)
        held = self.position(intent.position_id)
        if held is None:
            position = opened(fill, plan, self._exits)
        elif held.is_open:
            position = grown(held, fill, plan, self._exits)
        else:
            position = bought_after_close(held, fill)
            self._leave_dust(held.symbol.base, received(fill), fill.at)
        self.save(position)
        notes = {**_trade_notes(intent, fill), **read_notes(plan)}
        self._add_trade(fill, notes)

    def _book_sale(self, intent: OrderIntent, fill: Fill) -> None:
        plan = load_plan(self._store, intent.position_id)
        held = self.position(intent.position_id)
        if held is None:
            raise StateError(f"{fill.symbol}: a sale without position {intent.position_id}")
        reason = sale_reason(intent, held)
        position = self._without_sold(reduced(held, fill, reason, plan.rules.step), intent.tranche)
        self.save(position)
        leg = position.legs[-1]
        self._keeper.leg_taken(leg)
        self._add_trade(fill, {**_trade_notes(intent, fill), **_sale_notes(held, position, leg)})
        self._journal.emit(
            LegTaken(fill.at, fill.symbol, held.position_id, reason.value, fill.quantity, fill.price, leg.pnl_quote)
        )
        if not held.is_open:
            self._leave_dust(held.symbol.base, -fill.quantity, fill.at)
        elif not position.is_open:
            self._close(position, reason)
        elif reason in (ExitReason.TP1, ExitReason.TP2):
            self._say(
                f"target reached symbol={fill.symbol} target={reason.value} quantity={fill.quantity} "
                f"price={fill.price} pnl={leg.pnl_quote:.2f}"
            )

    def _say(self, line: str) -> None:
        """Log a line once the fill it tells of is on disk."""
        self._store.on_commit(lambda: log.info(line))

    def _without_sold(self, position: Position, label: str) -> Position:
        """Drop a tranche once all of it is sold, so that what is listed is what needs a stop."""
        kept = tuple(item for item in position.tranches if item.label != label or self._sold(item) < item.quantity)
        return replace(position, tranches=kept)

    def _sold(self, tranche: Tranche) -> Decimal:
        records = (self._store.intent(client_id) for client_id in tranche.client_ids)
        return sum((record.filled_quantity for record in records if record is not None), ZERO)

    def _close(self, position: Position, reason: ExitReason) -> None:
        closed_at = position.closed_at or position.opened_at
        self._keeper.position_closed(position)
        self._leave_dust(position.symbol.base, position.dust_quantity, closed_at)
        held_s = (closed_at - position.opened_at).total_seconds()
        self._say(
            f"closed symbol={position.symbol} reason={reason.value} pnl={position.realized_quote:.2f} "
            f"held_min={held_s / 60:.0f}"
        )
        self._journal.emit(
            PositionClosed(
                at=closed_at,
                symbol=position.symbol,
                position_id=position.position_id,
                reason=reason.value,
                pnl_quote=position.realized_quote,
                held_s=held_s,
            )
        )

    def _leave_dust(self, asset: str, quantity: Decimal, at: datetime) -> None:
        """Add what a closed position leaves to the asset's dust."""
        if quantity:
            total = dust(self._store)
            total[asset] = total.get(asset, ZERO) + quantity
            save_dust(self._store, total, at)

    def _add_trade(self, fill: Fill, notes: dict[str, object]) -> None:
        self._store.add_trade(
            at=fill.at,
            symbol=fill.symbol,
            side=fill.side,
            size_quote=fill.quote_quantity,
            price=fill.price,
            mode=self._mode,
            extra=notes,
        )


def dust(store: StateStore) -> dict[str, Decimal]:
    """Give what closed positions have left of each asset: too small to sell, ours, and part of no position."""
    kept = store.get(DUST)
    return {} if kept is None else from_plain(dict[str, Decimal], kept)


def save_dust(store: StateStore, total: Mapping[str, Decimal], at: datetime) -> None:
    """Write the dust of each asset that has any."""
    store.put(DUST, to_plain({asset: amount for asset, amount in sorted(total.items()) if amount}), at)


def _slippage(intent: OrderIntent, fill: Fill) -> float:
    reference = intent.reference_price or intent.stop_price or intent.limit_price
    if reference is None:
        return 0.0
    change = float(fill.price / reference - 1)
    return change if fill.side is Side.BUY else -change


def _trade_notes(intent: OrderIntent, fill: Fill) -> dict[str, object]:
    return {
        "order_id": fill.trade_id,
        "client_id": intent.client_id,
        "base_qty": float(fill.quantity),
        "fee": float(fill.fee),
        "fee_asset": fill.fee_asset,
        "slippage_pct": _slippage(intent, fill),
    }


def _sale_notes(held: Position, position: Position, leg: Leg) -> dict[str, object]:
    cost = held.cost_open_quote - position.cost_open_quote
    return {
        "reason": leg.reason.value,
        "entry_price": float(position.entry_price),
        "cost_basis_closed": float(cost),
        "pnl_usdt": float(leg.pnl_quote),
        "pnl_pct": float(leg.pnl_quote / cost) if cost > 0 else 0.0,
        "held_s": (leg.at - position.opened_at).total_seconds(),
        "data_source": position.data_source,
    }


def _filled(fill: Fill) -> OrderFilled:
    return OrderFilled(
        at=fill.at,
        symbol=fill.symbol,
        client_id=fill.client_id,
        trade_id=fill.trade_id,
        side=fill.side.value,
        price=fill.price,
        quantity=fill.quantity,
        fee=fill.fee,
        fee_asset=fill.fee_asset,
    )
