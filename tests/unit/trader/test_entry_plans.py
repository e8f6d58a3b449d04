"""What was known at an entry is found again, and no position is managed without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.errors import StateError
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import AT, a_position, an_intent
from tests.fakes.told_exchange import RULES
from trader.entry_plan import KEPT, EntryPlan, forget_plans, load_plan, read_notes, save_plan, written

PLAN = EntryPlan(
    "p-1", RULES, Decimal("1.5"), 0.003, 0.62, 8.25, 7, "test", written({"score": 8.25, "probas": {"BUY": 0.6}})
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "bn_ml.db")
    yield opened
    opened.close()


def test_a_plan_comes_back_as_it_was_written(store: StateStore) -> None:
    save_plan(store, PLAN, AT)
    assert load_plan(store, "p-1") == PLAN
    assert read_notes(load_plan(store, "p-1")) == {"score": 8.25, "probas": {"BUY": 0.6}}
    bare = replace(PLAN, position_id="p-2", bundle_version=None, notes=written({}))
    save_plan(store, bare, AT)
    assert load_plan(store, "p-2") == bare


def test_a_position_without_its_plan_is_not_managed_by_guesses(store: StateStore) -> None:
    save_plan(store, PLAN, AT)
    with pytest.raises(StateError, match="no entry plan for position p-2"):
        load_plan(store, "p-2")


def test_a_plan_is_forgotten_after_a_week_unless_something_still_needs_it(store: StateStore) -> None:
    for name in ("held", "ordered", "over"):
        save_plan(store, replace(PLAN, position_id=name), AT)
    store.save_position(a_position("held"))
    client_id = store.next_client_id()
    store.add_intent(replace(an_intent(client_id), position_id="ordered"), store.control().owner)
    assert forget_plans(store, AT + KEPT) == 0
    assert forget_plans(store, AT + KEPT + timedelta(milliseconds=1)) == 1
    assert {load_plan(store, name).position_id for name in ("held", "ordered")} == {"held", "ordered"}
    with pytest.raises(StateError):
        load_plan(store, "over")
