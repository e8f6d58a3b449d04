from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.positions import ExitReason, Position
from bn_ml.prediction_log import PredictionLog, PredictionRecord, log_beside
from bn_ml.settings import Settings
from evidence.comparison import compare
from evidence.comparison_html import comparison_html
from evidence.matching import causes, matched
from evidence.report_reading import Part
from evidence.report_sources import Configured, Source, from_database
from tests.fakes.finished_books import ADA, BAR, BEGIN, SOL, Story, a_deal, write_book

CONFIGURED = Configured(Settings(), "c" * 64)
HOUR = timedelta(hours=1)


def a_source(folder: Path, name: str, story: Story) -> Source:
    return from_database(write_book(folder / name, story), CONFIGURED)


def compared(folder: Path, first: Story, second: Story) -> Part:
    return Part(compare(a_source(folder, "a.db", first), a_source(folder, "b.db", second)))


def only(report: Part) -> Part:
    (divergence,) = report["divergences"]
    return divergence


@pytest.mark.parametrize(("apart", "pairs"), [(timedelta(0), 1), (BAR, 1), (BAR + timedelta(seconds=1), 0)])
def test_trades_within_one_bar_are_the_same_decision(apart: timedelta, pairs: int) -> None:
    found = matched([a_deal("a")], [a_deal("b", BEGIN + apart)])
    assert (len(found.pairs), len(found.only_first), len(found.only_second)) == (pairs, 1 - pairs, 1 - pairs)


def test_another_symbol_is_another_decision() -> None:
    assert matched([a_deal("a")], [a_deal("b", symbol=ADA)]).pairs == ()


def test_the_nearest_entry_is_taken_and_only_once() -> None:
    first = [a_deal("a1"), a_deal("a2", BEGIN + BAR)]
    second = [a_deal("b2", BEGIN + BAR)]
    found = matched(first, second)
    assert [(pair.first.position_id, pair.second.position_id) for pair in found.pairs] == [("a2", "b2")]
    assert [position.position_id for position in found.only_first] == ["a1"]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (a_deal("b"), ()),
        (a_deal("b", entry="20.01"), ("entry_price", "exit_price")),
        (a_deal("b", net="0.5"), ("exit_price", "result")),
        (replace(a_deal("b"), initial_quantity=Decimal(11)), ("size",)),
        (replace(a_deal("b"), close_reason=ExitReason.TIME_STOP), ("exit_reason",)),
        (a_deal("b", BEGIN + BAR), ("entry_time", "exit_time")),
        (replace(a_deal("b"), fees_quote=Decimal("0.5")), ("fees",)),
    ],
)
def test_what_differs_in_a_pair_is_named_decisive_first(other: Position, expected: tuple[str, ...]) -> None:
    ((pair,)) = matched([a_deal("a")], [other]).pairs
    assert causes(pair) == expected


def test_equal_runs_are_equal(tmp_path: Path) -> None:
    story = Story(closed=[a_deal("p-1"), a_deal("p-2", BEGIN + 3 * HOUR, net="-2")])
    report = compared(tmp_path, story, story)
    assert report["sentence"].text == "A returned -0.10 %, B -0.10 %; all 2 trades are equal."
    assert list(report["divergences"]) == []
    assert list(report["differs"]) == []


def test_a_refused_trade_names_the_rule_that_refused_it(tmp_path: Path) -> None:
    at = BEGIN + HOUR
    report = compared(tmp_path, Story(closed=[a_deal("p-1", at)]), Story(refused=[(at, SOL, "max_correlation")]))
    found = only(report)
    assert (found["where"].text, found["cause"].text) == ("a", "max_correlation")
    assert found["detail"].text == "value 0.66, limit 0.65"
    assert found["net_difference"].number == 1.0


def test_a_refusal_of_another_symbol_or_time_is_not_the_cause(tmp_path: Path) -> None:
    at = BEGIN + HOUR
    refused = [(at, ADA, "max_correlation"), (at + 2 * BAR, SOL, "spread")]
    report = compared(tmp_path, Story(closed=[a_deal("p-1", at)]), Story(refused=refused))
    assert only(report)["cause"].text == "not_chosen"
    assert only(report)["detail"].text == "that cycle kept out: proba_below_min 9, no_skill 1"


