"""What a panel is given to draw: the book, the settings, the instant, what to show, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import TypeVar

from bn_ml.settings import Settings
from bn_ml.state_reader import CycleRow, TradeRow
from monitoring.dashboard_state import BookQueries

T = TypeVar("T")

PERIODS: dict[str, timedelta | None] = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "1w": timedelta(days=7),
    "all": None,
}
WATCHLIST_LEAST, WATCHLIST_MOST = 6, 24


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; empty means everything. Days are UTC, both inclusive."""

    symbols: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    actions: tuple[str, ...] = ()

    def takes(self, symbol: str, at: datetime, action: str = "") -> bool:
        """Tell whether something about a symbol at an instant is asked for; an empty `action` is not judged."""
        day = at.astimezone(timezone.utc).date()
        return (
            (not self.symbols or symbol in self.symbols)
            and (not self.actions or not action or action in self.actions)
            and (self.since is None or self.since <= day)
            and (self.until is None or day <= self.until)
        )


@dataclass(frozen=True, slots=True)
class Look:
    """How things are shown: colours, time zone, the period charts begin with, and how many symbols are watched."""

    dark: bool = True
    zone: tzinfo = timezone.utc
    timeframe: str = "4h"
    watchlist: int = 12

    def clock(self, at: datetime) -> str:
        """Write a time of day with its zone."""
        return f"{at.astimezone(self.zone):%H:%M:%S} {self.zone_name(at)}"

    def moment(self, at: datetime) -> str:
        """Write a day and time with its zone."""
        return f"{at.astimezone(self.zone):%Y-%m-%d %H:%M:%S} {self.zone_name(at)}"

    def axis(self, at: datetime) -> str:
        """Write an instant for a time axis, which knows no zones."""
        return f"{at.astimezone(self.zone):%Y-%m-%dT%H:%M:%S}"

    def zone_name(self, at: datetime) -> str:
        """Give the name of the zone at an instant."""
        return at.astimezone(self.zone).tzname() or "local"


@dataclass(frozen=True, slots=True)
class Desk:
    """All of it. `now` is the present; `market_now` the same by the clock of the market that is traded."""

    book: BookQueries
    settings: Settings
    now: datetime
    market_now: datetime
    filters: Filters = Filters()
    look: Look = Look()

    def shaped(self, key: str, make: Callable[[], T], *, changes_with: tuple[object, ...] | None = None) -> T:
        """Give a value made once per data version, or only when `changes_with` does."""
        return self.book.kept(f"shaped {key}", make, changes_with=changes_with)

    def period_start(self) -> datetime | None:
        """Give where the chosen period begins, None for everything."""
        length = PERIODS.get(self.look.timeframe)
        return None if length is None else self.market_now - length

    def cycles(self) -> tuple[CycleRow, ...]:
        """Give the cycles of the chosen period and days, newest first."""
        start = self.period_start()
        days = Filters(since=self.filters.since, until=self.filters.until)
        return tuple(row for row in self.book.cycles() if (start is None or row.at >= start) and days.takes("", row.at))

    def trades(self) -> tuple[TradeRow, ...]:
        """Give the trades the filters ask for, newest first."""
        return tuple(row for row in self.book.trades() if self.filters.takes(str(row.symbol), row.at, row.side))
