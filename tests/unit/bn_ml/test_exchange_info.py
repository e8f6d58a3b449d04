from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError
from bn_ml.exchange_info import parse_exchange_info, parse_symbol, read_exchange_info
from tests.fakes.loopback_exchange import symbol_record

OLD_FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "100", "tickSize": "0.01000000"},
    {"filterType": "PERCENT_PRICE", "multiplierUp": "3", "multiplierDown": "0.3"},
    {"filterType": "LOT_SIZE", "minQty": "10.0", "maxQty": "9000", "stepSize": "10.00000000"},
    {"filterType": "MIN_NOTIONAL", "minNotional": "20.00000000", "applyToMarket": False},
    {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 7},
]


def test_present_filter_names_become_rules() -> None:
    rules = parse_symbol(symbol_record("BTC", "USDC"))
    assert (rules.symbol, rules.tick, rules.step) == ("BTC/USDC", Decimal("0.01"), Decimal("0.00001"))
    assert (rules.min_notional, rules.max_notional) == (5, 9_000_000)
    assert (rules.market_step, rules.market_max_quantity) == (0, 97)
    assert (rules.max_algo_orders, rules.max_trailing_delta, rules.ask_multiplier_up) == (5, 2000, 5)
    assert rules.trading


def test_old_filter_names_become_the_same_rules() -> None:
    rules = parse_symbol(symbol_record("ADA", "USDT") | {"filters": OLD_FILTERS})
    assert str(rules.step) == "10"
    assert (rules.min_notional, rules.notional_applies_to_market) == (20, False)
    assert (rules.bid_multiplier_up, rules.ask_multiplier_down) == (3, Decimal("0.3"))
    assert rules.max_algo_orders == 7


def test_what_a_symbol_takes_is_read_and_taken_for_granted_where_nothing_is_said() -> None:
    record = symbol_record("BTC", "USDC")
    little = {
        "orderTypes": ["LIMIT", "MARKET", "STOP_LOSS_LIMIT"],
        "ocoAllowed": False,
        "cancelReplaceAllowed": False,
        "allowTrailingStop": False,
    }
    rules = parse_symbol(record | little)
    takes = (rules.stops_allowed, rules.lists_allowed, rules.replace_allowed, rules.trailing_allowed)
    assert takes == (False, False, False, False)
    silent = {name: item for name, item in record.items() if name not in little}
    rules = parse_symbol(silent)
    assert (rules.stops_allowed, rules.lists_allowed, rules.replace_allowed, rules.trailing_allowed) == (True,) * 4


@pytest.mark.parametrize(("basis_points", "allowed"), [(9, False), (10, True), (2000, True), (2001, False)])
def test_a_trailing_distance_must_lie_within_its_filter(basis_points: int, allowed: bool) -> None:
    assert parse_symbol(symbol_record("BTC", "USDC")).may_trail(basis_points) is allowed


@pytest.mark.parametrize("status", ["HALT", "BREAK", "END_OF_DAY", "CANCEL_ONLY"])
def test_a_symbol_not_in_trading_is_marked(status: str) -> None:
    assert not parse_symbol(symbol_record("BTC", "USDC") | {"status": status}).trading


@pytest.mark.parametrize(
    "bogus",
    [
        {"symbol”:”TOKENSTAKE”,”status": "TRADING"},
        symbol_record("BTC", "USDC") | {"symbol": "ETHUSDC"},
        symbol_record("BTC", "USDC") | {"filters": []},
        symbol_record("BTC", "USDC") | {"filters": "none"},
        symbol_record("BTC", "USDC") | {"filters": [{**OLD_FILTERS[0], "tickSize": "cheap"}, *OLD_FILTERS[1:]]},
        symbol_record("BTC", "USDC") | {"filters": [{**OLD_FILTERS[0], "tickSize": "0"}, *OLD_FILTERS[1:]]},
        "no record at all",
    ],
)
def test_a_record_without_sense_is_skipped_and_named(bogus: object) -> None:
    info = parse_exchange_info({"symbols": [bogus, symbol_record("ETH", "USDC")]})
    assert set(info.rules) == {Symbol("ETH/USDC")}
    assert len(info.skipped) == 1
    assert info.skipped[0].startswith("record 0 (")


def test_leveraged_tokens_are_named() -> None:
    record = symbol_record("BTCUP", "USDT") | {"permissions": ["LEVERAGED"]}
    assert parse_exchange_info({"symbols": [record]}).leveraged == {Symbol("BTCUP/USDT")}


@pytest.mark.parametrize("text", ["[]", "{}", '{"symbols": 3}', "{"])
def test_what_is_no_exchange_info_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "info.json"
    path.write_text(text)
    with pytest.raises(MarketDataError):
        read_exchange_info(path)


def test_a_recorded_answer_reads_whole(market_data: Path) -> None:
    info = read_exchange_info(market_data / "exchange_info" / "exchangeInfo-spot-2023-08-13.json.gz")
    assert len(info.rules) == 2276
    assert info.skipped == ()
    assert json.dumps(str(info.rules[Symbol("BTC/USDT")].tick)) == '"0.01"'
