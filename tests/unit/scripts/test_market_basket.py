"""The symbols of the market columns: configured, not excluded, and known to the market."""

from __future__ import annotations

from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from scripts.market_basket import basket

BTC, ETH, SOL = Symbol("BTC/USDC"), Symbol("ETH/USDC"), Symbol("SOL/USDC")
SETTINGS = Settings.from_mapping({"universe": {"training_symbols": ["SOL/USDC", "ETH/USDC"], "exclude": []}})


def test_the_benchmark_joins_the_configured_symbols() -> None:
    assert basket(SETTINGS) == (BTC, ETH, SOL)


def test_a_symbol_the_market_does_not_know_is_left_out() -> None:
    assert basket(SETTINGS, {BTC, SOL}) == (BTC, SOL)


def test_the_benchmark_stays_even_when_it_is_unknown() -> None:
    assert basket(SETTINGS, {SOL}) == (BTC, SOL)


def test_an_excluded_benchmark_is_still_what_the_columns_are_measured_against() -> None:
    universe = {"training_symbols": ["BTC/USDC", "SOL/USDC"], "exclude": ["BTC/USDC"]}
    assert basket(Settings.from_mapping({"universe": universe})) == (BTC, SOL)
