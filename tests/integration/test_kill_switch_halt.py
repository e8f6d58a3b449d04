"""The halt itself: committed at any instant of a cycle, from outside, and what it forbids from then on."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bn_ml.crash_points import crash_points
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.market import EPOCH
from bn_ml.domain.orders import Purpose
from bn_ml.errors import ExchangeError, StateError
from bn_ml.halting import BookBusy, HaltMarker, commit_halt, flattens
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BookWatch
from tests.fakes.book_builders import AT, LATER
from tests.fakes.money_world import AAA, BBB, CCC, MoneyWorld

INSTANTS, STEP = 160, 7
RUNS = int(os.environ.get("BNML_TEST_INTERLEAVINGS", "40"))
"""How many interleavings are tried; the instants of one cycle are spread over them, the later ones meet faults too."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = StateStore(tmp_path / "bn_ml.db")
    store.start_epoch(AT, "start")
    store.close()
    return tmp_path / "bn_ml.db"


def test_a_halt_takes_the_next_epoch_and_leaves_the_owner(path: Path) -> None:
    control = commit_halt(path, "me", LATER)
    assert control == Control(2, ControlState.HALTED, "kill_switch: me", LATER, "me", owner=1)
    assert BookWatch(path).look().control == control


def test_the_journal_tells_who_pulled_and_what_for(path: Path) -> None:
    commit_halt(path, "me", LATER)
    commit_halt(path, "you", LATER, symbol=AAA)
    told = StateReader(path).events(kind="KillSwitchPulled")
    assert [event.payload for event in told] == [
        {"scope": "AAA/USDC", "set_by": "you", "epoch": 3},
        {"scope": "all", "set_by": "me", "epoch": 2},
    ]
    changes = [event.payload["state"] for event in StateReader(path).events(kind="ControlChanged")]
    assert changes == ["HALTED", "HALTED"]


def test_a_second_halt_keeps_instant_and_cause(path: Path) -> None:
    commit_halt(path, "me", AT)
    again = commit_halt(path, "me", LATER)
    assert (again.epoch, again.since, again.reason) == (3, AT, "kill_switch: me")


def test_a_halt_names_the_cause_it_found(path: Path) -> None:
    store = StateStore(path)
    store.set_control(ControlState.HALTED, "unexplained_balance", "reconciliation", AT)
    store.close()
    assert commit_halt(path, "me", LATER).reason == "unexplained_balance, kill_switch: me"


def test_closing_one_symbol_stops_entries_and_never_loosens_a_halt(path: Path) -> None:
    control = commit_halt(path, "me", AT, symbol=AAA)
    assert (control.state, control.reason) == (ControlState.REDUCE_ONLY, "close_symbol AAA/USDC")
    assert flattens(control, AAA)
    assert not flattens(control, BBB)
    both = commit_halt(path, "me", LATER, symbol=BBB)
    assert flattens(both, AAA)
    assert flattens(both, BBB)
    assert not flattens(both, CCC)
    halted = commit_halt(path, "me", LATER)
    assert flattens(halted, CCC)
    assert commit_halt(path, "me", LATER, symbol=AAA).state is ControlState.HALTED


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (ControlState.NORMAL, "resumed: after kill_switch", False),
        (ControlState.NORMAL, "resumed: , close_symbol AAA/USDC", False),
        (ControlState.REDUCE_ONLY, "kill_switch: me", False),
        (ControlState.REDUCE_ONLY, "close_symbol AAA/USDCX", False),
        (ControlState.HALTED, "unexplained_balance", False),
        (ControlState.HALTED, "breaker_drawdown", True),
        (ControlState.HALTED, "kill_switch: me", True),
        (ControlState.HALTED, "orphan_order, close_symbol AAA/USDC", True),
    ],
)
def test_only_some_causes_sell(state: ControlState, reason: str, expected: bool) -> None:
    assert flattens(Control(1, state, reason, EPOCH, "x"), AAA) is expected


def test_a_book_that_is_being_written_is_busy_and_no_book_or_a_foreign_one_is_unusable(
    path: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(BookBusy):
            commit_halt(path, "me", LATER, busy_s=0.01)
    with pytest.raises(StateError, match="there is no book"):
        commit_halt(tmp_path / "none.db", "me", LATER)
    assert not (tmp_path / "none.db").exists()
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"\x00garbage" * 4096)
    with pytest.raises(StateError) as raised:
        commit_halt(garbage, "me", LATER)
    assert not isinstance(raised.value, BookBusy)


def test_the_marker_says_why_until_it_is_removed(tmp_path: Path) -> None:
    marker = HaltMarker.beside(tmp_path / "bn_ml.db")
    assert marker.reason() is None
    marker.write("kill_switch: me", AT)
    assert marker.path.stat().st_mode & 0o777 == 0o600
    assert marker.reason() == "kill_switch: me at 2023-06-10T12:00:00.000Z"
    for content in (
        "half a line",
        "[]",
        '{"reason": "x"}',
        '{"reason": "x", "at": 5}',
        '{"reason": "x", "at": "then"}',
    ):
        marker.path.write_text(content)
        assert marker.reason() == "bn_ml.db.halt cannot be read"
    marker.remove()
    marker.remove()
    assert marker.reason() is None


def test_a_marker_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be written"):
        HaltMarker.beside(tmp_path / "nowhere" / "bn_ml.db").write("x", AT)


class Halter:
    """Commits the halt at the n-th instant of the money path that lets anybody write."""

    def __init__(self, path: Path, instant: int) -> None:
        self.path = path
        self.left = instant
        self.epoch = 0

    def __call__(self, name: str) -> None:
        self.left -= 1
        if self.epoch or self.left >= 0:
            return
        try:
            self.epoch = commit_halt(self.path, "tests", AT, busy_s=0).epoch
        except BookBusy:
            assert name == "commit.before"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interleavings")


@pytest.mark.parametrize("run", range(RUNS))
def test_after_a_halt_at_any_instant_nothing_is_sent_but_exits(worlds: Path, run: int) -> None:
    folder = worlds / str(run)
    folder.mkdir()
    world = MoneyWorld(folder, seed=run)
    world.start()
    world.faults.rate = 0.1 if run % 2 else 0.0
    halter = Halter(world.path, run * STEP % INSTANTS)
    with crash_points(halter):
        for action in (lambda: world.buy(AAA, BBB), lambda: world.move("103"), lambda: world.buy(CCC)):
            try:
                action()
            except (ExchangeError, StateError):
                continue
    world.faults.heal()
    for _ in range(8 if halter.epoch else 0):
        world.look()
    late = [item for item in world.bot.store.recent_intents(1000) if item.epoch >= halter.epoch > 0]
    assert {item.intent.purpose for item in late} <= {Purpose.EXIT}
    assert world.never_sent_twice()
    if halter.epoch:
        assert world.bot.store.open_positions() == ()
        assert world.bot.store.open_intents() == ()
    world.close()
    shutil.rmtree(folder)
