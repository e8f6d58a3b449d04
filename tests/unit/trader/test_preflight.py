"""Every check of the preflight at, inside and outside its limit; none can be skipped."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.settings import Settings
from trader.preflight import KeyRights, PreflightFacts, Severity, failed, judged, missing_keys

BTC, ETH = Symbol("BTC/USDC"), Symbol("ETH/USDC")
SETTINGS = Settings()


def rules(symbol: Symbol, *, min_notional: str = "5", trading: bool = True) -> MarketRules:
    return MarketRules(
        symbol=symbol,
        step=Decimal("0.00001"),
        tick=Decimal("0.01"),
        min_quantity=Decimal("0.00001"),
        min_notional=Decimal(min_notional),
        trading=trading,
    )


GOOD = PreflightFacts(
    rights=KeyRights(may_trade=True, may_withdraw=False, ip_restricted=True),
    offset_s=0.05,
    quote_free=Decimal(500),
    capital=Decimal(1000),
    symbols=(BTC, ETH),
    rules={BTC: rules(BTC), ETH: rules(ETH)},
    disk_free_mb=10_000,
    alert_channels=("webhook",),
    config_hash="abc",
)


def verdicts(facts: PreflightFacts, settings: Settings = SETTINGS) -> dict[str, Severity]:
    return {finding.name: finding.severity for finding in judged(facts, settings)}


def test_a_good_start_passes_every_check_without_a_warning() -> None:
    findings = judged(GOOD, SETTINGS)
    assert {finding.severity for finding in findings} == {Severity.OK}
    assert not failed(findings)
    assert len({finding.name for finding in findings}) == len(findings) == 17


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(GOOD, unreachable="timed out"), "exchange"),
        (replace(GOOD, offset_s=None), "clock"),
        (replace(GOOD, offset_s=1.0), "clock"),
        (replace(GOOD, offset_s=-1.0), "clock"),
        (replace(GOOD, rights=None), "key rights"),
        (replace(GOOD, rights=KeyRights(False, False, True)), "key may trade"),
        (replace(GOOD, rights=KeyRights(True, True, True)), "key may not withdraw"),
        (replace(GOOD, capital=Decimal("49.99")), "capital"),
        (replace(GOOD, symbols=()), "universe"),
        (replace(GOOD, rules={}), "symbols TRADING"),
        (replace(GOOD, book_problem="corrupt"), "database"),
        (replace(GOOD, backup_problem="read-only"), "backups"),
        (replace(GOOD, env_problem=".env is readable by others"), ".env permissions"),
        (replace(GOOD, disk_free_mb=499), "disk"),
        (replace(GOOD, reconciliation="BTC +0.1"), "reconciliation"),
    ],
)
def test_what_is_wrong_forbids_the_start_and_says_how_to_mend_it(facts: PreflightFacts, name: str) -> None:
    findings = judged(facts, SETTINGS)
    wrong = [finding for finding in findings if finding.severity is Severity.FAIL]
    assert [finding.name for finding in wrong][:1] == [name]
    assert failed(findings)
    assert all(finding.fix for finding in wrong if finding.name != "database")
    assert wrong[0].line().startswith(f"FAIL {name}: ")


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(GOOD, rights=KeyRights(True, None, True)), "key may not withdraw"),
        (replace(GOOD, rights=KeyRights(True, False, False)), "key restricted to IPs"),
        (replace(GOOD, rights=KeyRights(True, False, None)), "key restricted to IPs"),
        (replace(GOOD, rules={BTC: rules(BTC), ETH: rules(ETH, trading=False)}), "symbols TRADING"),
        (replace(GOOD, unproven={BTC: "no_skill"}), "models"),
        (replace(GOOD, alert_channels=()), "alerts"),
        (replace(GOOD, alert_problem="webhook: 404"), "alerts"),
        (replace(GOOD, capital=Decimal("49.99"), positions=1), "capital"),
        (replace(GOOD, waiting="BTC"), "reconciliation"),
        (replace(GOOD, halt="HALTED: kill_switch: me"), "control state"),
    ],
)
def test_what_is_only_doubtful_warns(facts: PreflightFacts, name: str) -> None:
    findings = judged(facts, SETTINGS)
    assert [finding.name for finding in findings if finding.severity is Severity.WARN] == [name]
    assert not failed(findings)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(GOOD, offset_s=0.999), "clock"),
        (replace(GOOD, offset_s=-0.999), "clock"),
        (replace(GOOD, capital=Decimal(50)), "capital"),
        (replace(GOOD, disk_free_mb=500), "disk"),
    ],
)
def test_at_the_limit_the_bot_may_start(facts: PreflightFacts, name: str) -> None:
    assert verdicts(facts)[name] is Severity.OK


def test_a_position_too_small_for_every_symbol_is_refused_and_for_some_is_told() -> None:
    tight = Settings.from_mapping({"risk": {"max_position_size_usdt": 50}})
    small, large = rules(BTC, min_notional="5"), rules(ETH, min_notional="60")
    name = "filters allow positions of 50.00"
    assert verdicts(replace(GOOD, rules={BTC: small, ETH: small}), tight)[name] is Severity.OK
    assert verdicts(replace(GOOD, rules={BTC: small, ETH: large}), tight)[name] is Severity.WARN
    assert verdicts(replace(GOOD, rules={BTC: large, ETH: large}), tight)[name] is Severity.FAIL


def test_discovery_may_bring_all_symbols() -> None:
    none = replace(GOOD, symbols=(), rules={}, unproven={})
    found = Settings.from_mapping({"universe": {"training_symbols": [], "discovery": {"enabled": True}}})
    assert verdicts(none, found)["universe"] is Severity.OK
    assert verdicts(none)["universe"] is Severity.FAIL


def test_absent_keys_are_named() -> None:
    assert missing_keys("k", "s") == ()
    (both,) = missing_keys("", "")
    assert both.severity is Severity.FAIL
    assert both.line() == (
        "FAIL API keys: API keys not configured: BINANCE_API_KEY, BINANCE_API_SECRET -> set BINANCE_API_KEY and "
        "BINANCE_API_SECRET in the environment or in .env (or BINANCE_API_KEY_FILE)"
    )
    (one,) = missing_keys("k", "")
    assert "BINANCE_API_KEY," not in one.seen
    assert "BINANCE_API_SECRET" in one.seen


@given(st.floats(-100, 100), st.decimals(0, 10_000, places=2), st.floats(0, 1e6))
def test_any_numbers_give_a_verdict_that_matches_their_limits(offset: float, capital: Decimal, disk: float) -> None:
    got = verdicts(replace(GOOD, offset_s=offset, capital=capital, disk_free_mb=disk))
    assert (got["clock"] is Severity.OK) == (abs(offset) < 1)
    assert (got["capital"] is Severity.OK) == (capital >= 50)
    assert (got["disk"] is Severity.OK) == (disk >= 500)
