from __future__ import annotations

import pytest
from proof_builders import a_book, a_fill, a_trade

from bn_ml.domain.orders import Side
from evidence.sensitivity import sensitivity


def test_doubled_fees_cost_every_fee_once_more() -> None:
    fills = [a_fill(), a_fill(Side.SELL, price="102"), a_fill(price="50", fee="0.01", fee_asset="BTC")]
    found = sensitivity(a_book(("1000", "1010"), fills=fills))
    assert found.base == pytest.approx(0.01)
    assert found.fees_doubled == pytest.approx(0.01 - (0.1 + 0.1 + 0.5) / 1000)


def test_the_best_trades_are_taken_away() -> None:
    results = ["5", "-1", "9", "2", "1", "4", "-3"]
    found = sensitivity(a_book(("1000", "1017"), closed=[a_trade(result) for result in results]))
    assert found.without_best_1 == pytest.approx(0.008)
    assert found.without_best_3 == pytest.approx(-0.001)
    assert found.without_best_5 == pytest.approx(-0.004)


def test_losing_trades_are_never_taken_away() -> None:
    found = sensitivity(a_book(("1000", "998"), closed=[a_trade("1"), a_trade("-3")]))
    assert found.without_best_1 == found.without_best_5 == pytest.approx(-0.003)


def test_the_best_day_is_taken_away() -> None:
    found = sensitivity(a_book(("1000", "1100", "1045", "1045")))
    assert found.without_best_day == pytest.approx(0.95 - 1)
    losing = sensitivity(a_book(("1000", "990", "980")))
    assert losing.without_best_day == losing.base


def test_one_bar_later_comes_from_a_second_run() -> None:
    found = sensitivity(a_book())
    assert found.later is None
    assert found.with_later(-0.02).later == -0.02
    assert sensitivity(a_book(), later=0.5).later == 0.5
