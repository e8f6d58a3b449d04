"""Tightening only ever tightens, whoever commits what in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from bn_ml.state_store import StateStore
from tests.fakes.told_exchange import order_world
from trader.desk import Desk
from trader.tightening import tighten

STRICTNESS = (ControlState.NORMAL, ControlState.REDUCE_ONLY, ControlState.HALTED)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = order_world(tmp_path).desk
    yield made
    made.store.close()


@pytest.mark.parametrize(("before", "wanted"), list(product(STRICTNESS, STRICTNESS[1:])))
def test_the_stricter_of_both_is_in_force_afterwards(desk: Desk, before: ControlState, wanted: ControlState) -> None:
    desk.store.set_control(before, "as it was", "operator", desk.clock.now())
    assert tighten(desk, wanted, "cause", "engine") == (STRICTNESS.index(wanted) > STRICTNESS.index(before))
    assert desk.store.control().state is max(before, wanted, key=STRICTNESS.index)


def test_a_halt_committed_by_another_process_meanwhile_is_not_loosened(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = desk.store.transaction
    other = StateStore(desk.store.path)

    @contextmanager
    def after_a_halt() -> Iterator[None]:
        if not desk.store.session.in_transaction:
            other.set_control(ControlState.HALTED, "flatten", "kill switch", desk.clock.now())
        with whole():
            yield

    monkeypatch.setattr(desk.store, "transaction", after_a_halt)
    assert not tighten(desk, ControlState.REDUCE_ONLY, "missing_stop", "engine")
    assert desk.store.control().state is ControlState.HALTED
    other.close()
