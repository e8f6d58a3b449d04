"""What the wiring asks of a source: its clock, its bans and whether it has the benchmark."""

from __future__ import annotations

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import from_ms
from bn_ml.settings import ExchangeSettings, Settings
from data_manager.open_source import synthetic_source
from data_manager.sources.binance import BinanceSource
from scripts.accounts import PaperAccount
from scripts.venue_facts import banned_until, clock_offset_s, say_without_benchmark

NOW = from_ms(1_700_000_000_000)
CLOCK = SimulatedClock(NOW)
SYNTHETIC = synthetic_source(Settings(), CLOCK)


def test_a_source_without_a_venue_has_our_clock_and_no_ban() -> None:
    assert (clock_offset_s(SYNTHETIC, PaperAccount()), banned_until(SYNTHETIC, PaperAccount())) == (0.0, None)


@pytest.mark.parametrize(("offset_ms", "offset_s"), [(0, 0.0), (1500, 1.5), (-20, -0.02)])
def test_the_live_source_tells_how_far_the_clocks_are_apart(offset_ms: int, offset_s: float) -> None:
    source = BinanceSource(ExchangeSettings(), CLOCK, offset_ms=offset_ms)
    assert (clock_offset_s(source, PaperAccount()), banned_until(source, PaperAccount())) == (offset_s, None)


@pytest.mark.parametrize(("benchmark", "lines"), [("BTC/USDC", 0), ("ZZZ/USDC", 1)])
def test_a_benchmark_the_source_does_not_offer_is_told(
    benchmark: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    breakers = {"volatility_benchmark_symbol": benchmark}
    settings = Settings.from_mapping({"risk": {"circuit_breakers": breakers}})
    say_without_benchmark(settings, SYNTHETIC)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == lines
    assert all("no entries" in line and benchmark in line and "synthetic" in line for line in found)
