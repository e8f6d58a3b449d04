"""What the venue lists right now, with the turnover and age that decide whether a symbol may be scanned."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import MarketRules, Symbol, exact
from bn_ml.errors import MarketDataError
from bn_ml.settings import Settings
from data_manager.source import DataSource


@dataclass(frozen=True, slots=True)
class Listing:
    """One symbol the venue lists, with its turnover of the last 24 hours in the quote asset."""

    symbol: Symbol
    rules: MarketRules
    volume_24h_quote: Decimal


class VenueListings:
    """The listed symbols of a market data source.

    Rules and turnovers cost one request each for all symbols. The age of a listing costs a request of its own, so it is
    asked for once per symbol, and only where age alone is left to decide.
    """

    def __init__(self, source: DataSource, settings: Settings) -> None:
        """Nothing is asked yet."""
        self._source = source
        self._quote = settings.base_quote
        self._filters = settings.universe.discovery
        self._ages: dict[Symbol, datetime] = {}

    def listed(self) -> tuple[Listing, ...]:
        """Give all listed symbols with a turnover; raises `MarketDataError` or `ExchangeError`."""
        turnovers = self._source.turnovers()
        found = [
            Listing(symbol, rules, turnovers[symbol])
            for symbol, rules in self._source.markets().items()
            if symbol in turnovers
        ]
        self._learn_ages([item.symbol for item in found if self._depends_on_age(item)])
        return tuple(self._aged(item) for item in found)

    def _depends_on_age(self, item: Listing) -> bool:
        return (
            self._filters.min_listing_days > 0
            and item.rules.listed_at is None
            and item.rules.trading
            and item.symbol not in self._ages
            and item.symbol.quote == self._quote
            and item.volume_24h_quote >= exact(self._filters.min_24h_volume_usdt)
        )

    def _aged(self, item: Listing) -> Listing:
        if item.rules.listed_at is not None or item.symbol not in self._ages:
            return item
        return replace(item, rules=replace(item.rules, listed_at=self._ages[item.symbol]))

    def _learn_ages(self, symbols: Sequence[Symbol]) -> None:
        with ThreadPoolExecutor(self._source.concurrency) as pool:
            for symbol, since in zip(symbols, pool.map(self._since, symbols), strict=True):
                if since is not None:
                    self._ages[symbol] = since

    def _since(self, symbol: Symbol) -> datetime | None:
        try:
            return self._source.listed_at(symbol)
        except MarketDataError:
            # A symbol of unknown age passes no least age; the rest of the list stands.
            return None
