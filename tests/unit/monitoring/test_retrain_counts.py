"""Trainings are counted once each, from a record that only says how a run stands."""

from __future__ import annotations

from monitoring.retrain_counts import RetrainCounts


def record(
    started: str = "a", *, trigger: str = "drift", status: str = "running", **counters: int
) -> dict[str, object]:
    return {"started_at": started, "trigger": trigger, "status": status, **counters}


def told(*records: object) -> list[tuple[str, str, int]]:
    counts = RetrainCounts()
    return [item for content in records for item in counts.take(content)]


def test_what_an_earlier_process_counted_is_not_counted_again() -> None:
    assert told(record(symbols_trained=3), record(symbols_trained=3)) == []


def test_each_result_is_counted_as_it_comes() -> None:
    assert told(
        record(),
        record(symbols_trained=1),
        record(symbols_trained=1, symbols_errors=2),
        record(symbols_trained=1, symbols_errors=2, symbols_kept_champion=1, symbols_skipped_up_to_date=1),
    ) == [
        ("drift", "trained", 1),
        ("drift", "failed", 2),
        ("drift", "kept_champion", 1),
        ("drift", "up_to_date", 1),
    ]


def test_a_new_run_begins_at_nothing() -> None:
    assert told(
        record(symbols_trained=4),
        record("b", trigger="periodic", symbols_trained=1),
        record("b", trigger="periodic", symbols_trained=2),
    ) == [("periodic", "trained", 1), ("periodic", "trained", 1)]


def test_a_run_that_failed_before_any_symbol_is_one_failure() -> None:
    failed = record(status="failed")
    assert told(record(), failed, failed) == [("drift", "failed", 1)]


def test_a_failed_run_whose_symbols_were_counted_is_not_counted_twice() -> None:
    assert told(record(), record(symbols_errors=1), record(status="failed", symbols_errors=1)) == [
        ("drift", "failed", 1)
    ]


def test_a_record_that_is_none_counts_nothing() -> None:
    assert told(None, "odd", {"symbols_trained": "many"}) == []
