"""Venue rules for stored bars: imported ones where there are any, else what the prices themselves show."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from bn_ml.domain.market import MarketRules, Symbol, Timeframe
from bn_ml.errors import MarketDataError
from bn_ml.exchange_info import read_exchange_info
from data_manager.bars import Bars
from data_manager.history import HistoryStore

log = logging.getLogger(__name__)

EXCHANGE_INFO_FILE = "exchange_info.json"
_MIN_NOTIONAL = Decimal(5)
_MOST_DECIMALS = 8
_STEP_VALUE = 0.5


def stored_rules(store: HistoryStore, symbols: Sequence[Symbol]) -> Mapping[Symbol, MarketRules]:
    """Give rules for each stored symbol; one whose file cannot be read is left out and named in the log."""
    path = store.root / EXCHANGE_INFO_FILE
    imported = read_exchange_info(path).rules if path.is_file() else {}
    found: dict[Symbol, MarketRules] = {}
    for symbol in symbols:
        try:
            found[symbol] = imported.get(symbol) or _derived(store, symbol)
        except MarketDataError as error:
            log.warning("symbol left out symbol=%s reason=%s", symbol, error)
    return found


def derived_rules(bars: Bars) -> MarketRules:
    """Give rules that every price of the series satisfies: its tick from the decimals seen, its step from the price."""
    closes = bars.close[np.isfinite(bars.close) & (bars.close > 0)]
    typical = float(np.median(closes)) if len(closes) else 1.0
    step = Decimal(1).scaleb(-min(_MOST_DECIMALS, max(0, math.floor(math.log10(typical / _STEP_VALUE)) + 1)))
    return MarketRules(
        symbol=bars.symbol,
        tick=Decimal(1).scaleb(-price_decimals(bars)),
        step=step,
        min_notional=_MIN_NOTIONAL,
        min_quantity=step,
    )


def price_decimals(bars: Bars) -> int:
    """Give how many decimals the prices have, at most 8."""
    prices = np.concatenate((bars.open, bars.high, bars.low, bars.close))
    prices = prices[np.isfinite(prices)]
    for decimals in range(_MOST_DECIMALS):
        scaled = prices * 10.0**decimals
        if bool(np.all(np.abs(scaled - np.round(scaled)) <= 1e-6 + 1e-15 * scaled)):
            return decimals
    return _MOST_DECIMALS


def _derived(store: HistoryStore, symbol: Symbol) -> MarketRules:
    stored = store.timeframes(symbol)
    finest = Timeframe.M15 if Timeframe.M15 in stored else stored[0]
    bars = store.read(symbol, finest)
    return derived_rules(bars)
