from __future__ import annotations

from datetime import timedelta

import pytest
from proof_builders import DAY, START, a_trade

from bn_ml.domain.positions import Position
from evidence.expected_value import promised_against_realised


def trades(count: int) -> list[Position]:
    """Trade k of day k earns k tenths of a percent."""
    return [a_trade(str(place / 10), name=f"p-{place}", at=START + place * DAY) for place in range(count)]


def test_kept_promises_have_slope_one_and_no_difference() -> None:
    closed = trades(20)
    found = promised_against_realised(closed, {item.position_id: k / 1000 for k, item in enumerate(closed)})
    assert found.slope == pytest.approx(1)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0)
    assert found.promised == pytest.approx(found.realised)
    assert [tenth.trades for tenth in found.tenths] == [2] * 10
    assert [tenth.promised for tenth in found.tenths] == pytest.approx([tenth.realised for tenth in found.tenths])


def test_tenths_run_from_the_lowest_promise_to_the_highest() -> None:
    closed = trades(20)
    found = promised_against_realised(closed, {item.position_id: -k / 1000 for k, item in enumerate(closed)})
    assert found.slope == pytest.approx(-1)
    assert found.tenths[0].promised == pytest.approx(-0.0185)
    assert found.tenths[0].realised == pytest.approx(0.0185)


def test_broken_promises_show_with_day_clustered_errors() -> None:
    closed = [a_trade(str(-1 + k % 3 / 10), name=f"p-{k}", at=START + k * timedelta(hours=6)) for k in range(40)]
    found = promised_against_realised(closed, {item.position_id: 0.01 for item in closed})
    assert found.difference is not None
    assert found.difference.clusters == 10
    assert found.difference.t is not None
    assert found.difference.t < -10
    assert found.slope is None


def test_fewer_trades_than_tenths_make_fewer_parts() -> None:
    closed = trades(3)
    assert len(promised_against_realised(closed, {item.position_id: 0.1 for item in closed}).tenths) == 3


def test_nothing_to_compare_says_why() -> None:
    assert promised_against_realised([], {}).why == "no trade was closed"
    found = promised_against_realised(trades(2), {"other": 0.1})
    assert (found.trades, found.unknown, found.promised) == (0, 2, None)
    assert found.why is not None
    assert "line of expected value" in found.why
    assert promised_against_realised(trades(3), {"p-1": 0.1}).unknown == 2
