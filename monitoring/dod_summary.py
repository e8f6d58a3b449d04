"""Many days in one page: how long the paper run went on, its gaps, what was violated, and the checklist beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum

from bn_ml.domain.market import iso
from monitoring.dod import LEAST_COVERAGE, SCHEMA_VERSION
from monitoring.dod_findings import Window

DAY = timedelta(days=1)


class Item(Enum):
    """What has to be shown before a paper run counts as done."""

    DURATION = "paper_run_duration_met"
    NO_VIOLATIONS = "zero_risk_violations"
    BACKTEST = "backtest_report_available"
    DASHBOARD_AND_ALERTS = "dashboard_and_alerting_operational"
    DOCUMENTS = "docker_and_incident_docs_present"
    RESTORE = "restore_verified"


@dataclass(frozen=True, slots=True)
class Shown:
    """Whether an item was shown, and by what or why not."""

    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class DayResult:
    """What a day's report says, as far as a summary needs it. `coverage` is 0 to 1."""

    day: date
    status: str
    coverage: float
    violations: tuple[str, ...]
    realized_quote: Decimal
    sells: int
    winning: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A day of the run without enough cycles. `coverage` is 0 to 1, 0 where there is no report."""

    day: date
    coverage: float
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A paper run of `days` from `begin` to `end`, both inclusive; `checklist` holds every item."""

    generated_at: datetime
    begin: date
    end: date
    days_target: int
    results: tuple[DayResult, ...]
    gaps: tuple[Gap, ...]
    checklist: Mapping[Item, Shown]

    @property
    def days_observed(self) -> int:
        """Days with enough of their cycles."""
        return sum(map(is_observed, self.results))

    @property
    def violations(self) -> int:
        """All violations of all days."""
        return sum(len(result.violations) for result in self.results)

    @property
    def is_done(self) -> bool:
        """Whether every item of the checklist was shown."""
        return all(shown.passed for shown in self.checklist.values())

    def as_dict(self) -> dict[str, object]:
        """Give the summary as plain values; shares are fractions, amounts in the quote asset."""
        sells = sum(result.sells for result in self.results)
        winning = sum(result.winning for result in self.results)
        realized = sum((result.realized_quote for result in self.results), Decimal(0))
        return {
            "schema_version": SCHEMA_VERSION,
            "generated_at": iso(self.generated_at),
            "window_start": iso(Window.of(self.begin).begin),
            "window_end": iso(Window.of(self.end).end),
            "days_target": self.days_target,
            "run_days_observed": self.days_observed,
            "gaps": [
                {"date_utc": gap.day.isoformat(), "coverage_pct": round(gap.coverage, 6), "reason": gap.reason}
                for gap in self.gaps
            ],
            "gaps_count": len(self.gaps),
            "reports_count": len(self.results),
            "violations_count": self.violations,
            "realized_pnl_usdt": float(round(realized, 8)),
            "sell_win_rate": round(winning / sells, 6) if sells else None,
            "checklist": {item.value: self.checklist[item].passed for item in Item},
            "checklist_details": {item.value: self.checklist[item].detail for item in Item},
            "done": self.is_done,
            "days": [_day_row(result) for result in self.results],
        }


def summarised(
    results: Sequence[DayResult], span: tuple[date, date], days: int, *, shown: Mapping[Item, Shown], now: datetime
) -> Summary:
    """Put the results of a span of days (both ends inclusive) together with what was shown beside them.

    Duration and violations follow from the days themselves.
    """
    begin, end = span
    inside = tuple(sorted((item for item in results if begin <= item.day <= end), key=lambda item: item.day))
    observed, violations = sum(map(is_observed, inside)), sum(len(item.violations) for item in inside)
    own = {
        Item.DURATION: Shown(observed >= days, f"{observed} of {days} days with {LEAST_COVERAGE:.0%} of their cycles"),
        Item.NO_VIOLATIONS: Shown(
            bool(inside) and not violations,
            f"{violations} violations on {len(inside)} days" if inside else "no day was checked",
        ),
    }
    return Summary(now, begin, end, days, inside, gaps(inside, end), {**shown, **own})


def gaps(results: Sequence[DayResult], end: date) -> tuple[Gap, ...]:
    """Give the days without enough cycles between the first day of the run and its end.

    The day the run began in the middle of is none.
    """
    known = {item.day: item for item in results}
    started = sorted(item.day for item in results if item.coverage > 0)
    if not started:
        return ()
    first = started[0] if is_observed(known[started[0]]) else started[0] + DAY
    found = []
    for offset in range((end - first).days + 1):
        day = first + offset * DAY
        result = known.get(day)
        if result is None:
            found.append(Gap(day, 0.0, "no report"))
        elif not is_observed(result):
            found.append(Gap(day, result.coverage, f"{result.coverage:.1%} of its cycles"))
    return tuple(found)


def is_observed(result: DayResult) -> bool:
    """Whether a day has enough of its cycles to count."""
    return result.coverage >= LEAST_COVERAGE


def _day_row(result: DayResult) -> dict[str, object]:
    return {
        "date_utc": result.day.isoformat(),
        "status": result.status,
        "coverage_pct": round(result.coverage, 6),
        "violations": sorted(set(result.violations)),
        "realized_pnl_usdt": float(round(result.realized_quote, 8)),
    }
