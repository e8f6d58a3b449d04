"""What every part of the money path shares: the books, the journal, the clock, the market and the exchange."""

from __future__ import annotations

from dataclasses import dataclass

from bn_ml.journal import Journal
from bn_ml.ports import Clock, Exchange, MarketView
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore


@dataclass(frozen=True, slots=True)
class Desk:
    """The surroundings of the money path. `mode` is what its rows are marked with."""

    store: StateStore
    journal: Journal
    clock: Clock
    market: MarketView
    exchange: Exchange
    settings: Settings
    mode: str
