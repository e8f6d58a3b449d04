"""The venue's `exchangeInfo` answer read into rules per symbol, its old and present filter names alike."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.errors import MarketDataError

Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """Rules by symbol, and a line for each record that could not be read."""

    rules: Mapping[Symbol, MarketRules]
    skipped: tuple[str, ...] = ()
    leveraged: frozenset[Symbol] = field(default_factory=frozenset)


def read_exchange_info(path: Path) -> ExchangeInfo:
    """Read a stored `exchangeInfo` answer, gzipped or plain. Raises `MarketDataError` when it is none."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        payload = json.loads(raw)
    except (OSError, ValueError) as error:
        raise MarketDataError(f"cannot read exchange rules from {path}: {error}") from error
    if not isinstance(payload, dict):
        raise MarketDataError(f"{path}: no exchangeInfo answer")
    return parse_exchange_info(payload)


def parse_exchange_info(payload: Record) -> ExchangeInfo:
    """Read an `exchangeInfo` answer; a record that makes no sense is skipped and named."""
    records = payload.get("symbols")
    if not isinstance(records, list):
        raise MarketDataError("exchange rules hold no list of symbols")
    rules: dict[Symbol, MarketRules] = {}
    skipped: list[str] = []
    leveraged: set[Symbol] = set()
    for index, record in enumerate(records):
        try:
            parsed = parse_symbol(record)
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            skipped.append(f"record {index} ({_label(record)}): {type(error).__name__} {error}")
            continue
        rules[parsed.symbol] = parsed
        if "LEVERAGED" in _permissions(record):
            leveraged.add(parsed.symbol)
    return ExchangeInfo(rules, tuple(skipped), frozenset(leveraged))


def parse_symbol(record: Record) -> MarketRules:
    """Read one record of `symbols`. Raises `KeyError`, `ValueError` or `InvalidOperation` on a malformed one."""
    symbol = Symbol(f"{record['baseAsset']}/{record['quoteAsset']}")
    if record["symbol"] != symbol.base + symbol.quote:
        raise ValueError(f"symbol {record['symbol']!r} is not {symbol.base}{symbol.quote}")
    filters = _filters(record)
    price, lot, market = filters["PRICE_FILTER"], filters["LOT_SIZE"], filters.get("MARKET_LOT_SIZE", {})
    notional = filters.get("NOTIONAL") or filters["MIN_NOTIONAL"]
    percent = filters.get("PERCENT_PRICE_BY_SIDE") or filters.get("PERCENT_PRICE", {})
    trailing = filters.get("TRAILING_DELTA", {})
    return MarketRules(
        symbol=symbol,
        tick=_number(price, "tickSize"),
        step=_number(lot, "stepSize"),
        min_notional=_number(notional, "minNotional"),
        min_price=_number(price, "minPrice"),
        max_price=_number(price, "maxPrice"),
        min_quantity=_number(lot, "minQty"),
        max_quantity=_number(lot, "maxQty"),
        market_step=_number(market, "stepSize"),
        market_min_quantity=_number(market, "minQty"),
        market_max_quantity=_number(market, "maxQty"),
        max_notional=_number(notional, "maxNotional"),
        notional_applies_to_market=bool(notional.get("applyMinToMarket", notional.get("applyToMarket", True))),
        bid_multiplier_up=_number(percent, "bidMultiplierUp", "multiplierUp", default="5"),
        bid_multiplier_down=_number(percent, "bidMultiplierDown", "multiplierDown", default="0.2"),
        ask_multiplier_up=_number(percent, "askMultiplierUp", "multiplierUp", default="5"),
        ask_multiplier_down=_number(percent, "askMultiplierDown", "multiplierDown", default="0.2"),
        max_orders=_count(filters, "MAX_NUM_ORDERS", "maxNumOrders", 200),
        max_algo_orders=_count(filters, "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders", 5),
        max_order_lists=_count(filters, "MAX_NUM_ORDER_LISTS", "maxNumOrderLists", 20),
        min_trailing_delta=int(_number(trailing, "minTrailingBelowDelta", default="10")),
        max_trailing_delta=int(_number(trailing, "maxTrailingBelowDelta", default="2000")),
        trading=record.get("status") == "TRADING" and bool(record.get("isSpotTradingAllowed", True)),
        stops_allowed=_takes_stops(record),
        lists_allowed=bool(record.get("ocoAllowed", True)),
        replace_allowed=bool(record.get("cancelReplaceAllowed", True)),
        trailing_allowed=bool(record.get("allowTrailingStop", True)),
    )


def _takes_stops(record: Record) -> bool:
    types = record.get("orderTypes")
    return not isinstance(types, list) or "STOP_LOSS" in types


def _filters(record: Record) -> dict[str, Record]:
    listed = record["filters"]
    if not isinstance(listed, list):
        raise TypeError("filters is no list")
    return {str(item["filterType"]): item for item in listed}


def _number(values: Record, *names: str, default: str = "0") -> Decimal:
    for name in names:
        if name in values:
            return _plain(Decimal(str(values[name])))
    return Decimal(default)


def _plain(number: Decimal) -> Decimal:
    short = number.normalize()
    # 1E+1 would be the shortest form of ten; as a step it would quantise to tens.
    return short if number % 1 else short.quantize(Decimal(1))


def _count(filters: Mapping[str, Record], name: str, key: str, default: int) -> int:
    return int(_number(filters.get(name, {}), key, default=str(default)))


def _permissions(record: Record) -> str:
    return f"{record.get('permissions')} {record.get('permissionSets')}"


def _label(record: object) -> str:
    if isinstance(record, Mapping):
        return str(record.get("symbol") or next(iter(record), "empty"))
    return repr(record)[:40]
