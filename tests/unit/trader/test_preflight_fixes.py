"""What a preflight finding says to do, and the finding for a key the exchange does not take."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from test_preflight import BTC, ETH, GOOD, SETTINGS, rules

from bn_ml.domain.market import Symbol
from bn_ml.errors import ExchangeError
from bn_ml.settings import Settings
from trader.preflight import Finding, KeyRights, PreflightFacts, Severity, failed, judged, missing_keys, rejected_key

HALF = {"capital_active_ratio": 0.5, "reserve_ratio": 0.4, "cash_buffer_ratio": 0.1}


def told(facts: PreflightFacts, name: str, settings: Settings = SETTINGS) -> Finding:
    (found,) = (item for item in judged(facts, settings) if item.name == name)
    return found


def test_a_key_the_exchange_refuses_forbids_the_start() -> None:
    findings = rejected_key(ExchangeError("-2015 Invalid API-key, IP, or permissions for action."))
    assert failed(findings)
    assert "-2015" in findings[0].seen
    assert "exchange.testnet" in findings[0].fix


def test_a_finding_without_a_problem_offers_no_fix() -> None:
    assert Finding("disk", Severity.OK, "much", "free disk space").line() == "OK   disk: much"
    assert Finding("disk", Severity.WARN, "little", "free disk space").line() == "WARN disk: little -> free disk space"
    assert Finding("disk", Severity.FAIL, "none").line() == "FAIL disk: none"


def test_a_warning_alone_lets_the_bot_start() -> None:
    assert not failed((Finding("a", Severity.OK, ""), Finding("b", Severity.WARN, "")))
    assert failed((Finding("a", Severity.OK, ""), Finding("b", Severity.FAIL, "")))
    assert not failed(())


@pytest.mark.parametrize(
    ("exchange", "host"),
    [({}, "binance"), ({"testnet": True}, "testnet"), ({"base_url": "http://127.0.0.1:9"}, "http://127.0.0.1:9")],
)
def test_the_exchange_that_answers_is_named(exchange: dict[str, object], host: str) -> None:
    assert told(GOOD, "exchange", Settings.from_mapping({"exchange": exchange})).seen == f"{host} answers"


@pytest.mark.parametrize(
    ("limits", "largest"),
    [
        ({"max_position_size_usdt": 50}, "50.00"),
        ({"max_position_size_usdt": 400, "max_position_pct_active": 0.1, **HALF}, "50.00"),
        ({"max_position_size_usdt": 400, "max_position_pct_active": 0.9, "max_symbol_exposure_pct": 0.07}, "70.00"),
    ],
)
def test_the_largest_position_is_the_least_that_any_limit_allows(limits: dict[str, object], largest: str) -> None:
    settings = Settings.from_mapping({"risk": limits})
    names = {item.name for item in judged(GOOD, settings)}
    assert f"filters allow positions of {largest}" in names


@pytest.mark.parametrize(("least", "severity"), [("49.20", Severity.OK), ("49.21", Severity.FAIL)])
def test_a_position_must_leave_a_stop_above_the_minimum_after_the_fee(least: str, severity: Severity) -> None:
    settings = Settings.from_mapping(
        {"risk": {"max_position_size_usdt": 50, "fees_pct": 0.001, "stop_loss_pct": 0.015}}
    )
    facts = replace(GOOD, symbols=(BTC,), rules={BTC: rules(BTC, min_notional=least)})
    assert told(facts, "filters allow positions of 50.00", settings).severity is severity


def test_symbols_that_do_not_trade_are_named_and_not_measured() -> None:
    halted = replace(GOOD, rules={BTC: rules(BTC), ETH: rules(ETH, trading=False)})
    assert told(halted, "symbols TRADING").seen == "not ETH/USDC"
    unknown = replace(GOOD, rules={BTC: rules(BTC)})
    assert told(unknown, "symbols TRADING").severity is Severity.WARN
    assert [item.severity for item in judged(unknown, SETTINGS) if item.name.startswith("filters")] == [Severity.OK]


def test_named_symbols_are_judged_even_where_more_may_be_discovered() -> None:
    found = Settings.from_mapping({"universe": {"discovery": {"enabled": True}}})
    assert told(GOOD, "symbols TRADING", found).seen == "all 2"


def test_symbols_that_only_hold_are_named_in_order_with_their_reason() -> None:
    held = replace(GOOD, unproven={ETH: "no_skill", BTC: "no_bundle"})
    assert told(held, "models").seen == "HOLD for BTC/USDC (no_bundle), ETH/USDC (no_skill)"
    assert told(GOOD, "models").severity is Severity.OK


def test_a_key_that_may_withdraw_or_not_trade_says_how_to_change_it() -> None:
    bad = replace(GOOD, rights=KeyRights(may_trade=False, may_withdraw=True, ip_restricted=False))
    assert told(bad, "key may trade").fix == "enable spot trading for the key"
    assert told(bad, "key may not withdraw").fix == "disable withdrawals for the key"
    assert told(bad, "key restricted to IPs").fix == "restrict the key to your IP"


def test_the_capital_is_shown_beside_what_is_free_and_what_is_needed() -> None:
    facts = replace(GOOD, capital=Decimal("12.345"), quote_free=Decimal("99.999"))
    assert told(facts, "capital").seen == "12.34 USDC to trade with, 100.00 free on the account, minimum 50.0"


def test_absent_keys_name_the_file_variable_of_the_first() -> None:
    (one,) = missing_keys("k", "")
    assert one.fix == "set BINANCE_API_SECRET in the environment or in .env (or BINANCE_API_SECRET_FILE)"
    assert missing_keys("", "s")[0].fix == "set BINANCE_API_KEY in the environment or in .env (or BINANCE_API_KEY_FILE)"


def test_a_symbol_is_only_too_small_where_its_rules_are_known() -> None:
    facts = replace(GOOD, symbols=(BTC, Symbol("XYZ/USDC")), rules={BTC: rules(BTC, min_notional="900")})
    assert [item.severity for item in judged(facts, SETTINGS) if item.name.startswith("filters")] == [Severity.WARN]


def test_a_book_that_cannot_be_used_says_itself_what_to_do() -> None:
    broken = told(replace(GOOD, book_problem="bn_ml.db: held by process 7; stop that bot"), "database")
    assert broken.line() == "FAIL database: bn_ml.db: held by process 7; stop that bot"
