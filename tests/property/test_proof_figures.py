from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, Side
from bn_ml.domain.positions import ExitReason, Leg, Position, PositionStatus
from evidence.book import Book
from evidence.clustering import clustered_mean
from evidence.costs import break_even, waterfall
from evidence.expected_value import promised_against_realised
from evidence.headline import headline, total_return
from evidence.resampling import bootstrap, shuffled_trades
from evidence.sensitivity import sensitivity
from trader.performance import EquityPoint

START = datetime(2024, 3, 4, tzinfo=timezone.utc)
SYMBOL = Symbol("BTC/USDC")
CENT = Decimal("0.01")

cents = st.integers(-2_000, 2_000).map(lambda value: value * CENT)
costs = st.integers(0, 100).map(lambda value: value * CENT)


@st.composite
def books(draw: st.DrawFn) -> tuple[Book, dict[str, Decimal]]:
    """A book whose equity is the capital and the results of its trades, with the price each entry was asked for."""
    results = draw(st.lists(st.tuples(cents, costs, costs), min_size=1, max_size=12))
    closed, fills, curve = [], [], [EquityPoint(START, Decimal(1000))]
    references = {}
    for place, (pnl, fee, slip) in enumerate(results):
        at = START + timedelta(days=place)
        closed.append(_trade(place, at, pnl, fee))
        sold = Decimal(100) + pnl + fee
        fills.append(_fill(Side.BUY, Decimal(100), Decimal(0), f"in-{place}", at))
        fills.append(_fill(Side.SELL, sold, fee, f"out-{place}", at + timedelta(hours=1)))
        references[f"in-{place}"] = Decimal(100) - slip
        curve.append(EquityPoint(at + timedelta(hours=2), curve[-1].equity + pnl))
    book = Book("paper", "test", "USDC", Decimal(1000), tuple(closed), (), tuple(fills), tuple(curve))
    return book, references


def _trade(place: int, at: datetime, pnl: Decimal, fee: Decimal) -> Position:
    level = Decimal(100)
    return Position(
        position_id=f"p-{place}",
        symbol=SYMBOL,
        status=PositionStatus.CLOSED,
        opened_at=at,
        entry_price=level,
        initial_quantity=Decimal(1),
        remaining_quantity=Decimal(0),
        cost_quote=level,
        stop=level,
        target_1=level,
        target_2=level,
        max_price_seen=level,
        fees_quote=fee,
        realized_quote=pnl,
        legs=(Leg(ExitReason.TP1, Decimal(1), level + pnl + fee, pnl, at),),
        closed_at=at + timedelta(hours=1),
    )


def _fill(side: Side, price: Decimal, fee: Decimal, client_id: str, at: datetime) -> Fill:
    return Fill(client_id, client_id, SYMBOL, side, price, Decimal(1), price, fee, "USDC", at)


@settings(max_examples=40)
@given(books())
def test_the_waterfall_is_exact(world: tuple[Book, dict[str, Decimal]]) -> None:
    book, references = world
    found = waterfall(book, references)
    assert found.slippage is not None
    assert found.gross - found.slippage - found.fees - found.dust == found.net
    assert found.net + found.rest == found.change
    assert found.rest == 0


@settings(max_examples=40)
@given(books())
def test_charging_the_break_even_cost_leaves_nothing(world: tuple[Book, dict[str, Decimal]]) -> None:
    book, references = world
    found = break_even(book, references)
    gross = waterfall(book, references).gross
    assert found.cost_per_side is not None
    assert float(gross) - found.cost_per_side * float(found.turnover) == pytest.approx(0, abs=1e-9)


@settings(max_examples=40)
@given(books())
def test_nothing_taken_away_makes_a_return_better(world: tuple[Book, dict[str, Decimal]]) -> None:
    found = sensitivity(world[0])
    ladder = (found.base, found.without_best_1, found.without_best_3, found.without_best_5)
    assert all(before >= after for before, after in pairwise(ladder))
    assert found.fees_doubled <= found.base
    assert found.without_best_day <= found.base + 1e-12


@settings(max_examples=40)
@given(books())
def test_headline_shares_are_shares(world: tuple[Book, dict[str, Decimal]]) -> None:
    found = headline(world[0])
    for share in (found.win_rate, found.positive_day_share, found.max_drawdown):
        assert 0 <= share <= 1
    mean = float(found.expectancy) / 100
    assert found.worst_trade - 1e-12 <= mean <= found.best_trade + 1e-12
    assert float(found.expectancy) * found.trade_count / 1000 == pytest.approx(found.total_return, abs=1e-12)


@settings(max_examples=25)
@given(books(), st.integers(0, 1000))
def test_shuffling_trades_never_hides_a_loss(world: tuple[Book, dict[str, Decimal]], seed: int) -> None:
    book = world[0]
    found = shuffled_trades(book, seed=seed, draws=20)
    if found.median is None or found.quantile_95 is None:
        assert found.why
        return
    assert 0 <= found.median <= found.quantile_95
    assert found.quantile_95 >= min(0.0, -total_return(book))


@settings(max_examples=25)
@given(st.lists(st.floats(-0.2, 0.2), min_size=10, max_size=40), st.integers(0, 1000))
def test_bootstrapped_returns_stay_between_the_worst_and_best_possible(daily: Sequence[float], seed: int) -> None:
    found = bootstrap(daily, seed=seed, draws=30)
    assert found.total_return is not None
    worst, best = ((1 + value) ** len(daily) - 1 for value in (min(daily), max(daily)))
    assert worst - 1e-9 <= found.total_return.low <= found.total_return.high <= best + 1e-9


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 8)), min_size=1, max_size=40))
def test_clusters_may_come_in_any_order_and_by_any_name(pairs: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in pairs])
    names = np.array([name for _, name in pairs])
    one = clustered_mean(values, names)
    other = clustered_mean(values[::-1], 100 - 7 * names[::-1])
    assert one.mean == pytest.approx(other.mean, abs=1e-12)
    assert one.clusters == other.clusters
    if one.error is not None and other.error is not None and one.error > 1e-9:
        assert one.error == pytest.approx(other.error, rel=1e-6)


@settings(max_examples=40)
@given(books(), st.lists(st.floats(-0.05, 0.05), min_size=12, max_size=12))
def test_tenths_hold_every_trade_once_and_keep_the_means(
    world: tuple[Book, dict[str, Decimal]], said: list[float]
) -> None:
    closed = world[0].closed
    found = promised_against_realised(closed, {item.position_id: said[k] for k, item in enumerate(closed)})
    assert sum(tenth.trades for tenth in found.tenths) == found.trades == len(closed)
    weighted = sum(tenth.trades * tenth.promised for tenth in found.tenths) / found.trades
    assert weighted == pytest.approx(found.promised, abs=1e-12)
    assert all(left.promised <= right.promised + 1e-15 for left, right in pairwise(found.tenths))
