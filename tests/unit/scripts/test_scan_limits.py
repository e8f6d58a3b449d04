"""The numbers behind the scan's own refusals are those the scan refused by."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from bn_ml.domain.market import Quote, Symbol
from bn_ml.domain.signals import Action, GateVerdict, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.settings import Settings
from scanner.liquidity_limits import limits_for
from scripts.scan_limits import ScanLimits

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)
SETTINGS = Settings.from_mapping({"scanner": {"min_score": 5.5, "min_confidence": 0.45, "top_n": 2}})
QUOTE = Quote(
    Symbol("AAA/USDC"), Decimal("99.9"), Decimal("100.1"), Decimal(100), AT, "test", Decimal(1234), Decimal(1)
)


def an_opportunity(name: str, reason: str | None = None, *, score: float = 7.0, quoted: bool = True) -> Opportunity:
    signal = Signal(Symbol(f"{name}/USDC"), Action.BUY, Probabilities(0.1, 0.3, 0.6), AT)
    return Opportunity(signal, QUOTE if quoted else None, score=score, reason=reason)


def told(item: Opportunity, *others: Opportunity, passed: int = 0) -> GateVerdict | None:
    best = tuple(an_opportunity(f"P{number}") for number in range(passed))
    return ScanLimits(SETTINGS).verdict(ScanReport(AT, best, (item, *others)), item)


def test_spread_and_depth_are_told_against_the_limits_of_the_symbol() -> None:
    for name in ("AAA", "BTC"):
        limits = limits_for(Symbol(f"{name}/USDC"), SETTINGS.scanner)
        spread = told(an_opportunity(name, "spread"))
        assert spread == GateVerdict("spread", pytest.approx(0.002), limits.spread_max_frac, passed=False)
        assert told(an_opportunity(name, "depth")) == GateVerdict("depth", 1234.0, limits.depth_min_quote, passed=False)


def test_score_and_confidence_are_told_against_the_least_ones() -> None:
    low = an_opportunity("AAA", "min_score", score=4.0)
    assert told(low) == GateVerdict("min_score", 4.0, 5.5, passed=False)
    unsure = replace(low, reason="min_confidence")
    assert told(unsure) == GateVerdict("min_confidence", 0.6, 0.45, passed=False)


def test_the_rank_is_told_of_what_found_no_place() -> None:
    last, better = an_opportunity("ZZZ", "top_n", score=5.0), an_opportunity("YYY", "top_n", score=6.0)
    assert told(better, last, passed=2) == GateVerdict("top_n", 3.0, 2.0, passed=False)
    assert told(last, better, an_opportunity("AAA", "spread", score=9.0), passed=2) == GateVerdict(
        "top_n", 4.0, 2.0, passed=False
    )


@pytest.mark.parametrize("reason", [None, "signal_not_buy", "data_unavailable", "no_skill"])
def test_what_the_scan_did_not_measure_has_no_numbers(reason: str | None) -> None:
    assert told(an_opportunity("AAA", reason)) is None


@pytest.mark.parametrize("reason", ["spread", "depth"])
def test_a_symbol_without_a_quote_has_no_spread(reason: str) -> None:
    assert told(an_opportunity("AAA", reason, quoted=False)) is None
