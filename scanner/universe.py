"""Which symbols are scanned: the configured ones and, with discovery on, those of the venue that pass its filters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from bn_ml.domain.market import Symbol, exact
from bn_ml.errors import BnMlError
from bn_ml.settings import DiscoverySettings, Settings
from data_manager.venue_listings import Listing

# fmt: off
STABLE_BASES = frozenset({
    "USDT", "USDC", "BUSD", "TUSD", "FDUSD", "USDP", "DAI", "PAXUSD", "GUSD", "SUSD", "USDD", "USDE", "USD1",
    "RLUSD", "XUSD", "BFUSD", "USDS", "UST", "USTC", "EURI", "AEUR", "EURT", "FRAX", "PYUSD", "LUSD", "USDJ",
    "VAI", "IDRT", "BIDR", "BVND",
})
FIAT_BASES = frozenset({
    "EUR", "GBP", "AUD", "USD", "TRY", "BRL", "RUB", "UAH", "NGN", "ZAR", "PLN", "RON", "ARS", "JPY", "MXN",
    "COP", "CZK", "IDR", "KZT", "CHF", "CAD", "CNY", "INR",
})
# fmt: on
_LEVERAGED_ENDINGS = ("UP", "DOWN", "BULL", "BEAR")
_LENT_PREFIX = "LD"
_REAL_ASSETS = frozenset({"JUP", "SYRUP", "SUP", "LDO", "PUP", "CUP", "DUP"})
_SHORTEST_STEM = 2


class Listings(Protocol):
    """Where the venue's list comes from."""

    def listed(self) -> Sequence[Listing]:
        """Give all listed symbols; raises `MarketDataError` or `ExchangeError`."""


class Universe:
    """The symbols to scan; the discovered part is renewed every `refresh_sec`, and kept when that fails."""

    def __init__(self, settings: Settings, listings: Listings | None = None) -> None:
        """Take the settings; without `listings` only the configured symbols are scanned."""
        self._settings = settings
        self._listings = listings
        self._found: tuple[Symbol, ...] = ()
        self._renew_at: datetime | None = None
        self.problem: str | None = None

    @property
    def found(self) -> tuple[Symbol, ...]:
        """The symbols discovered last that are not excluded, highest turnover first."""
        excluded = {Symbol(name) for name in self._settings.universe.exclude}
        return tuple(symbol for symbol in self._found if symbol not in excluded)

    def symbols(self, now: datetime) -> tuple[Symbol, ...]:
        """Give the symbols of this scan, configured ones first, at most `scanner.max_pairs`."""
        self._renew(now)
        universe = self._settings.universe
        configured = (Symbol(name) for name in universe.training_symbols)
        excluded = {Symbol(name) for name in universe.exclude}
        everything = dict.fromkeys((*configured, *self._found))
        kept = [symbol for symbol in everything if symbol not in excluded]
        return tuple(kept[: self._settings.scanner.max_pairs])

    def _renew(self, now: datetime) -> None:
        discovery = self._settings.universe.discovery
        if self._listings is None or not discovery.enabled:
            return
        if self._renew_at is not None and now < self._renew_at:
            return
        self._renew_at = now + timedelta(seconds=discovery.refresh_sec)
        try:
            listed = self._listings.listed()
        except BnMlError as error:
            self.problem = f"discovery failed, the last list stays: {error}"
            return
        self.problem = None
        self._found = discovered(listed, discovery, base_quote=self._settings.base_quote, now=now)


def discovered(
    listed: Iterable[Listing], filters: DiscoverySettings, *, base_quote: str, now: datetime
) -> tuple[Symbol, ...]:
    """Give the listed symbols that pass all filters, highest turnover first, ties by name."""
    passing = [item for item in listed if passes(item, filters, base_quote=base_quote, now=now)]
    passing.sort(key=lambda item: (-item.volume_24h_quote, item.symbol))
    return tuple(item.symbol for item in passing)


def passes(item: Listing, filters: DiscoverySettings, *, base_quote: str, now: datetime) -> bool:
    """Tell whether a listed symbol may be scanned. An unknown listing date passes only without a least age."""
    return (
        item.symbol.quote == base_quote
        and item.rules.trading
        and item.volume_24h_quote >= exact(filters.min_24h_volume_usdt)
        and _old_enough(item.rules.listed_at, filters.min_listing_days, now)
        and not (filters.exclude_leveraged and is_leveraged(item.symbol.base))
        and not (filters.exclude_stables and item.symbol.base in STABLE_BASES)
        and not (filters.exclude_fiat and item.symbol.base in FIAT_BASES)
    )


def is_leveraged(base: str) -> bool:
    """Tell whether an asset is named like a leveraged or lent token.

    >>> [is_leveraged(base) for base in ("BTCUP", "ETHBEAR", "LDBTC", "JUP", "LDO", "BTC")]
    [True, True, True, False, False, False]
    """
    if base in _REAL_ASSETS:
        return False
    stems = [base.removesuffix(ending) for ending in _LEVERAGED_ENDINGS if base.endswith(ending)]
    if base.startswith(_LENT_PREFIX):
        stems.append(base.removeprefix(_LENT_PREFIX))
    return any(len(stem) >= _SHORTEST_STEM for stem in stems)


def _old_enough(listed_at: datetime | None, least_days: int, now: datetime) -> bool:
    if least_days == 0:
        return True
    return listed_at is not None and now - listed_at >= timedelta(days=least_days)
