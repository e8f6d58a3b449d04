"""Chooses which symbols are streamed: what is held, then the benchmark, then what the newest scan ranks best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bn_ml.domain.market import Symbol
from bn_ml.domain.positions import Position
from bn_ml.domain.signals import ScanReport
from monitoring.exports import ScannedCycle
from monitoring.realtime_prices import RealtimePrices


class SymbolsToStream:
    """Tells the stream after each cycle what to follow; call it with the finished cycle, or `renew` it before any."""

    def __init__(
        self, prices: RealtimePrices, held: Callable[[], Sequence[Position]], symbols: Sequence[Symbol]
    ) -> None:
        """`symbols` come right after those `held` gives: the benchmark, and what to begin with before a scan."""
        self._prices = prices
        self._held = held
        self._symbols = tuple(symbols)
        self._scan: ScanReport | None = None

    def __call__(self, report: ScannedCycle) -> None:
        """Take a finished cycle."""
        self._scan = report.scan or self._scan
        self.renew()

    def renew(self) -> None:
        """Follow what is held now and what was scanned last."""
        scanned = (*self._scan.opportunities, *self._scan.refused) if self._scan else ()
        held = [position.symbol for position in self._held()]
        self._prices.follow(held, (*self._symbols, *(item.symbol for item in scanned)))
