"""The port every supplier of market data fills."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Protocol, runtime_checkable

from bn_ml.domain.market import MarketRules, Quote, Symbol, Timeframe
from bn_ml.weight import WeightMeter
from data_manager.bars import Bars


class DataSource(Protocol):
    """Closed bars, quotes and venue rules from one origin, fixed for the life of the process.

    Instants are ms since 1970 UTC. "Closed" means closed at the present instant of the source's own clock. Every method
    raises `MarketDataError` when a symbol cannot be answered for.
    """

    @property
    def name(self) -> str:
        """The word every record made from this source carries."""

    @property
    def notice(self) -> str:
        """What users must be told loudly about this source; empty when there is nothing."""

    @property
    def concurrency(self) -> int:
        """How many calls are worth making at once; 1 for a source in memory."""

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give closed bars with `start_ms <= open_time < end_ms`; an empty frame when there are none."""

    def quote(self, symbol: Symbol) -> Quote:
        """Give the newest quote; its `at` says when it was true."""

    def markets(self) -> Mapping[Symbol, MarketRules]:
        """Give the rules of every symbol this source knows."""

    def turnovers(self) -> Mapping[Symbol, Decimal]:
        """Give the turnover of the last 24 h in the quote asset, of every symbol that has one, all at once."""

    def listed_at(self, symbol: Symbol) -> datetime | None:
        """Give when the symbol's trading began as far as this source knows, None before the first trade."""

    def path(self, symbol: Symbol, since_ms: int, until_ms: int) -> Bars:
        """Give the finest closed bars with `since_ms <= open_time` and `close_time <= until_ms`."""


@runtime_checkable
class RemoteVenue(Protocol):
    """What a source at a distant venue knows of it beside the market."""

    @property
    def weight(self) -> WeightMeter:
        """The request weight it draws on."""

    @property
    def offset_ms(self) -> int:
        """The venue's clock minus ours."""

    @property
    def banned_until(self) -> datetime | None:
        """The instant before which the venue wants to hear nothing, None when it never said so."""
