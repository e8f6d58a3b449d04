"""A paper run summed up: what counts as a day, what as a gap, and what the totals come from."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.errors import StateError
from bn_ml.settings import Settings
from monitoring.dod import EMPTY, judged
from monitoring.dod_files import read_day, read_days, result_of, write_day, write_summary
from monitoring.dod_summary import DayResult, Item, Shown, gaps, summarised
from monitoring.dod_text import summary_markdown

FIRST = date(2026, 3, 1)
NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
ALL_SHOWN = {item: Shown(True, "there") for item in Item}


def a_day(place: int, coverage: float = 1.0, **facts: object) -> DayResult:
    made = {"status": "PASS", "violations": (), "realized_quote": Decimal(0), "sells": 0, "winning": 0, **facts}
    return DayResult(day=FIRST + timedelta(days=place), coverage=coverage, **made)  # type: ignore[arg-type]


def test_totals_are_sums_over_the_days_and_the_win_rate_is_of_all_sells() -> None:
    days = [
        a_day(0, realized_quote=Decimal("1.5"), sells=3, winning=3),
        a_day(1, realized_quote=Decimal("-0.5"), sells=1, winning=0, violations=("books_unequal", "books_unequal")),
    ]
    plain = summarised(days, (FIRST, FIRST + timedelta(days=1)), 2, shown=ALL_SHOWN, now=NOW).as_dict()

    assert (plain["realized_pnl_usdt"], plain["sell_win_rate"]) == (1.0, 0.75)
    assert (plain["violations_count"], plain["reports_count"], plain["run_days_observed"]) == (2, 2, 2)
    assert plain["checklist"] == {**dict.fromkeys((item.value for item in Item), True), "zero_risk_violations": False}
    assert not plain["done"]


def test_days_outside_the_span_are_left_out() -> None:
    days = [a_day(place) for place in range(5)]
    summary = summarised(days, (FIRST + timedelta(days=1), FIRST + timedelta(days=3)), 3, shown=ALL_SHOWN, now=NOW)

    assert [item.day for item in summary.results] == [FIRST + timedelta(days=place) for place in (1, 2, 3)]
    assert summary.is_done


@pytest.mark.parametrize(("coverage", "observed"), [(0.9499, 0), (0.95, 1), (0.9501, 1)])
def test_a_day_counts_from_95_percent_of_its_cycles(coverage: float, observed: int) -> None:
    summary = summarised([a_day(0, coverage)], (FIRST, FIRST), 1, shown=ALL_SHOWN, now=NOW)

    assert summary.days_observed == observed
    assert summary.checklist[Item.DURATION].passed == bool(observed)


@given(
    states=st.lists(st.sampled_from(["full", "thin", "absent", "none"]), min_size=1, max_size=20),
)
def test_every_day_after_the_first_one_is_observed_or_a_gap(states: list[str]) -> None:
    coverage = {"full": 1.0, "thin": 0.5, "none": 0.0}
    days = [a_day(place, coverage[state]) for place, state in enumerate(states) if state != "absent"]
    end = FIRST + timedelta(days=len(states) - 1)
    begun = next((place for place, state in enumerate(states) if state in ("full", "thin")), len(states))
    # The day the run began in the middle of is neither.
    first = begun if begun < len(states) and states[begun] == "full" else begun + 1

    found = {gap.day for gap in gaps(days, end)}

    expected = {FIRST + timedelta(days=place) for place in range(first, len(states)) if states[place] != "full"}
    assert found == expected


def test_nothing_at_all_is_neither_done_nor_a_gap() -> None:
    summary = summarised([], (FIRST, FIRST), 30, shown=ALL_SHOWN, now=NOW)

    assert (summary.gaps, summary.days_observed, summary.is_done) == ((), 0, False)
    assert summary.as_dict()["sell_win_rate"] is None


def test_a_report_reads_back_as_it_was_written(tmp_path: Path) -> None:
    report = judged(EMPTY, FIRST, Settings(), now=NOW)
    plain, _ = write_day(report, tmp_path / "new")

    assert read_day(plain) == result_of(report)
    assert read_days(tmp_path / "new") == ((result_of(report),), ())


@pytest.mark.parametrize(
    "text", ["", "[]", '{"date_utc": "2026-03-01"}', '{"date_utc": "x", "status": "PASS"}', "\x00"]
)
def test_a_file_that_is_no_report_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "2026-03-01.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(StateError, match="2026-03-01"):
        read_day(path)
    assert read_days(tmp_path)[0] == ()
    assert len(read_days(tmp_path)[1]) == 1


def test_both_forms_of_a_summary_say_the_same(tmp_path: Path) -> None:
    days = [a_day(0), a_day(2, 0.5, status="INCOMPLETE")]
    summary = summarised(days, (FIRST, FIRST + timedelta(days=2)), 3, shown=ALL_SHOWN, now=NOW)
    write_summary(summary, markdown=tmp_path / "a" / "s.md", plain=tmp_path / "b" / "s.json")

    text, plain = (tmp_path / "a" / "s.md").read_text(), json.loads((tmp_path / "b" / "s.json").read_text())
    assert text == summary_markdown(summary)
    for gap in plain["gaps"]:
        assert f"- {gap['date_utc']}: {gap['reason']}" in text
    assert "| days with enough cycles | 1 of 3 |" in text
    assert plain["gaps_count"] == 2
