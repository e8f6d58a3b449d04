"""How old the newest price of anything watched is: what tells a market that has fallen silent."""

from __future__ import annotations

import logging
from datetime import datetime

from bn_ml.domain.market import EPOCH, Symbol
from bn_ml.errors import MarketDataError
from trader.desk import Desk

log = logging.getLogger(__name__)


class PriceAge:
    """Remembers the newest price ever seen."""

    def __init__(self, desk: Desk) -> None:
        """Ask the desk's market."""
        self._desk = desk
        self._priced_at = EPOCH

    def __call__(self, now: datetime) -> float:
        """Give the age, in seconds, of the benchmark's price or, when it has none, of the first watched that has."""
        settings = self._desk.settings
        names = (settings.risk.circuit_breakers.volatility_benchmark_symbol, *settings.universe.training_symbols)
        for symbol in dict.fromkeys(map(Symbol, names)):
            try:
                self._priced_at = max(self._priced_at, self._desk.market.quote(symbol).at)
            except MarketDataError as error:
                log.debug("no price symbol=%s reason=%s", symbol, error)
            else:
                break
        return (now - self._priced_at).total_seconds()
