"""An open position as a viewer sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.state_reader import PositionRow
from monitoring.views_positions import Holding, Shield, holdings_of, loss_if_all_fall, prices_of

AT = datetime(2024, 3, 2, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")


def a_row(symbol: Symbol = BTC, *, stop: float = 95.0, **extra: object) -> PositionRow:
    known: Mapping[str, object] = {"remaining_base_qty": 2.0, "stop_order_id": "s-1", "fees_usdt": 0.2, **extra}
    return PositionRow(symbol, "LONG", 200.0, 100.0, stop, 110.0, 120.0, AT, "OPEN", known)


def held(row: PositionRow, price: float | None = 105.0, *, on_exchange: bool = True) -> Holding:
    prices = {} if price is None else {str(row.symbol): (price, "newest scan")}
    (found,) = holdings_of([row], prices, timedelta(hours=24), AT + timedelta(hours=23), on_exchange=on_exchange)
    return found


def test_gain_risk_units_and_time_left_are_of_the_last_price() -> None:
    shown = held(a_row())
    assert shown.unrealized == pytest.approx(10.0)
    assert shown.risk_units == pytest.approx(1.0)
    assert shown.time_left_s == 3600.0
    assert shown.shield is Shield.RESTING


def test_without_a_price_nothing_is_guessed() -> None:
    shown = held(a_row(), None)
    assert math.isnan(shown.unrealized)
    assert math.isnan(shown.distance(shown.stop))
    assert shown.worth == 200.0
    assert "now" not in shown.places()


def test_protection_is_told_as_it_is() -> None:
    assert held(a_row(), on_exchange=False).shield is Shield.SIMULATED
    assert held(a_row(stop_order_id=None)).shield is Shield.MISSING
    assert held(a_row(stop_order_id=None, remaining_base_qty=0.1, dust_qty=0.1)).shield is Shield.DUST


def test_the_unprotected_position_comes_first() -> None:
    rows = [a_row(), a_row(Symbol("ETH/USDC"), stop_order_id=None)]
    prices = {"BTC/USDC": (95.1, ""), "ETH/USDC": (119.0, "")}
    shown = holdings_of(rows, prices, timedelta(hours=24), AT, on_exchange=True)
    assert [item.symbol for item in shown] == ["ETH/USDC", "BTC/USDC"]


def test_the_accounts_own_bid_goes_before_the_scans_price() -> None:
    scan = {"rows": [{"symbol": "BTC/USDC", "price": 99.0}, {"symbol": "ETH/USDC", "price": None}]}
    assert prices_of({"marks": {"BTC/USDC": "101.5"}}, scan) == {"BTC/USDC": (101.5, "bid at the last cycle")}


@given(price=st.floats(1.0, 1000.0), stop=st.floats(1.0, 1000.0))
def test_every_level_lies_on_the_bar(price: float, stop: float) -> None:
    places = held(a_row(stop=stop), price).places()
    assert set(places) == {"stop", "entry", "now", "TP1", "TP2"}
    assert all(0.0 <= place <= 1.0 for place in places.values())


@given(price=st.floats(1.0, 1000.0), stop=st.floats(1.0, 1000.0), fall=st.floats(0.0, 1.0))
def test_stops_never_make_a_fall_dearer(price: float, stop: float, fall: float) -> None:
    with_stops, without = loss_if_all_fall([held(a_row(stop=stop), price)], fall)
    assert 0.0 <= with_stops <= without + 1e-6
