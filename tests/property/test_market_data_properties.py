from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import MarketRules, Symbol, Timeframe
from data_manager.bar_cache import BarCache
from data_manager.bars import Bars
from data_manager.data_cleaner import clean
from data_manager.history import HistoryStore
from data_manager.modelled_quotes import Turnover, modelled_quote
from data_manager.resampling import resample
from data_manager.sources.replay import ReplaySource
from data_manager.sources.synthetic import SyntheticSource
from data_manager.sources.synthetic_world import BLOCK_MS, ORIGIN_MS
from data_manager.stored_rules import derived_rules
from tests.fakes.bar_builders import BTC, START_MS, clock_at, same_bars, some_bars

QUARTER = Timeframe.M15.ms
LONGER = [Timeframe.H1, Timeframe.H4, Timeframe.D1]
WORLD = SyntheticSource(clock_at(ORIGIN_MS + 4 * BLOCK_MS), [BTC])


def holed(count: int, seed: int, share: float) -> Bars:
    bars = some_bars(count, seed=seed)
    kept = np.random.default_rng(seed).random(count) >= share
    kept[0] = True
    return bars.take(kept)


@given(count=st.integers(1, 400), seed=st.integers(0, 99), share=st.floats(0, 0.6), timeframe=st.sampled_from(LONGER))
def test_resampling_equals_aggregating_by_hand(count: int, seed: int, share: float, timeframe: Timeframe) -> None:
    bars = holed(count, seed, share)
    made = resample(bars, timeframe)
    periods = bars.open_time // timeframe.ms
    ended = [p for p in np.unique(periods) if (p + 1) * timeframe.ms <= bars.close_time[-1]]
    assert made.open_time.tolist() == [int(p) * timeframe.ms for p in ended]
    for place, period in enumerate(ended):
        rows = periods == period
        assert made.open[place] == bars.open[rows][0]
        assert made.close[place] == bars.close[rows][-1]
        assert made.high[place] == bars.high[rows].max()
        assert made.low[place] == bars.low[rows].min()
        assert np.isclose(made.volume[place], bars.volume[rows].sum(), rtol=1e-12)
        assert made.trades[place] == bars.trades[rows].sum()


@settings(deadline=None)
@given(
    minutes=st.integers(-100, 9000), timeframe=st.sampled_from([Timeframe.M15, *LONGER]), extra=st.integers(0, 59_999)
)
def test_a_replay_never_answers_with_an_unclosed_bar(minutes: int, timeframe: Timeframe, extra: int) -> None:
    now_ms = START_MS + minutes * 60_000 + extra
    with TemporaryDirectory() as folder:
        HistoryStore(folder).write(holed(500, 7, 0.1))
        source = ReplaySource(folder, clock_at(now_ms))
        bars = source.bars(BTC, timeframe, 0, 2**60)
        assert np.all(bars.close_time <= now_ms)
        assert np.all(source.path(BTC, 0, 2**60).close_time <= now_ms)


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 450), seed=st.integers(0, 20), share=st.floats(0, 0.5))
def test_n_bars_means_n_wherever_they_lie(count: int, seed: int, share: float) -> None:
    bars = holed(1200, seed, share)
    with TemporaryDirectory() as folder:
        HistoryStore(folder).write(bars)
        source = ReplaySource(folder, clock_at(START_MS + 1200 * QUARTER))
        found = BarCache(source).bars(BTC, Timeframe.M15, count, START_MS + 1200 * QUARTER)
    assert same_bars(found, bars.tail(count))


@given(
    start=st.integers(0, 4 * BLOCK_MS // 60_000 - 1),
    length=st.integers(1, 3000),
    timeframe=st.sampled_from([Timeframe.M5, Timeframe.M15]),
)
@settings(deadline=None, max_examples=40)
def test_any_window_of_the_synthetic_market_is_part_of_the_whole(start: int, length: int, timeframe: Timeframe) -> None:
    span = (ORIGIN_MS + start * 60_000, ORIGIN_MS + (start + length) * 60_000)
    part = WORLD.bars(BTC, timeframe, *span)
    whole = WORLD.bars(BTC, timeframe, ORIGIN_MS, 2**60)
    assert same_bars(part, whole.between(*span))


@settings(deadline=None)
@given(seed=st.integers(0, 50), count=st.integers(2, 120), copies=st.lists(st.integers(0, 119), max_size=10))
def test_cleaning_restores_order_whatever_the_order_received(seed: int, count: int, copies: list[int]) -> None:
    bars = some_bars(count, seed=seed)
    rows = np.concatenate([np.arange(count), [copy % count for copy in copies]]).astype(np.int64)
    received = bars.take(np.random.default_rng(seed).permutation(rows))
    once = clean(received).bars
    assert same_bars(once, bars)
    assert clean(once).bars is once


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 100), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_the_history_is_the_same_in_whatever_pieces_it_came(cuts: list[int], seed: int) -> None:
    bars = some_bars(100, seed=seed)
    edges = sorted({0, 100, *cuts})
    pieces = [bars.rows(max(0, start - 3), end) for start, end in pairwise(edges)]
    with TemporaryDirectory() as folder:
        store = HistoryStore(Path(folder))
        for place in np.random.default_rng(seed).permutation(len(pieces)):
            store.merge(pieces[place])
        assert same_bars(store.read(BTC, Timeframe.M15), bars)


@given(
    last=st.decimals("0.00000100", "99999", places=8),
    volume=st.floats(0, 1e10),
    exponent=st.integers(-8, 0),
)
def test_a_modelled_quote_lies_on_the_tick_around_the_price(last: Decimal, volume: float, exponent: int) -> None:
    tick = Decimal(1).scaleb(exponent)
    price = max(tick, (last // tick) * tick)
    rules = MarketRules(Symbol("X/USDC"), tick=tick, step=Decimal(1), min_notional=Decimal(5))
    quote = modelled_quote(rules, float(price), datetime(2024, 1, 1, tzinfo=timezone.utc), "test", Turnover(volume))
    assert quote.bid % tick == quote.ask % tick == 0
    assert tick <= quote.bid <= price <= quote.ask
    assert quote.ask - quote.bid <= price * Decimal("0.00095") + 3 * tick


@given(seed=st.integers(0, 200), decimals=st.integers(0, 8), scale=st.floats(-4, 4))
def test_derived_ticks_divide_every_price(seed: int, decimals: int, scale: float) -> None:
    bars = some_bars(40, seed=seed)
    names = ("open", "high", "low", "close")
    floor = 10.0**-decimals
    scaled = {name: np.maximum(floor, np.round(getattr(bars, name) * 10**scale, decimals)) for name in names}
    priced = Bars(BTC, Timeframe.M15, bars.open_time, *scaled.values(), bars.volume, "test")
    rules = derived_rules(priced)
    assert all(Decimal(repr(price)) % rules.tick == 0 for price in priced.close.tolist())
