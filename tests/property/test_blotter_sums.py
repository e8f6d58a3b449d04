"""Sums of the blotter over any history: positions, costs, pages, heat and candles lose nothing and add nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Timeframe
from bn_ml.prediction_log import BAR_MS, PredictionRecord
from monitoring.lazy_rows import LazyRows
from monitoring.stored_bars import candles_of
from monitoring.views_metrics import quantile
from monitoring.views_opportunities import heat_of, ribbon_of
from monitoring.views_trades import TradeLine, by_reason, cost_steps, round_trips, totals_of, trade_line
from tests.fakes.bar_builders import some_bars
from tests.fakes.panel_books import BTC, a_trade

SIDES = st.sampled_from(["BUY", "SELL"])
PRICES = st.floats(1.0, 1000.0)
ASSETS = st.sampled_from(["USDC", "BTC", "BNB"])
TRADES = st.lists(st.tuples(SIDES, st.sampled_from(["BTC/USDC", "ETH/USDC"]), PRICES, ASSETS), max_size=40)


def lines_of(trades: list[tuple[str, str, float, str]]) -> list[TradeLine]:
    return [
        trade_line(a_trade(place + 1, side, symbol=symbol, price=price, extra={"fee_asset": asset}))
        for place, (side, symbol, price, asset) in enumerate(trades)
    ]


@settings(max_examples=100, deadline=None)
@given(TRADES)
def test_closed_positions_hold_each_sale_at_most_once_and_the_steps_add_up(
    trades: list[tuple[str, str, float, str]],
) -> None:
    lines = lines_of(trades)
    trips = round_trips(lines, frozenset())
    steps = cost_steps(trips)
    assert steps.gross - steps.slippage - steps.fees == pytest.approx(steps.net, abs=1e-9)
    in_trips = sum(trip.pnl_quote for trip in trips)
    orphans = 0.0
    for symbol in {line.symbol for line in lines}:
        own = [line for line in lines if line.symbol == symbol]
        first_buy = next((place for place, line in enumerate(own) if not line.is_sale), len(own))
        orphans += sum(line.pnl_quote for line in own[:first_buy])
    assert in_trips + orphans == pytest.approx(totals_of(lines).pnl_quote, abs=1e-6)
    assert all(trip.opened_at <= trip.closed_at for trip in trips)


@settings(max_examples=100, deadline=None)
@given(TRADES)
def test_reasons_share_all_sales_and_totals_are_the_sum_of_their_parts(
    trades: list[tuple[str, str, float, str]],
) -> None:
    lines = lines_of(trades)
    totals, reasons = totals_of(lines), by_reason(lines)
    assert sum(reason.sales for reason in reasons) == totals.sales
    assert math.fsum(reason.share for reason in reasons) == pytest.approx(1.0 if totals.sales else 0.0)
    parts = [totals_of([line]) for line in lines]
    assert totals.fees_quote == pytest.approx(math.fsum(part.fees_quote for part in parts))
    assert totals.trades == totals.buys + totals.sales
    assert totals.wins + totals.losses <= totals.sales


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(), max_size=60), st.integers(0, 70), st.integers(0, 70))
def test_a_page_of_rows_is_written_and_no_other(items: list[int], start: int, stop: int) -> None:
    written: list[int] = []

    def write(item: int) -> tuple[int]:
        written.append(item)
        return (item,)

    rows = LazyRows(items, write)
    assert len(rows) == len(items)
    assert rows[start:stop] == [(item,) for item in items[start:stop]]
    assert written == items[start:stop]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), unique=True, max_size=60), st.integers(1, 450), st.integers(1, 120))
def test_heat_keeps_the_mean_of_every_bar_of_the_span(places: list[int], bars: int, most: int) -> None:
    records = [_said(place, place / 400) for place in sorted(places)]
    heat = heat_of({"BTC/USDC": records}, {"BTC/USDC": 0.0}, since_ms=0, until_ms=bars * BAR_MS, most=most)
    assert len(heat.starts) <= most
    assert len(heat.values[0]) == len(heat.starts)
    inside = [record.buy for record in records if record.close_ms < bars * BAR_MS]
    known = [value for value in heat.values[0] if math.isfinite(value)]
    assert bool(known) == bool(inside)
    if inside:
        assert min(inside) - 1e-9 <= min(known)
        assert max(known) <= max(inside) + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2000), unique=True, min_size=1, max_size=80), st.integers(1, 100))
def test_a_line_of_probabilities_sums_to_1_and_keeps_its_order(places: list[int], most: int) -> None:
    ribbon = ribbon_of([_said(place, place / 2000) for place in sorted(places)], most=most)
    assert list(ribbon.times) == sorted(ribbon.times)
    for sell, hold, buy in zip(ribbon.sell, ribbon.hold, ribbon.buy, strict=True):
        assert math.isnan(buy) or sell + hold + buy == pytest.approx(1.0)
    assert len([value for value in ribbon.buy if math.isfinite(value)]) <= most + 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 100), st.integers(0, 5))
def test_candles_keep_first_open_last_close_and_every_extreme(count: int, most: int, seed: int) -> None:
    bars = some_bars(count, seed=seed)
    candles = candles_of(bars, most)
    assert 1 <= len(candles.times) <= most
    assert candles.step_ms % Timeframe.M15.ms == 0
    assert (candles.open[0], candles.close[-1]) == (bars.open[0], bars.close[-1])
    assert (max(candles.high), min(candles.low)) == (bars.high.max(), bars.low.min())
    for o, high, low, c in zip(candles.open, candles.high, candles.low, candles.close, strict=True):
        assert low <= min(o, c)
        assert max(o, c) <= high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.0, 1.0))
def test_a_quantile_has_its_share_at_or_below_it(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9


def _said(place: int, buy: float) -> PredictionRecord:
    rest = (1 - buy) / 2
    return PredictionRecord(BTC, place * BAR_MS, 1, rest, rest, buy, 0.0, 0.0, "HOLD", None, "[]", "live")
