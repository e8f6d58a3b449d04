"""Do the entries beat entries at random? The same trades, exits and costs, entered at any time of the same period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.positions import Position
from bn_ml.settings import Settings
from data_manager.bars import Bars, FloatArray
from evidence.book import Book
from evidence.clustering import ClusteredMean, clustered_mean
from evidence.costs import dust_quote
from evidence.possible_trades import gross_returns, possible_rows
from trader.performance import trade_return

MOST_FOLLOWED = 20_000
FEWEST_FOLLOWED = 500
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class RandomEntry:
    """The control of a run. Returns are net, as fractions of what a trade cost, averaged over trades.

    - `trades`: closed trades compared; `left_out` counts those of symbols without a possible random entry
    - `cost`: what the book's trades paid on average: fees, dust, and the entry's distance from the open of its bar.
      The control pays the same; what exits slip is not charged to it, which favours the control
    - `actual`: mean return of the book's trades
    - `control_mean`, `control_low`, `control_median`, `control_high`: mean, 5 %, 50 % and 95 % quantile over `runs`
      of the mean return of as many trades a symbol, entered at random
    - `p_value`: (1 + runs whose mean is at least `actual`) / (1 + runs)
    - `excess`: what a trade brought beyond a random one of its symbol, clustered by UTC day of entry. Entries that
      come in bunches are fewer than they look, so its p-value may be much the larger one
    - `why`: why there is nothing to test, and then every figure is None
    """

    trades: int
    left_out: int
    runs: int
    actual: float | None = None
    cost: float | None = None
    control_mean: float | None = None
    control_low: float | None = None
    control_median: float | None = None
    control_high: float | None = None
    p_value: float | None = None
    excess: ClusteredMean | None = None
    why: str | None = None

    @property
    def strict_p_value(self) -> float | None:
        """The larger of both p-values; None where either is missing."""
        if self.p_value is None or self.excess is None or self.excess.p_value is None:
            return None
        return max(self.p_value, self.excess.p_value)


def random_entry(book: Book, bars: Mapping[Symbol, Bars], settings: Settings, *, runs: int, seed: int) -> RandomEntry:
    """Compare a book's closed trades with random ones; `bars` of the base timeframe, reaching beyond the period.

    Trades are followed to their end by the exits labels use, levels and time but no word of models, from all possible
    entries or from some 20,000 of them, as many a symbol, drawn by `seed` as the runs are.
    """
    if not book.closed:
        return RandomEntry(0, 0, runs, why="no trade was closed")
    pools = _pools(book, bars, settings, seed)
    compared = [position for position in book.closed if position.symbol in pools]
    left_out = len(book.closed) - len(compared)
    if not compared or runs < 1:
        why = "no run was asked for" if compared else "no bars of the traded symbols allow a random entry in the period"
        return RandomEntry(0, left_out, runs, why=why)
    actual = np.array([trade_return(position) for position in compared])
    cost = float(np.mean([_cost_frac(position, bars[position.symbol]) for position in compared]))
    means = _means(compared, pools, runs=runs, seed=seed) - cost
    expected = {symbol: float(pool.mean()) - cost for symbol, pool in pools.items()}
    excess = actual - np.array([expected[position.symbol] for position in compared])
    low, median, high = (float(value) for value in np.quantile(means, (0.05, 0.5, 0.95)))
    return RandomEntry(
        trades=len(compared),
        left_out=left_out,
        runs=runs,
        actual=float(actual.mean()),
        cost=cost,
        control_mean=float(means.mean()),
        control_low=low,
        control_median=median,
        control_high=high,
        p_value=(1 + int((means >= actual.mean() - 1e-15).sum())) / (1 + runs),
        excess=clustered_mean(excess, np.array([to_ms(position.opened_at) // DAY_MS for position in compared])),
    )


def _pools(book: Book, bars: Mapping[Symbol, Bars], settings: Settings, seed: int) -> dict[Symbol, FloatArray]:
    """Give returns before costs of possible entries, by traded symbol in alphabetical order, none of them empty."""
    span = (to_ms(book.begin), to_ms(book.end) + 1)
    pools: dict[Symbol, FloatArray] = {}
    symbols = sorted({position.symbol for position in book.closed} & bars.keys())
    followed = max(FEWEST_FOLLOWED, MOST_FOLLOWED // max(1, len(symbols)))
    for symbol in symbols:
        rows = possible_rows(bars[symbol], settings, span)
        if len(rows) > followed:
            generator = np.random.default_rng([seed, 0, len(pools)])
            rows = np.sort(generator.choice(rows, followed, replace=False))
        if len(rows):
            pools[symbol] = gross_returns(bars[symbol], settings, rows)
    return pools


def _means(compared: Sequence[Position], pools: Mapping[Symbol, FloatArray], *, runs: int, seed: int) -> FloatArray:
    """Give the mean return before costs of each run, shape (runs,)."""
    sums = np.zeros(runs)
    for place, (symbol, pool) in enumerate(pools.items()):
        count = sum(position.symbol == symbol for position in compared)
        drawn = np.random.default_rng([seed, 1, place]).integers(0, len(pool), size=(runs, count))
        sums += pool[drawn].sum(axis=1)
    return sums / len(compared)


def _cost_frac(position: Position, bars: Bars) -> float:
    """Give what a trade paid over what it had cost: fees, dust, and the entry above the open of its bar."""
    if position.cost_quote <= 0:
        return 0.0
    paid = float((position.fees_quote + dust_quote(position)) / position.cost_quote)
    at = to_ms(position.opened_at)
    place = int(np.searchsorted(bars.open_time, at, side="right")) - 1
    if place < 0 or at >= bars.open_time[place] + bars.timeframe.ms:
        return paid
    return paid + float(position.entry_price) / float(bars.open[place]) - 1.0
