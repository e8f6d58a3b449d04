"""What is left of a return when costs double or the luckiest moments are taken away."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bn_ml.domain.market import ZERO
from evidence.book import Book
from evidence.costs import fees_paid
from evidence.headline import daily_returns, total_return


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Total returns, as fractions of the capital, of the same trades in the same sizes.

    - `base`: as it was
    - `fees_doubled`: every fee of every fill paid twice
    - `without_best_1`, `_3`, `_5`: without the trades that earned most; what lost is never taken away
    - `without_best_day`: the daily returns compounded without the best of them
    - `later`: a second run that enters and leaves one bar later; None where there was none
    """

    base: float
    fees_doubled: float
    without_best_1: float
    without_best_3: float
    without_best_5: float
    without_best_day: float
    later: float | None = None

    def with_later(self, later: float) -> Sensitivity:
        """Give the same with the total return of the run one bar later."""
        return replace(self, later=later)


def sensitivity(book: Book, *, later: float | None = None) -> Sensitivity:
    """Take away what a book may owe to low costs or to luck."""
    return Sensitivity(
        base=total_return(book),
        fees_doubled=float((book.curve[-1].equity - fees_paid(book.fills)) / book.capital - 1),
        without_best_1=_without_best(book, 1),
        without_best_3=_without_best(book, 3),
        without_best_5=_without_best(book, 5),
        without_best_day=_without_best_day(book),
        later=later,
    )


def _without_best(book: Book, count: int) -> float:
    best = sorted((position.realized_quote for position in book.closed), reverse=True)[:count]
    won = sum((result for result in best if result > 0), start=ZERO)
    return float((book.curve[-1].equity - won) / book.capital - 1)


def _without_best_day(book: Book) -> float:
    daily = daily_returns(book)
    best = max(daily, default=0.0)
    if best <= 0.0:
        return total_return(book)
    return (1.0 + total_return(book)) / (1.0 + best) - 1.0
