"""Market statistics as the venue writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import Side
from bn_ml.venue.liquidity import Book, Level
from public_api.sandbox.answers import Json, Row, money
from public_api.sandbox.desk import Desk
from public_api.sandbox.listings import wire
from public_api.sandbox.market_data import DayTicker, Kline, PublicTrade


@dataclass(frozen=True, slots=True)
class Depth:
    """Both sides of a book, best level first: what takers can trade against, and the account's own resting orders."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


def depth_of(desk: Desk, symbol: Symbol) -> Depth:
    """Give a symbol's book; empty before its first quote."""
    bids, asks = (_side(desk, symbol, taker) for taker in (Side.SELL, Side.BUY))
    return Depth(bids, asks)


def book_of(desk: Desk, symbol: Symbol) -> Book | None:
    """Give what the venue knows of a symbol's market, None before its first quote."""
    return desk.venue.state.books.get(symbol)


def depth(book: Depth, update_id: int, limit: int) -> Row:
    """Give the book as levels."""
    return {"lastUpdateId": update_id, "bids": _levels(book.bids[:limit]), "asks": _levels(book.asks[:limit])}


def book_ticker(symbol: Symbol, book: Depth) -> Row:
    """Give the best levels."""
    bid, ask = _best(book.bids), _best(book.asks)
    return {
        "symbol": wire(symbol),
        "bidPrice": money(bid.price),
        "bidQty": money(bid.quantity),
        "askPrice": money(ask.price),
        "askQty": money(ask.quantity),
    }


def kline(row: Kline) -> Json:
    """Give one kline as the venue's list."""
    return [
        row.open_ms,
        money(row.open),
        money(row.high),
        money(row.low),
        money(row.close),
        money(row.volume),
        row.close_ms,
        money(row.quote_volume),
        row.trades,
        money(row.taker_base),
        money(row.taker_quote),
        "0",
    ]


def small_ticker(symbol: Symbol, day: DayTicker) -> Row:
    """Give the short form of the 24 h statistics."""
    return {
        "symbol": wire(symbol),
        "openPrice": money(day.open),
        "highPrice": money(day.high),
        "lowPrice": money(day.low),
        "lastPrice": money(day.last),
        "volume": money(day.volume),
        "quoteVolume": money(day.quote_volume),
        "openTime": day.open_ms,
        "closeTime": day.close_ms,
        "firstId": day.first_id,
        "lastId": day.last_id,
        "count": day.last_id - day.first_id + 1,
    }


def ticker(symbol: Symbol, day: DayTicker, book: Depth) -> Row:
    """Give the 24 h statistics."""
    change = day.last - day.open
    best = {name: value for name, value in book_ticker(symbol, book).items() if name != "symbol"}
    average = day.quote_volume / day.volume if day.volume else day.last
    return {
        "symbol": wire(symbol),
        "priceChange": money(change),
        "priceChangePercent": f"{change / day.open * 100:.3f}" if day.open else "0.000",
        "weightedAvgPrice": money(average),
        "prevClosePrice": money(day.open),
        "lastPrice": money(day.last),
        "lastQty": money(day.last_quantity),
        **best,
        **{name: value for name, value in small_ticker(symbol, day).items() if name not in ("symbol", "lastPrice")},
    }


def public_trade(row: PublicTrade) -> Row:
    """Give one public trade."""
    return {
        "id": row.trade_id,
        "price": money(row.price),
        "qty": money(row.quantity),
        "quoteQty": money(row.price * row.quantity),
        "time": row.at_ms,
        "isBuyerMaker": row.buyer_is_maker,
        "isBestMatch": True,
    }


def aggregate_trade(row: PublicTrade) -> Row:
    """Give one public trade as an aggregate of itself."""
    return {
        "a": row.trade_id,
        "p": money(row.price),
        "q": money(row.quantity),
        "f": row.trade_id,
        "l": row.trade_id,
        "T": row.at_ms,
        "m": row.buyer_is_maker,
        "M": True,
    }


def _side(desk: Desk, symbol: Symbol, taker: Side) -> tuple[Level, ...]:
    sizes: dict[Decimal, Decimal] = {}
    for level in desk.venue.ladder(symbol, taker):
        sizes[level.price] = sizes.get(level.price, ZERO) + level.quantity
    for order in desk.venue.open_orders(symbol):
        if order.rests and order.side is not taker:
            sizes[order.price] = sizes.get(order.price, ZERO) + order.remaining
    return tuple(Level(price, sizes[price]) for price in sorted(sizes, reverse=taker is Side.SELL) if sizes[price])


def _best(levels: Sequence[Level]) -> Level:
    return levels[0] if levels else Level(ZERO, ZERO)


def _levels(levels: Sequence[Level]) -> Json:
    return [[money(level.price), money(level.quantity)] for level in levels]
