from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from proof_builders import a_book, a_fill, a_trade

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Side
from bn_ml.settings import Settings
from evidence.book import Book
from evidence.entry_notes import EntryNotes
from evidence.plain_figures import plain, plain_fields
from evidence.proof import Given, prove
from tests.fakes.bar_builders import BTC, START, some_bars

ETH = Symbol("ETH/USDC")
BARS = {BTC: some_bars(1300), ETH: some_bars(1300, symbol=ETH, seed=1)}


def a_run() -> Book:
    """Twelve days, twelve trades."""
    trades = [
        a_trade(str((-1) ** k * k / 10), name=f"p-{k}", at=START + timedelta(days=k), symbol=(BTC, ETH)[k % 2])
        for k in range(12)
    ]
    equities = [str(1000 + (-1) ** k * k) for k in range(13)]
    sides = (Side.BUY, Side.SELL)
    fills = [a_fill(sides[k % 2], client_id=f"c-{k}", at=START + timedelta(hours=12 * k)) for k in range(24)]
    return a_book(equities, closed=trades, fills=fills, exposure=(0.1,) * 12)


def test_a_proof_joins_all_figures_as_json() -> None:
    notes = EntryNotes({"p-1": 0.01}, {"c-0": Decimal(99)})
    trial_returns = np.random.default_rng(0).normal(size=(40, 3))
    given = Given((BTC, ETH), notes, trial_returns, -0.5, runs=20)
    found = prove(a_run(), BARS, Settings(), seed=4, trials=3, given=given)
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["headline"]["trade_count"] == 12
    assert content["random_entry"]["runs"] == 20
    assert content["random_entry"]["strict_p_value"] == found.random_entry.strict_p_value
    assert content["holding"]["benchmark"]["symbols"] == ["BTC/USDC"]
    assert content["costs"]["slippage"] == 1
    assert content["sensitivity"]["later"] == -0.5
    assert content["selection_luck"]["trials"] == 3
    assert content["selection_luck"]["overfitting"] is not None
    assert (content["expected_value"]["trades"], content["expected_value"]["unknown"]) == (1, 11)
    assert content["seed"] == 4


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = (prove(a_run(), BARS, Settings(), seed=4, given=Given(runs=20)).as_dict() for _ in range(2))
    assert json.dumps(first) == json.dumps(again)


def test_an_empty_book_proves_nothing_and_says_so() -> None:
    found = prove(a_book(("1000", "1000")), {}, Settings(), seed=1)
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    for name in ("random_entry", "bootstrap", "shuffled_trades", "selection_luck", "expected_value"):
        assert content[name]["why"]
    assert content["random_entry"]["p_value"] is None
    assert content["holding"] == {"equal": None, "benchmark": None, "left_out": []}


def test_the_order_in_which_bars_are_given_does_not_matter() -> None:
    turned = {symbol: BARS[symbol] for symbol in (ETH, BTC)}
    given = Given(runs=20)
    found = [prove(a_run(), bars, Settings(), seed=4, given=given).as_dict() for bars in (BARS, turned)]
    assert found[0] == found[1]


def test_plain_figures_hold_no_infinity_and_refuse_strangers() -> None:
    assert plain([float("nan"), float("-inf"), Decimal("Infinity"), True, None, 2]) == [None, None, None, True, None, 2]
    assert plain(START) == "2024-03-04T00:00:00.000Z"
    assert plain(Side.BUY) == "BUY"
    with pytest.raises(TypeError, match="no figure: object"):
        plain(object())
    with pytest.raises(TypeError, match="dataclass"):
        plain_fields(3)


def test_figures_do_not_change_with_what_was_traded_elsewhere() -> None:
    more = {**BARS, Symbol("SOL/USDC"): some_bars(1300, symbol=Symbol("SOL/USDC"), seed=2)}
    one, two = (prove(a_run(), bars, Settings(), seed=4, given=Given(runs=20)) for bars in (BARS, more))
    assert one.random_entry == two.random_entry
    assert replace(one, holding=two.holding) == two
