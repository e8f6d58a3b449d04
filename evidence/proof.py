"""Everything that tells luck from skill in one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from data_manager.bars import Bars, FloatArray
from evidence.book import Book
from evidence.costs import BreakEven, Waterfall, break_even, waterfall
from evidence.entry_notes import NO_NOTES, EntryNotes
from evidence.expected_value import PromisedAgainstRealised, promised_against_realised
from evidence.headline import Headline, daily_returns, headline
from evidence.holding import Holding, buy_and_hold
from evidence.plain_figures import plain_fields
from evidence.random_entry import RandomEntry, random_entry
from evidence.resampling import Bootstrap, ShuffledTrades, bootstrap, shuffled_trades
from evidence.selection_luck import SelectionLuck, selection_luck
from evidence.sensitivity import Sensitivity, sensitivity

RUNS = 1_000


@dataclass(frozen=True, slots=True)
class Given:
    """What a proof may be told beyond book and bars.

    `symbols` are those the run could trade, all with bars where none are named; `notes` what the book keeps about its
    orders; `trial_returns` (n_periods, n_trials) the returns of all configurations tried; `later` the total return of
    the same run one bar later; `runs` how often entries are drawn at random.
    """

    symbols: tuple[Symbol, ...] = ()
    notes: EntryNotes = NO_NOTES
    trial_returns: FloatArray | None = None
    later: float | None = None
    runs: int = RUNS


NOTHING_GIVEN = Given()


@dataclass(frozen=True, slots=True)
class Proof:
    """The statistics of one run; what each figure means stands in its own class."""

    headline: Headline
    random_entry: RandomEntry
    holding: Holding
    costs: Waterfall
    break_even: BreakEven
    sensitivity: Sensitivity
    bootstrap: Bootstrap
    shuffled_trades: ShuffledTrades
    selection_luck: SelectionLuck
    expected_value: PromisedAgainstRealised
    seed: int

    def as_dict(self) -> dict[str, object]:
        """Give all figures as JSON types; what is infinite or unknown is null, and a note beside it says why."""
        fields = plain_fields(self)
        strict = {"strict_p_value": self.random_entry.strict_p_value}
        return {
            **fields,
            "headline": self.headline.as_dict(),
            "random_entry": {**plain_fields(self.random_entry), **strict},
        }


def prove(
    book: Book,
    bars: Mapping[Symbol, Bars],
    settings: Settings,
    *,
    seed: int,
    trials: int = 1,
    given: Given = NOTHING_GIVEN,
) -> Proof:
    """Work out the statistics of a book; the same arguments give the same figures.

    `bars` hold the base timeframe of the symbols, from before the run to one longest holding after it, so that trades
    entered at its end come to theirs. `trials` counts the configurations this run was chosen from.
    """
    daily = daily_returns(book)
    references = given.notes.references
    return Proof(
        headline=headline(book),
        random_entry=random_entry(book, bars, settings, runs=given.runs, seed=seed),
        holding=buy_and_hold(
            bars,
            given.symbols or tuple(bars),
            book.begin,
            book.end,
            settings.risk.fees_pct,
            benchmark=Symbol(settings.model.drift.benchmark_symbol),
        ),
        costs=waterfall(book, references),
        break_even=break_even(book, references),
        sensitivity=sensitivity(book, later=given.later),
        bootstrap=bootstrap(daily, seed=seed),
        shuffled_trades=shuffled_trades(book, seed=seed),
        selection_luck=selection_luck(daily, trials=trials, trial_returns=given.trial_returns),
        expected_value=promised_against_realised(book.closed, given.notes.promised),
        seed=seed,
    )