def test_what_the_models_said_tells_why_a_trade_is_missing(tmp_path: Path) -> None:
    at = BEGIN + HOUR
    first = a_source(tmp_path, "a.db", Story(closed=[a_deal("p-1", at)]))
    second = a_source(tmp_path, "b.db", Story())
    close_ms = int(at.timestamp() * 1000)
    log = PredictionLog(log_beside(second.path))
    numbers = (0.3, 0.35, 0.35, 0.01, 0.01)
    record = PredictionRecord(SOL, close_ms, 4, *numbers, "HOLD", "proba_below_min", "[]", "replay")
    log._predictions.append(record)
    log.close()
    found = only(Part(compare(first, second)))
    assert (found["cause"].text, found["detail"].text) == ("proba_below_min", "HOLD, p(BUY) 0.350, bundle 4")


def test_a_symbol_already_held_is_the_cause(tmp_path: Path) -> None:
    early = a_deal("b-1", BEGIN)
    report = compared(tmp_path, Story(closed=[a_deal("a-1", BEGIN + HOUR)]), Story(closed=[early]))
    found = {part["where"].text: part["cause"].text for part in report["divergences"]}
    assert found == {"a": "already_held", "b": "not_chosen"}


def test_a_run_that_was_not_awake_had_no_cycle(tmp_path: Path) -> None:
    deal = a_deal("a-1", BEGIN + HOUR)
    first = a_source(tmp_path, "a.db", Story(closed=[deal]))
    second = a_source(tmp_path, "b.db", Story())
    with_gap = replace(second, path=write_book(tmp_path / "gap.db", Story(cycles=2)))
    assert only(Part(compare(first, with_gap)))["cause"].text == "no_cycle"


def test_a_different_price_is_told_with_its_size(tmp_path: Path) -> None:
    report = compared(tmp_path, Story(closed=[a_deal("p-1")]), Story(closed=[a_deal("p-1", entry="20.02", net="0.8")]))
    found = only(report)
    assert (found["where"].text, found["cause"].text) == ("both", "entry_price")
    assert found["entry_price_frac"].number == pytest.approx(20 / 20.02 - 1)
    assert found["size_frac"].number == 0.0
    assert found["net_difference"].number == pytest.approx(0.2)


def test_causes_are_summed_and_differences_add_up(tmp_path: Path) -> None:
    deals = [a_deal(f"p-{k}", BEGIN + k * 3 * HOUR, net=str(k - 2)) for k in range(6)]
    other = [deals[0], a_deal("p-1", BEGIN + 3 * HOUR, net="5"), *deals[3:]]
    report = compared(tmp_path, Story(closed=deals), Story(closed=other))
    whole = sum(float(part["net_difference"].number or 0) for part in report["divergences"])
    assert sum(float(part["net_difference"].number or 0) for part in report["causes"]) == pytest.approx(whole)
    assert whole == pytest.approx(sum(k - 2 for k in range(6)) - sum(float(deal.realized_quote) for deal in other))
    assert [report["counts"][key].value for key in ("equal", "differ", "only_a", "only_b")] == [4, 1, 1, 0]


def test_runs_without_a_common_period_compare_figures_only(tmp_path: Path) -> None:
    first = a_source(tmp_path, "a.db", Story(closed=[a_deal("p-1")], cycles=10))
    later = a_source(tmp_path, "b.db", Story())
    moved = [replace(point, at=point.at + timedelta(days=40)) for point in later.book.curve]
    report = Part(compare(first, replace(later, book=replace(later.book, curve=tuple(moved)))))
    assert report["common"].value is None
    assert "no trades to compare in a common period" in report["sentence"].text
    assert {part["what"].text for part in report["differs"]} >= {"from", "to"}


def test_the_page_shows_the_causes_and_is_the_same_each_time(tmp_path: Path) -> None:
    at = BEGIN + HOUR
    report = compared(tmp_path, Story(closed=[a_deal("p-1", at)]), Story(refused=[(at, SOL, "max_<b>")]))
    assert isinstance(report.value, dict)
    page = comparison_html(report.value)
    assert page == comparison_html(json.loads(json.dumps(report.value)))
    assert "max_&lt;b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.index("Headline figures") < page.index("Divergence by cause") < page.index("Divergent trades")
