"""What a fill makes of a position. Pure: stores nothing, tells nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import Fill, OrderIntent, Purpose
from bn_ml.domain.positions import ExitReason, Leg, Position, PositionStatus
from trader.entry_plan import EntryPlan
from trader.exit_manager import ExitManager, stop_reason


def opened(fill: Fill, plan: EntryPlan, exits: ExitManager) -> Position:
    """Give the position the first fill of an entry makes."""
    levels = exits.levels(fill.price, plan.atr_frac, plan.rules)
    return Position(
        position_id=plan.position_id,
        symbol=fill.symbol,
        status=PositionStatus.OPEN,
        opened_at=fill.at,
        entry_price=fill.price,
        initial_quantity=received(fill),
        remaining_quantity=received(fill),
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
    bought = position.initial_quantity + received(fill)
    average = (position.entry_price * position.initial_quantity + fill.price * received(fill)) / bought
    levels = exits.levels(average, plan.atr_frac, plan.rules)
    return replace(
        position,
        entry_price=average,
        initial_quantity=bought,
        remaining_quantity=position.remaining_quantity + received(fill),
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
    included. What was sold beyond what was held, or after the close, makes the dust negative: books never bend a fill.
    """
    remaining = position.remaining_quantity - fill.quantity
    if not position.is_open:
        return _sold_after_close(position, fill, reason)
    closes = remaining < step
    share = ZERO if closes else position.cost_open_quote * fill.quantity / position.remaining_quantity
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


def missed(position: Position, missing: Decimal, step: Decimal, at: datetime) -> Position:
    """Give the position after a part of it went missing from the account: sold for nothing, its cost lost.

    No fill is made up. What is left below one step closes the position as dust.
    """
    remaining = position.remaining_quantity - missing
    closes = remaining < step
    cost = position.cost_open_quote * missing / position.remaining_quantity
    lost = position.cost_open_quote if closes else cost
    after = replace(
        position,
        remaining_quantity=ZERO if closes else remaining,
        cost_open_quote=position.cost_open_quote - lost,
        realized_quote=position.realized_quote - lost,
        legs=(*position.legs, Leg(ExitReason.RECONCILED, missing, position.entry_price, -lost, at)),
        tranches=(),
    )
    if not closes:
        return after
    return replace(
        after,
        status=PositionStatus.CLOSED,
        dust_quantity=remaining,
        closed_at=at,
        close_reason=ExitReason.RECONCILED,
    )


def bought_after_close(position: Position, fill: Fill) -> Position:
    """Give a closed position after a buy that came too late: what it brought is dust, what it cost is lost."""
    paid = _paid(fill)
    return replace(
        position,
        initial_quantity=position.initial_quantity + received(fill),
        cost_quote=position.cost_quote + paid,
        realized_quote=position.realized_quote - paid,
        fees_quote=position.fees_quote + _fee_quote(fill),
        dust_quantity=position.dust_quantity + received(fill),
        legs=(*position.legs, Leg(ExitReason.RECONCILED, received(fill), fill.price, -paid, fill.at)),
    )


def sale_reason(intent: OrderIntent, position: Position) -> ExitReason:
    """Tell why an order sells: by its tranche, by how far its stop had been raised, or by the reason it carries."""
    if intent.purpose is Purpose.TARGET:
        return ExitReason.TP1 if intent.tranche == "tp1" else ExitReason.TP2
    if intent.purpose is Purpose.STOP:
        return stop_reason(position)
    return ExitReason(intent.reason)


def _sold_after_close(position: Position, fill: Fill, reason: ExitReason) -> Position:
    proceeds = fill.quote_quantity - (fill.fee if fill.fee_asset == fill.symbol.quote else ZERO)
    return replace(
        position,
        proceeds_quote=position.proceeds_quote + proceeds,
        realized_quote=position.realized_quote + proceeds,
        fees_quote=position.fees_quote + _fee_quote(fill),
        dust_quantity=position.dust_quantity - fill.quantity,
        legs=(*position.legs, Leg(reason, fill.quantity, fill.price, proceeds, fill.at)),
    )


def received(fill: Fill) -> Decimal:
    """Give what a buy adds to a position: what was bought less a fee in the base asset."""
    return fill.quantity - (fill.fee if fill.fee_asset == fill.symbol.base else ZERO)


def _paid(fill: Fill) -> Decimal:
    return fill.quote_quantity + (fill.fee if fill.fee_asset == fill.symbol.quote else ZERO)


def _fee_quote(fill: Fill) -> Decimal:
    if fill.fee_asset == fill.symbol.base:
        return fill.fee * fill.price
    return fill.fee if fill.fee_asset == fill.symbol.quote else ZERO
