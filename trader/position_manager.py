"""Positions follow fills: what a fill does to a position is pure; storing it happens in the fill's own transaction."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.events import LegTaken, OrderFilled, PositionClosed, PositionOpened
from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import Fill, OrderIntent, Purpose, Side
from bn_ml.domain.positions import ExitReason, Leg, Position, PositionStatus, Tranche
from bn_ml.errors import StateError
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.entry_plan import EntryPlan, load_plan, read_notes
from trader.exit_manager import ExitManager, stop_reason

log = logging.getLogger(__name__)


def opened(fill: Fill, plan: EntryPlan, exits: ExitManager) -> Position:
    """Give the position the first fill of an entry makes."""
    levels = exits.levels(fill.price, plan.atr_frac, plan.rules)
    return Position(
        position_id=plan.position_id,
        symbol=fill.symbol,
        status=PositionStatus.OPEN,
        opened_at=fill.at,
        entry_price=fill.price,
        initial_quantity=_received(fill),
        remaining_quantity=_received(fill),
        cost_quote=_paid(fill),
        cost_open_quote=_paid(fill),
        fees_quote=_fee_quote(fill),
        stop=levels.stop,
        target_1=levels.target_1,
        target_2=levels.target_2,
        max_price_seen=fill.price,
        planned_loss_quote=plan.planned_loss_quote,
        atr_frac=plan.atr_frac,
        confidence=plan.confidence,
        score=plan.score,
        bundle_version=plan.bundle_version,
        data_source=plan.data_source,
    )


def grown(position: Position, fill: Fill, plan: EntryPlan, exits: ExitManager) -> Position:
    """Give the position after a further fill of its entry; the entry price is the average of what was paid."""
    bought = position.initial_quantity + _received(fill)
    average = (position.entry_price * position.initial_quantity + fill.price * _received(fill)) / bought
    levels = exits.levels(average, plan.atr_frac, plan.rules)
    return replace(
        position,
        entry_price=average,
        initial_quantity=bought,
        remaining_quantity=position.remaining_quantity + _received(fill),
        cost_quote=position.cost_quote + _paid(fill),
        cost_open_quote=position.cost_open_quote + _paid(fill),
        fees_quote=position.fees_quote + _fee_quote(fill),
        stop=levels.stop,
        target_1=levels.target_1,
        target_2=levels.target_2,
        max_price_seen=max(position.max_price_seen, fill.price),
    )


def reduced(position: Position, fill: Fill, reason: ExitReason, step: Decimal) -> Position:
    """Give the position after a sale; what is left below one step is dust and closes it.

    Cost is taken in proportion to the quantity sold; the sale that closes the position bears what is left of it, dust
    included.
    """
    remaining = position.remaining_quantity - fill.quantity
    if remaining < 0:
        raise StateError(f"{fill.symbol}: sold {fill.quantity} of {position.remaining_quantity} held")
    closes = remaining < step
    share = position.cost_open_quote * fill.quantity / position.remaining_quantity
    cost = position.cost_open_quote if closes else share
    proceeds = fill.quote_quantity - (fill.fee if fill.fee_asset == fill.symbol.quote else ZERO)
    leg = Leg(reason, fill.quantity, fill.price, proceeds - cost, fill.at)
    after = replace(
        position,
        remaining_quantity=ZERO if closes else remaining,
        cost_open_quote=ZERO if closes else position.cost_open_quote - cost,
        proceeds_quote=position.proceeds_quote + proceeds,
        realized_quote=position.realized_quote + leg.pnl_quote,
        fees_quote=position.fees_quote + _fee_quote(fill),
        tp1_hit=position.tp1_hit or reason is ExitReason.TP1,
        tp2_hit=position.tp2_hit or reason is ExitReason.TP2,
        legs=(*position.legs, leg),
    )
    if not closes:
        return after
    return replace(
        after,
        status=PositionStatus.CLOSED,
        dust_quantity=remaining,
        closed_at=fill.at,
        close_reason=reason,
        tranches=(),
    )


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

    def book_fill(self, intent: OrderIntent, fill: Fill) -> None:
        """Apply one new fill to its position and write all that follows from it."""
        self._journal.emit(_filled(fill))
        self._keeper.fill_booked(fill)
        if fill.side is Side.BUY:
            self._book_buy(intent, fill)
        else:
            self._book_sale(intent, fill)

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
        position = opened(fill, plan, self._exits) if held is None else grown(held, fill, plan, self._exits)
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
        if not position.is_open:
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


def sale_reason(intent: OrderIntent, position: Position) -> ExitReason:
    """Tell why an order sells: by its tranche, by how far its stop had been raised, or by the reason it carries."""
    if intent.purpose is Purpose.TARGET:
        return ExitReason.TP1 if intent.tranche == "tp1" else ExitReason.TP2
    if intent.purpose is Purpose.STOP:
        return stop_reason(position)
    return ExitReason(intent.reason)


def _received(fill: Fill) -> Decimal:
    return fill.quantity - (fill.fee if fill.fee_asset == fill.symbol.base else ZERO)


def _paid(fill: Fill) -> Decimal:
    return fill.quote_quantity + (fill.fee if fill.fee_asset == fill.symbol.quote else ZERO)


def _fee_quote(fill: Fill) -> Decimal:
    if fill.fee_asset == fill.symbol.base:
        return fill.fee * fill.price
    return fill.fee if fill.fee_asset == fill.symbol.quote else ZERO


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
