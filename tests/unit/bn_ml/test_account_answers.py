"""What the venue says of the account, its key and its commissions, read strictly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bn_ml.account_answers import account_flags, api_permissions, balances, commission
from bn_ml.answer_fields import Garbled
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Side

BTC = Symbol("BTC/USDC")


def a_rate(maker: str, taker: str, buyer: str, seller: str) -> dict[str, str]:
    return {"maker": maker, "taker": taker, "buyer": buyer, "seller": seller}


def told(**parts: Any) -> dict[str, Any]:
    return {"symbol": "BTCUSDC", **parts}


def test_each_side_pays_the_rates_of_its_role_and_its_side_in_every_part_there_is() -> None:
    rates = commission(
        told(standardCommission=a_rate("0.001", "0.002", "0.0003", "0.0004"), taxCommission=a_rate("1", "2", "3", "4")),
        BTC,
    )
    assert rates.symbol == BTC
    assert rates.maker == {Side.BUY: Decimal("4.0013"), Side.SELL: Decimal("5.0014")}
    assert rates.taker == {Side.BUY: Decimal("5.0023"), Side.SELL: Decimal("6.0024")}
    special = commission(told(specialCommission=a_rate("0.1", "0.2", "0", "0")), BTC)
    assert (special.maker[Side.SELL], special.taker[Side.BUY]) == (Decimal("0.1"), Decimal("0.2"))


@pytest.mark.parametrize(
    ("for_account", "for_symbol", "asset"),
    [(True, True, "BNB"), (False, True, ""), (True, False, ""), (False, False, "")],
)
def test_a_discount_counts_where_account_and_symbol_have_it(for_account: bool, for_symbol: bool, asset: str) -> None:
    discount = {"enabledForAccount": for_account, "enabledForSymbol": for_symbol, "discountAsset": "BNB"}
    rates = commission(told(standardCommission=a_rate("0", "0", "0", "0"), discount=discount), BTC)
    assert rates.discount_asset == asset


def test_without_a_word_of_a_discount_there_is_none() -> None:
    assert commission(told(standardCommission=a_rate("0", "0", "0", "0")), BTC).discount_asset == ""


@pytest.mark.parametrize(
    "value",
    [
        told(),
        told(discount={"enabledForAccount": True, "enabledForSymbol": True, "discountAsset": "BNB"}),
        told(standardCommission=a_rate("0.1", "0.1", "0.1", "-0.1")),
        told(standardCommission={"maker": "0"}),
        {"symbol": "ETHUSDC", "standardCommission": a_rate("0", "0", "0", "0")},
    ],
)
def test_commissions_that_are_missing_or_of_another_symbol_are_not_read_as_none(value: object) -> None:
    with pytest.raises(Garbled):
        commission(value, BTC)


def test_what_is_held_is_free_and_locked_and_never_told_twice() -> None:
    held = [
        {"asset": "BTC", "free": "0", "locked": "0.5"},
        {"asset": "USDC", "free": "7.5", "locked": "0"},
        {"asset": "ETH", "free": "0", "locked": "0"},
    ]
    found = balances({"balances": held})
    assert {asset: (item.free, item.locked) for asset, item in found.items()} == {
        "BTC": (0, Decimal("0.5")),
        "USDC": (Decimal("7.5"), 0),
    }
    with pytest.raises(Garbled, match="BTC stands twice"):
        balances({"balances": [*held, held[0]]})
    assert balances({"balances": [held[2], held[2]]}) == {}


def test_an_account_without_a_number_has_number_zero() -> None:
    value = {"canTrade": True, "canWithdraw": False, "canDeposit": True, "accountType": "SPOT"}
    flags = account_flags(value)
    assert (flags.can_trade, flags.can_withdraw, flags.can_deposit, flags.uid) == (True, False, True, 0)
    assert account_flags({**value, "uid": 3, "canTrade": False, "canDeposit": False}).uid == 3
    for name in value:
        with pytest.raises(Garbled, match=name):
            account_flags({key: item for key, item in value.items() if key != name})


@pytest.mark.parametrize("name", ["enableReading", "enableSpotAndMarginTrading", "enableWithdrawals", "ipRestrict"])
def test_each_right_of_the_key_is_read_for_itself(name: str) -> None:
    none = dict.fromkeys(("enableReading", "enableSpotAndMarginTrading", "enableWithdrawals", "ipRestrict"), False)
    rights = api_permissions({**none, name: True})
    flags = (rights.may_read, rights.may_trade_spot, rights.may_withdraw, rights.is_ip_restricted)
    assert flags == tuple(key == name for key in none)
    with pytest.raises(Garbled, match=name):
        api_permissions({key: item for key, item in none.items() if key != name})
