"""What a daily check may find: the closed list of violations, the day they belong to, and where they are collected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import Enum

from bn_ml.domain.market import from_ms, to_ms

DAY = timedelta(days=1)


class Violation(Enum):
    """A rule of the paper run that was broken."""

    MAX_POSITIONS = "max_positions_exceeded"
    EXPOSURE = "exposure_exceeded"
    DAILY_DRAWDOWN = "opened_while_daily_drawdown_breaker_active"
    DAILY_RISK = "buy_after_daily_risk_budget_exhausted"
    WEEKLY_RISK = "buy_after_weekly_risk_budget_exhausted"
    VOLATILITY = "buy_while_volatility_breaker_active"
    DRIFT = "buy_while_drift_breaker_active"
    CONTROL = "entry_while_not_normal"
    NO_STOP = "position_without_stop"
    BOOKS = "books_unequal"
    SYNTHETIC = "synthetic_data_used"


@dataclass(frozen=True, slots=True)
class Window:
    """One UTC day, its end exclusive; instants in milliseconds since 1970."""

    begin_ms: int
    end_ms: int

    @classmethod
    def of(cls, day: date) -> Window:
        """Give the window of a day."""
        begin = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
        return cls(to_ms(begin), to_ms(begin + DAY))

    @property
    def begin(self) -> datetime:
        """The first instant."""
        return from_ms(self.begin_ms)

    @property
    def end(self) -> datetime:
        """The first instant of the next day."""
        return from_ms(self.end_ms)

    def holds(self, at_ms: int) -> bool:
        """Whether an instant lies inside."""
        return self.begin_ms <= at_ms < self.end_ms


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation and what it was, in words with figures."""

    violation: Violation
    detail: str


@dataclass
class Findings:
    """Collects what was broken on one day, each subject once per rule, and how many facts each rule looked at."""

    window: Window
    judged: dict[Violation, int] = field(default_factory=lambda: dict.fromkeys(Violation, 0))
    _found: dict[tuple[Violation, str], Finding] = field(default_factory=dict)

    def demand(self, violation: Violation, subject: str, at_ms: int, *, holds: bool, detail: str) -> None:
        """Note a violation of a subject unless the rule holds; what lies outside the day is not looked at."""
        if not self.window.holds(at_ms):
            return
        self.judged[violation] += 1
        if not holds:
            self._found.setdefault((violation, subject), Finding(violation, f"{subject}: {detail}"))

    def blame(self, violation: Violation, subject: str, detail: str) -> None:
        """Note a violation that reaches into the day, whenever it began."""
        self._found.setdefault((violation, subject), Finding(violation, f"{subject}: {detail}"))

    def found(self) -> Iterator[Finding]:
        """Give the violations in the order of the rules, then as they happened."""
        for violation in Violation:
            yield from (item for item in self._found.values() if item.violation is violation)
