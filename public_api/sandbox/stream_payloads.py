"""Market stream events, field by field as the exchange sends them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from bn_ml.domain.market import Symbol
from bn_ml.venue.liquidity import Level
from public_api.sandbox.answers import Json, Row, money
from public_api.sandbox.listings import wire
from public_api.sandbox.market_data import DayTicker, Kline, PublicTrade

Prices = Mapping[Decimal, Decimal]


def kline_event(symbol: Symbol, interval: str, kline: Kline, now_ms: int) -> Row:
    """Give the push of one interval; it is closed once its last millisecond has passed."""
    return {
        "e": "kline",
        "E": now_ms,
        "s": wire(symbol),
        "k": {
            "t": kline.open_ms,
            "T": kline.close_ms,
            "s": wire(symbol),
            "i": interval,
            "f": kline.open_ms // 1000,
            "L": min(kline.close_ms, now_ms) // 1000,
            "o": money(kline.open),
            "c": money(kline.close),
            "h": money(kline.high),
            "l": money(kline.low),
            "v": money(kline.volume),
            "n": kline.trades,
            "x": now_ms > kline.close_ms,
            "q": money(kline.quote_volume),
            "V": money(kline.taker_base),
            "Q": money(kline.taker_quote),
            "B": "0",
        },
    }


def mini_ticker(symbol: Symbol, day: DayTicker) -> Row:
    """Give the short 24 h statistics."""
    return {
        "e": "24hrMiniTicker",
        "E": day.close_ms,
        "s": wire(symbol),
        "c": money(day.last),
        "o": money(day.open),
        "h": money(day.high),
        "l": money(day.low),
        "v": money(day.volume),
        "q": money(day.quote_volume),
    }


def ticker(symbol: Symbol, day: DayTicker, top: tuple[Level, Level]) -> Row:
    """Give the full 24 h statistics; `top` is the best bid and the best ask."""
    change = day.last - day.open
    bid, ask = top
    return {
        "e": "24hrTicker",
        "E": day.close_ms,
        "s": wire(symbol),
        "p": money(change),
        "P": f"{change / day.open * 100:.3f}",
        "w": money(day.quote_volume / day.volume if day.volume else day.last),
        "x": money(day.open),
        "c": money(day.last),
        "Q": money(day.last_quantity),
        "b": money(bid.price),
        "B": money(bid.quantity),
        "a": money(ask.price),
        "A": money(ask.quantity),
        "o": money(day.open),
        "h": money(day.high),
        "l": money(day.low),
        "v": money(day.volume),
        "q": money(day.quote_volume),
        "O": day.open_ms,
        "C": day.close_ms,
        "F": day.first_id,
        "L": day.last_id,
        "n": day.last_id - day.first_id + 1,
    }


def book_ticker(symbol: Symbol, top: tuple[Level, Level], update_id: int) -> Row:
    """Give the best bid and ask; the exchange sends no time with them."""
    bid, ask = top
    return {
        "u": update_id,
        "s": wire(symbol),
        "b": money(bid.price),
        "B": money(bid.quantity),
        "a": money(ask.price),
        "A": money(ask.quantity),
    }


def trade_event(symbol: Symbol, trade: PublicTrade, now_ms: int) -> Row:
    """Give one trade of the tape."""
    return {
        "e": "trade",
        "E": now_ms,
        "s": wire(symbol),
        "t": trade.trade_id,
        "p": money(trade.price),
        "q": money(trade.quantity),
        "T": trade.at_ms,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def agg_trade_event(symbol: Symbol, trade: PublicTrade, now_ms: int) -> Row:
    """Give one trade of the tape as an aggregate of itself."""
    return {
        "e": "aggTrade",
        "E": now_ms,
        "s": wire(symbol),
        "a": trade.trade_id,
        "p": money(trade.price),
        "q": money(trade.quantity),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.at_ms,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def depth_update(symbol: Symbol, changed: tuple[Prices, Prices], ids: tuple[int, int], now_ms: int) -> Row:
    """Give what has changed in (bids, asks) since the update before; a quantity of 0 removes a level."""
    return {
        "e": "depthUpdate",
        "E": now_ms,
        "s": wire(symbol),
        "U": ids[0],
        "u": ids[1],
        "b": _rows(changed[0]),
        "a": _rows(changed[1]),
    }


def _rows(prices: Prices) -> list[Json]:
    return [[money(price), money(quantity)] for price, quantity in prices.items()]
