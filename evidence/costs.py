"""What trading cost, and what it could have cost before nothing was left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import Fill, Side
from bn_ml.domain.positions import Position
from evidence.book import Book


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From what the prices gave to what the account gained. Amounts in the quote asset, costs positive.

    `gross = net + slippage + fees + dust` of the closed trades and `change = net + rest`, both exact.

    - `gross`: what the trades would have brought at the prices asked for, free of cost
    - `slippage`: paid beyond the ask seen at an entry, the level of a stop, or the price seen at another sale; None
      where those prices are not known, and then part of `gross`
    - `fees`: at the price of each fill
    - `dust`: what was too little to sell, at the price of the last sale; the book counts it as lost
    - `net`: result of the closed trades
    - `rest`: open positions, and what dust is still worth
    - `change`: last equity less capital
    - `unvalued_fees`: fills whose fee was paid in a third asset, whose price the book does not know
    """

    gross: Decimal
    slippage: Decimal | None
    fees: Decimal
    dust: Decimal
    net: Decimal
    rest: Decimal
    change: Decimal
    unvalued_fees: int


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The cost per side, as a fraction of what is traded, at which closed trades would bring nothing.

    `cost_per_side = (net + fees + slippage) / turnover` and `paid_per_side = (fees + slippage) / turnover`, where
    turnover is the quote amount of both sides. Slippage is in both or in neither (`with_slippage`). A negative cost
    per side means that the trades lost before any cost. Both are None without trades.
    """

    cost_per_side: float | None
    paid_per_side: float | None
    turnover: Decimal
    with_slippage: bool


def fee_quote(fill: Fill) -> Decimal:
    """Give the fee of a fill in the quote asset, a fee in the base asset at the fill's price; 0 for a third asset."""
    if fill.fee_asset == fill.symbol.base:
        return fill.fee * fill.price
    return fill.fee if fill.fee_asset == fill.symbol.quote else ZERO


def fees_paid(fills: Sequence[Fill]) -> Decimal:
    """Give the fees of fills in the quote asset."""
    return sum((fee_quote(fill) for fill in fills), start=ZERO)


def dust_quote(position: Position) -> Decimal:
    """Give what a closed position left unsold, at the price of its last sale."""
    return position.dust_quantity * position.legs[-1].price if position.legs else ZERO


def slippage_paid(fills: Sequence[Fill], references: Mapping[str, Decimal]) -> Decimal | None:
    """Give what fills cost beyond the price asked for, in the quote asset; a better price counts against it.

    `references` maps the client id of an order to that price. An order without one, a resting target for example, got
    its own price. None where no fill has one.
    """
    known = [(fill, references[fill.client_id]) for fill in fills if fill.client_id in references]
    if not known:
        return None
    sides = {Side.BUY: 1, Side.SELL: -1}
    return sum((sides[fill.side] * (fill.price - price) * fill.quantity for fill, price in known), start=ZERO)


def waterfall(book: Book, references: Mapping[str, Decimal] | None = None) -> Waterfall:
    """Break the change of a book's equity down; `references` as in `slippage_paid`."""
    net = sum((position.realized_quote for position in book.closed), start=ZERO)
    fees = sum((position.fees_quote for position in book.closed), start=ZERO)
    dust = sum((dust_quote(position) for position in book.closed), start=ZERO)
    slippage = slippage_paid(fills_of_closed(book), references or {})
    change = book.curve[-1].equity - book.capital
    third = [fill for fill in book.fills if fill.fee_asset not in (fill.symbol.base, fill.symbol.quote) and fill.fee]
    return Waterfall(
        gross=net + fees + dust + (slippage or ZERO),
        slippage=slippage,
        fees=fees,
        dust=dust,
        net=net,
        rest=change - net,
        change=change,
        unvalued_fees=len(third),
    )


def break_even(book: Book, references: Mapping[str, Decimal] | None = None) -> BreakEven:
    """Give the cost per side that closed trades could have borne; `references` as in `slippage_paid`."""
    costs = waterfall(book, references)
    turnover = sum((fill.quote_quantity for fill in fills_of_closed(book)), start=ZERO)
    paid = costs.fees + (costs.slippage or ZERO)
    return BreakEven(
        cost_per_side=float((costs.net + paid) / turnover) if turnover > 0 else None,
        paid_per_side=float(paid / turnover) if turnover > 0 else None,
        turnover=turnover,
        with_slippage=costs.slippage is not None,
    )


def fills_of_closed(book: Book) -> tuple[Fill, ...]:
    """Give the fills of closed positions: those of a symbol between the opening and the close of one of them.

    Fills name orders, not positions; a symbol is held once at a time, so its fills up to the last close belong to
    closed positions, save those since the opening of one still held.
    """
    since = {position.symbol: position.opened_at for position in book.held}
    return tuple(fill for fill in book.fills if not _is_of_held(fill, since))


def _is_of_held(fill: Fill, since: Mapping[Symbol, datetime]) -> bool:
    opened_at = since.get(fill.symbol)
    if opened_at is None:
        return False
    return fill.at > opened_at or (fill.at == opened_at and fill.side is Side.BUY)
