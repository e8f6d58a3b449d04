"""Old rows go once a day, and plans only when nobody needs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.settings import RetentionSettings
from bn_ml.state_store import StateStore
from scripts.background import Retention
from tests.fakes.book_builders import AT, a_position, closed
from trader.entry_plan import KEPT, forget_plans

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path / "bn_ml.db")
    store.start_epoch(AT, "test")
    yield store
    store.close()


def _counts(store: StateStore) -> tuple[int, int]:
    cycles, metrics = (
        store.session.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in ("cycles", "model_metrics")
    )
    return cycles, metrics


def test_rows_older_than_they_are_kept_go(store: StateStore) -> None:
    for age in (9, 10, 11):
        store.add_cycle(at=AT - age * DAY, opportunities=0, opened_positions=0, data={})
        store.add_model_metrics(AT - age * DAY, {})
    Retention(store, RetentionSettings(cycles=10, model_metrics=9)).collect(AT)
    assert _counts(store) == (2, 1)


def test_rows_are_looked_at_once_per_utc_day(store: StateStore) -> None:
    retention = Retention(store, RetentionSettings(cycles=10))
    retention.collect(AT)
    store.add_cycle(at=AT - 20 * DAY, opportunities=0, opened_positions=0, data={})
    retention.collect(AT)
    assert _counts(store) == (1, 0)
    retention.collect(AT + DAY)
    assert _counts(store) == (0, 0)


def test_a_plan_goes_a_while_after_its_position_closed(store: StateStore) -> None:
    store.save_position(a_position("p-open"))
    store.save_position(closed(replace(a_position("p-closed"), symbol=Symbol("ETH/USDC"))))
    for name in ("p-open", "p-closed", "p-never-filled"):
        store.put(f"entry_plan/{name}", {"of": name}, AT)
    store.put("entry_planning", {"is": "another key"}, AT)
    assert forget_plans(store, AT + KEPT) == 0
    assert forget_plans(store, AT + KEPT + timedelta(seconds=1)) == 2
    assert store.get("entry_plan/p-open") == {"of": "p-open"}
    assert store.get("entry_plan/p-closed") is None
    assert store.get("entry_planning") is not None
