"""Who is scanned: configured symbols, discovery and its filters, liquidity limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from bn_ml.domain.market import MarketRules, Quote, Symbol
from bn_ml.errors import MarketDataError
from bn_ml.settings import DiscoverySettings, Settings
from data_manager.venue_listings import Listing
from scanner.liquidity_limits import limits_for
from scanner.universe import Universe, discovered, is_leveraged, passes

NOW = datetime(2023, 6, 1, tzinfo=timezone.utc)


def a_listing(name: str = "AVAX/USDC", *, volume: str = "2000000", days: float = 100, trading: bool = True) -> Listing:
    rules = MarketRules(
        Symbol(name),
        tick=Decimal("0.01"),
        step=Decimal("0.01"),
        min_notional=Decimal(5),
        trading=trading,
        listed_at=NOW - timedelta(days=days),
    )
    return Listing(Symbol(name), rules, Decimal(volume))


def passes_default(item: Listing) -> bool:
    return passes(item, DiscoverySettings(enabled=True), base_quote="USDC", now=NOW)


class FixedListings:
    def __init__(self, listed: list[Listing]) -> None:
        self.list = listed
        self.calls = 0
        self.broken = False

    def listed(self) -> list[Listing]:
        self.calls += 1
        if self.broken:
            raise MarketDataError("venue down")
        return self.list


@pytest.mark.parametrize(("volume", "fits"), [("1000000.01", True), ("1000000", True), ("999999.99", False)])
def test_the_least_turnover(volume: str, fits: bool) -> None:
    assert passes_default(a_listing(volume=volume)) is fits


@pytest.mark.parametrize(("days", "fits"), [(30.01, True), (30, True), (29.99, False)])
def test_the_least_age(days: float, fits: bool) -> None:
    assert passes_default(a_listing(days=days)) is fits


def test_an_unknown_age_passes_only_without_a_least_age() -> None:
    item = a_listing()
    young = replace(item, rules=replace(item.rules, listed_at=None))
    assert not passes_default(young)
    assert passes(young, DiscoverySettings(min_listing_days=0), base_quote="USDC", now=NOW)


@pytest.mark.parametrize(
    "name", ["AVAX/USDT", "BTCUP/USDC", "ETHDOWN/USDC", "BNBBULL/USDC", "XRPBEAR/USDC", "LDBTC/USDC"]
)
def test_other_quotes_and_leveraged_tokens_are_left_out(name: str) -> None:
    assert not passes_default(a_listing(name))


@pytest.mark.parametrize("name", ["FDUSD/USDC", "DAI/USDC", "EUR/USDC", "TRY/USDC"])
def test_stable_and_fiat_bases_are_left_out_unless_wanted(name: str) -> None:
    relaxed = DiscoverySettings(exclude_stables=False, exclude_fiat=False)
    assert not passes_default(a_listing(name))
    assert passes(a_listing(name), relaxed, base_quote="USDC", now=NOW)


@pytest.mark.parametrize("base", ["JUP", "LDO", "SYRUP", "BTC", "UP", "SUPER"])
def test_names_that_only_look_leveraged_stay(base: str) -> None:
    assert not is_leveraged(base)


def test_a_symbol_that_does_not_trade_is_left_out() -> None:
    assert not passes_default(a_listing(trading=False))


def test_discovered_symbols_come_by_turnover_then_name() -> None:
    listed = [a_listing("LTC/USDC"), a_listing("ATOM/USDC"), a_listing("LINK/USDC", volume="9000000")]
    found = discovered(listed, DiscoverySettings(), base_quote="USDC", now=NOW)
    assert found == ("LINK/USDC", "ATOM/USDC", "LTC/USDC")


def test_discovery_is_off_by_default() -> None:
    listings = FixedListings([a_listing()])
    assert "AVAX/USDC" not in Universe(Settings(), listings).symbols(NOW)
    assert listings.calls == 0


def discovering(**universe: object) -> Settings:
    return Settings.from_mapping({"universe": {"discovery": {"enabled": True}, **universe}})


def test_discovered_symbols_follow_the_configured_without_the_excluded() -> None:
    settings = discovering(training_symbols=["BTC/USDC", "ETH/USDC"], exclude=["ETH/USDC", "LTC/USDC"])
    listings = FixedListings([a_listing("LTC/USDC"), a_listing("AVAX/USDC"), a_listing("BTC/USDC")])
    assert Universe(settings, listings).symbols(NOW) == ("BTC/USDC", "AVAX/USDC")


def test_the_list_is_renewed_when_due_and_kept_when_that_fails() -> None:
    listings = FixedListings([a_listing()])
    universe = Universe(discovering(), listings)
    universe.symbols(NOW)
    universe.symbols(NOW + timedelta(seconds=899))
    assert listings.calls == 1
    listings.broken = True
    assert "AVAX/USDC" in universe.symbols(NOW + timedelta(seconds=900))
    assert listings.calls == 2
    assert "the last list stays" in str(universe.problem)


def test_no_more_symbols_than_the_scanner_may_scan() -> None:
    settings = Settings.from_mapping({"scanner": {"max_pairs": 2}})
    assert len(Universe(settings).symbols(NOW)) == 2


def a_quote(*, spread: str, depth: str) -> Quote:
    half = Decimal(spread) / 2
    return Quote(
        Symbol("BTC/USDC"), 100 * (1 - half), 100 * (1 + half), Decimal(100), NOW, "t", depth_quote=Decimal(depth)
    )


@pytest.mark.parametrize(
    ("spread", "depth", "refusal"),
    [
        ("0.0016", "45001", None),
        ("0.0016", "45000", None),
        ("0.0016", "44999", "depth"),
        ("0.0017", "45000", "spread"),
    ],
)
def test_majors_have_wider_limits(spread: str, depth: str, refusal: str | None) -> None:
    limits = limits_for(Symbol("BTC/USDC"), Settings().scanner)
    assert limits.refusal(a_quote(spread=spread, depth=depth)) == refusal


def test_other_symbols_have_tighter_limits_and_overrides_rule() -> None:
    settings = Settings.from_mapping(
        {"scanner": {"dynamic_pair_filters": {"by_symbol": {"LTC/USDC": {"spread_max_pct": 0.004}}}}}
    ).scanner
    alt, own = limits_for(Symbol("AVAX/USDC"), settings), limits_for(Symbol("LTC/USDC"), settings)
    assert (alt.spread_max_frac, alt.depth_min_quote) == pytest.approx((0.001425, 55000))
    assert (own.spread_max_frac, own.depth_min_quote) == pytest.approx((0.004, 55000))


def test_without_dynamic_filters_all_symbols_are_alike() -> None:
    settings = Settings.from_mapping({"scanner": {"dynamic_pair_filters": {"enabled": False}}}).scanner
    assert limits_for(Symbol("BTC/USDC"), settings) == limits_for(Symbol("AVAX/USDC"), settings)
