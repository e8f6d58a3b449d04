"""Public endpoints: time, rules, book, klines, tickers, trades."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

from bn_ml.domain.market import Symbol
from bn_ml.venue.errors import VenueError, invalid_symbol
from public_api.sandbox import market_answers
from public_api.sandbox.account_endpoints import order_limits
from public_api.sandbox.answers import Json, Row, money
from public_api.sandbox.desk import Call, Desk
from public_api.sandbox.listings import AVERAGE_MINUTES, SymbolStatus, wire
from public_api.sandbox.market_data import INTERVAL_MS, Span
from public_api.sandbox.requests import Parameters, invalid

_BAD_INTERVAL = VenueError(-1120, "Invalid interval.")
_BAD_STATUS = VenueError(-1220, "Invalid symbolStatus.")
_STATUSES = [status.value for status in SymbolStatus]


def ping(_desk: Desk, call: Call) -> Json:
    """GET ping."""
    call.params.done()
    return {}


def server_time(_desk: Desk, call: Call) -> Json:
    """GET time."""
    call.params.done()
    return {"serverTime": call.now_ms}


def exchange_info(desk: Desk, call: Call) -> Json:
    """GET exchangeInfo."""
    chosen = read_symbols(desk, call.params)
    permissions = call.params.text("permissions")
    call.params.text("showPermissionSets")
    status = call.params.choice("symbolStatus", _STATUSES, _BAD_STATUS)
    call.params.done()
    if chosen is not None and (permissions is not None or status is not None):
        raise VenueError(-1128, "Combination of optional parameters invalid.")
    listed = desk.listings.all() if chosen is None else chosen
    if permissions is not None and "SPOT" not in permissions:
        listed = []
    if status is not None:
        listed = [symbol for symbol in listed if desk.listings.status(symbol).value == status]
    return {
        "timezone": "UTC",
        "serverTime": call.now_ms,
        "rateLimits": _rate_limits(desk),
        "exchangeFilters": [],
        "symbols": [desk.listings.record(symbol) for symbol in listed],
    }


def other_exchange_info(desk: Desk, call: Call) -> Json:
    """GET exchangeInfo of a market this venue does not run."""
    call.params.done()
    return {
        "timezone": "UTC",
        "serverTime": call.now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": _rate_limits(desk),
        "exchangeFilters": [],
        "assets": [],
        "symbols": [],
    }


def depth(desk: Desk, call: Call) -> Json:
    """GET depth."""
    symbol, limit = call.symbol(desk), call.params.limit(100, 5000)
    _symbol_status(desk, call.params)
    call.params.done()
    return market_answers.depth(market_answers.depth_of(desk, symbol), call.now_ms, limit)


def trades(desk: Desk, call: Call) -> Json:
    """GET trades and historicalTrades."""
    symbol, limit = call.symbol(desk), call.params.limit(500, 1000)
    first_id = call.params.whole("fromId")
    call.params.done()
    rows = desk.markets.trades(symbol, limit, call.now_ms)
    return [market_answers.public_trade(row) for row in rows if first_id is None or row.trade_id >= first_id]


def aggregate_trades(desk: Desk, call: Call) -> Json:
    """GET aggTrades."""
    symbol, limit = call.symbol(desk), call.params.limit(500, 1000)
    first_id, start, end = (call.params.whole(name) for name in ("fromId", "startTime", "endTime"))
    call.params.done()
    return [
        market_answers.aggregate_trade(row)
        for row in desk.markets.trades(symbol, limit, call.now_ms)
        if row.trade_id >= (first_id or 0) and row.at_ms >= (start or 0) and (end is None or row.at_ms <= end)
    ]


def klines(desk: Desk, call: Call) -> Json:
    """GET klines and uiKlines."""
    params = call.params
    symbol = call.symbol(desk)
    params.needed("interval")
    interval = params.choice("interval", INTERVAL_MS, _BAD_INTERVAL) or ""
    start, end, limit = params.whole("startTime"), params.whole("endTime"), params.limit(500, 1000)
    params.text("timeZone")
    params.done()
    if start is not None and start > call.now_ms:
        return []
    until = call.now_ms if end is None else min(end, call.now_ms)
    rows = desk.markets.klines(symbol, interval, Span(start, until, limit), call.now_ms)
    return [market_answers.kline(row) for row in rows]


def average_price(desk: Desk, call: Call) -> Json:
    """GET avgPrice."""
    symbol = call.symbol(desk)
    call.params.done()
    minutes = desk.markets.klines(symbol, "1m", Span(None, call.now_ms, AVERAGE_MINUTES), call.now_ms)
    volume = sum((row.volume for row in minutes), Decimal(0))
    quote = sum((row.quote_volume for row in minutes), Decimal(0))
    book = market_answers.book_of(desk, symbol)
    last = book.last if book else Decimal(0)
    return {"mins": AVERAGE_MINUTES, "price": money(quote / volume if volume else last), "closeTime": call.now_ms}


def day_ticker(desk: Desk, call: Call) -> Json:
    """GET ticker/24hr."""
    chosen = read_symbols(desk, call.params)
    small = call.params.choice("type", ("FULL", "MINI"), VenueError(-1139, "Invalid ticker type.")) == "MINI"
    _symbol_status(desk, call.params)
    alone = call.params.sent("symbol")
    call.params.done()
    rows = []
    for symbol in desk.listings.all() if chosen is None else chosen:
        day = desk.markets.day(symbol, call.now_ms)
        if day is not None:
            book = market_answers.depth_of(desk, symbol)
            rows.append(market_answers.small_ticker(symbol, day) if small else market_answers.ticker(symbol, day, book))
    return _one_or_all(rows, alone=alone)


def price_ticker(desk: Desk, call: Call) -> Json:
    """GET ticker/price."""
    chosen = read_symbols(desk, call.params)
    _symbol_status(desk, call.params)
    alone = call.params.sent("symbol")
    call.params.done()
    rows: list[Row] = []
    for symbol in desk.listings.all() if chosen is None else chosen:
        book = market_answers.book_of(desk, symbol)
        if book is not None:
            rows.append({"symbol": wire(symbol), "price": money(book.last)})
    return _one_or_all(rows, alone=alone)


def best_ticker(desk: Desk, call: Call) -> Json:
    """GET ticker/bookTicker."""
    chosen = read_symbols(desk, call.params)
    _symbol_status(desk, call.params)
    alone = call.params.sent("symbol")
    call.params.done()
    listed = desk.listings.all() if chosen is None else chosen
    rows = [
        market_answers.book_ticker(symbol, market_answers.depth_of(desk, symbol))
        for symbol in listed
        if market_answers.book_of(desk, symbol) is not None
    ]
    return _one_or_all(rows, alone=alone)


def execution_rules(desk: Desk, call: Call) -> Json:
    """GET executionRules."""
    chosen = read_symbols(desk, call.params)
    status = call.params.choice("symbolStatus", _STATUSES, _BAD_STATUS)
    call.params.done()
    ranges = desk.venue.state.price_ranges
    rows: list[Json] = []
    for symbol in sorted(ranges) if chosen is None else chosen:
        allowed = ranges.get(symbol)
        if allowed is None or (status is not None and desk.listings.status(symbol).value != status):
            continue
        rule: Row = {
            "ruleType": "PRICE_RANGE",
            "bidLimitMultUp": f"{allowed.bid_up:.4f}",
            "bidLimitMultDown": f"{allowed.bid_down:.4f}",
            "askLimitMultUp": f"{allowed.ask_up:.4f}",
            "askLimitMultDown": f"{allowed.ask_down:.4f}",
        }
        rows.append({"symbol": wire(symbol), "rules": [rule]})
    return {"symbolRules": rows}


def reference_price(desk: Desk, call: Call) -> Json:
    """GET referencePrice."""
    symbol = call.symbol(desk)
    call.params.done()
    allowed = desk.venue.state.price_ranges.get(symbol)
    price = None if allowed is None else money(allowed.reference)
    return {"symbol": wire(symbol), "referencePrice": price, "timestamp": call.now_ms}


def read_symbols(desk: Desk, params: Parameters) -> Sequence[Symbol] | None:
    """Give the symbols asked for by `symbol` or `symbols`, None for all; raises `VenueError` -1128 on both at once."""
    one, many = params.text("symbol"), params.text("symbols")
    if one is not None and many is not None:
        raise VenueError(-1128, "Combination of optional parameters invalid.")
    if one is not None:
        return [desk.listings.named(one)]
    if many is None:
        return None
    return [desk.listings.named(name) for name in symbol_names(many)]


def symbol_names(text: str) -> list[str]:
    """Read the JSON list of `symbols`; raises `VenueError` -1100, -1151 or -1130."""
    try:
        names = json.loads(text)
    except ValueError as error:
        raise VenueError(
            -1100,
            "Illegal characters found in parameter 'symbols'; legal range is "
            '\'^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$\'.',
        ) from error
    if not isinstance(names, list) or not names:
        raise invalid("symbols")
    if not all(isinstance(name, str) for name in names):
        raise invalid_symbol()
    if len(set(names)) < len(names):
        raise VenueError(-1151, "Symbol is present multiple times in the list.")
    return names


def _symbol_status(_desk: Desk, params: Parameters) -> None:
    params.choice("symbolStatus", _STATUSES, _BAD_STATUS)


def _one_or_all(rows: Sequence[Row], *, alone: bool) -> Json:
    return rows[0] if alone and rows else list(rows)


def _rate_limits(desk: Desk) -> list[Json]:
    limits = desk.limits
    return [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limits.weight_per_minute},
        *order_limits(desk),
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": limits.raw_per_5min},
    ]
