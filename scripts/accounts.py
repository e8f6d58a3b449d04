"""Whose money is traded: the paper account, or an account at the exchange."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bn_ml.errors import ConfigError
from bn_ml.ports import Clock, Exchange, MarketView
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from bn_ml.venue_store import VenueStore
from trader.exchanges.paper import open_paper_exchange, starting_capital


class Account(Protocol):
    """One account; `mode` and `name` say whose book it is."""

    @property
    def mode(self) -> str:
        """What rows are marked with."""

    @property
    def name(self) -> str:
        """The account the book belongs to."""

    def open(self, settings: Settings, store: StateStore, market: MarketView, clock: Clock) -> Exchange:
        """Give the exchange of the account; raises `ConfigError` when the book is kept in another quote asset."""

    def clock_offset_s(self) -> float | None:
        """Give the exchange's clock minus ours, None while unknown."""

    def banned_until(self) -> datetime | None:
        """Give the end of the exchange's last ban, None when it never asked to stay away."""


@dataclass(frozen=True, slots=True)
class PaperAccount:
    """An account that exists in the book only."""

    mode: str = "paper"
    name: str = "paper"

    def open(self, settings: Settings, store: StateStore, market: MarketView, clock: Clock) -> Exchange:
        """Give the paper exchange, with its starting capital in a new book."""
        require_quote(store, settings)
        exchange = open_paper_exchange(settings, VenueStore(store), market, clock)
        if not store.ledger_balances():
            store.deposit(settings.base_quote, starting_capital(settings), clock.now(), "starting capital")
        return exchange

    def clock_offset_s(self) -> float | None:
        """Give 0: the paper exchange reads our clock."""
        return 0.0

    def banned_until(self) -> datetime | None:
        """Give None: the paper exchange bans nobody."""
        return None


def require_quote(store: StateStore, settings: Settings) -> None:
    """Refuse a book that is kept in another quote asset; raises `ConfigError`."""
    held = store.ledger_balances()
    if held and settings.base_quote not in held:
        raise ConfigError(
            [
                f"base_quote: this book is not kept in {settings.base_quote}, it holds {', '.join(sorted(held))}; "
                "go back to the former base_quote or point storage.sqlite_path to a new file"
            ]
        )
