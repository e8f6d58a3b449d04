"""The symbols the sandbox lists: their wire names, statuses and `exchangeInfo` records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.venue.errors import invalid_symbol
from bn_ml.venue.filters import MAX_ICEBERG_PARTS
from bn_ml.venue.orders import SelfTrade
from bn_ml.venue.venue import MAX_AMENDS, Venue
from public_api.sandbox.answers import Json, Row, money

AVERAGE_MINUTES = 5
ORDER_TYPES = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)


class SymbolStatus(Enum):
    """Whether a symbol trades, by the venue's own names."""

    TRADING = "TRADING"
    END_OF_DAY = "END_OF_DAY"
    HALT = "HALT"
    BREAK = "BREAK"
    CANCEL_ONLY = "CANCEL_ONLY"


class Listings:
    """The symbols of a venue with what the venue itself does not keep."""

    def __init__(self, venue: Venue) -> None:
        """List what the venue has rules for."""
        self._venue = venue
        self._statuses: dict[Symbol, SymbolStatus] = {}

    def all(self) -> Sequence[Symbol]:
        """Give the listed symbols, sorted."""
        return sorted(self._venue.state.rules)

    def rules(self, symbol: Symbol) -> MarketRules:
        """Give a symbol's rules."""
        return self._venue.state.rules_of(symbol)

    def named(self, name: str) -> Symbol:
        """Give the symbol of a wire name such as `BTCUSDT`; raises `VenueError` -1121."""
        for symbol in self._venue.state.rules:
            if wire(symbol) == name:
                return symbol
        raise invalid_symbol()

    def status(self, symbol: Symbol) -> SymbolStatus:
        """Give a symbol's status."""
        known = self._statuses.get(symbol)
        if known is not None:
            return known
        return SymbolStatus.TRADING if self.rules(symbol).trading else SymbolStatus.BREAK

    def set_rules(self, rules: MarketRules) -> None:
        """List a symbol or change its filters; a status set before stays."""
        status = self._statuses.get(rules.symbol)
        self._venue.set_rules(rules if status is None else replace(rules, trading=status is SymbolStatus.TRADING))

    def set_status(self, symbol: Symbol, status: SymbolStatus) -> None:
        """Open or close a symbol."""
        self._statuses[symbol] = status
        self._venue.set_rules(replace(self.rules(symbol), trading=status is SymbolStatus.TRADING))

    def delist(self, symbol: Symbol, now: datetime) -> None:
        """Take a symbol away; its open orders expire."""
        self._venue.delist(symbol, now)
        self._statuses.pop(symbol, None)

    def record(self, symbol: Symbol) -> Row:
        """Give a symbol's `exchangeInfo` record."""
        rules = self.rules(symbol)
        return {
            "symbol": wire(symbol),
            "status": self.status(symbol).value,
            "baseAsset": symbol.base,
            "baseAssetPrecision": 8,
            "quoteAsset": symbol.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": [name for name in ORDER_TYPES if rules.stops_allowed or name != "STOP_LOSS"],
            "icebergAllowed": True,
            "ocoAllowed": rules.lists_allowed,
            "otoAllowed": rules.lists_allowed,
            "opoAllowed": rules.lists_allowed,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": rules.trailing_allowed,
            "cancelReplaceAllowed": rules.replace_allowed,
            "amendAllowed": True,
            "pegInstructionsAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": _filters(rules),
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": SelfTrade.EXPIRE_MAKER.value,
            "allowedSelfTradePreventionModes": [mode.value for mode in SelfTrade if mode is not SelfTrade.NONE],
        }


def wire(symbol: Symbol) -> str:
    """Give the name a symbol has on the wire.

    >>> wire(Symbol("BTC/USDT"))
    'BTCUSDT'
    """
    return symbol.base + symbol.quote


def _filters(rules: MarketRules) -> list[Json]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": money(rules.min_price),
            "maxPrice": money(rules.max_price),
            "tickSize": money(rules.tick),
        },
        _lot("LOT_SIZE", rules.min_quantity, rules.max_quantity, rules.step),
        {"filterType": "ICEBERG_PARTS", "limit": MAX_ICEBERG_PARTS},
        _lot("MARKET_LOT_SIZE", rules.market_min_quantity, rules.market_max_quantity, rules.market_step),
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": rules.min_trailing_delta,
            "maxTrailingAboveDelta": rules.max_trailing_delta,
            "minTrailingBelowDelta": rules.min_trailing_delta,
            "maxTrailingBelowDelta": rules.max_trailing_delta,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": f"{rules.bid_multiplier_up:f}",
            "bidMultiplierDown": f"{rules.bid_multiplier_down:f}",
            "askMultiplierUp": f"{rules.ask_multiplier_up:f}",
            "askMultiplierDown": f"{rules.ask_multiplier_down:f}",
            "avgPriceMins": AVERAGE_MINUTES,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": money(rules.min_notional),
            "applyMinToMarket": rules.notional_applies_to_market,
            "maxNotional": money(rules.max_notional),
            "applyMaxToMarket": False,
            "avgPriceMins": AVERAGE_MINUTES,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": rules.max_orders},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": rules.max_order_lists},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": rules.max_algo_orders},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": MAX_AMENDS},
    ]


def _lot(name: str, low: Decimal, high: Decimal, step: Decimal) -> Json:
    return {"filterType": name, "minQty": money(low), "maxQty": money(high), "stepSize": money(step)}
