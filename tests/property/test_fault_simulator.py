"""The fault simulator on a few seeds: nothing violated, same trace for the same seed, planted bugs found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.sim.campaign import Tally
from tests.sim.draws import Draws
from tests.sim.faults import Fault
from tests.sim.limit_gate import run as run_limit_gate
from tests.sim.planted_bugs import BUGS
from tests.sim.planting import swapped
from tests.sim.regressions import read_regressions
from tests.sim.schedule import run_schedule
from tests.sim.shrink import shrunk
from trader.gate import Gate

CAUGHT_SOON = (
    "intent_after_send",
    "base_fee_ignored",
    "entry_without_stop_allowed",
    "stop_moved_down",
    "trade_id_collision_across_symbols",
)


@pytest.mark.parametrize("seed", range(1, 21))
def test_nothing_is_violated_whatever_the_seed_breaks(seed: int) -> None:
    assert run_schedule(seed, wire=False).violations == ()


@pytest.mark.parametrize("seed", range(21, 31))
def test_nothing_is_violated_over_the_wire(seed: int) -> None:
    assert run_schedule(seed, wire=True).violations == ()


@pytest.mark.parametrize("regression", read_regressions(), ids=lambda item: f"seed {item.seed}")
def test_what_failed_once_holds(regression: object) -> None:
    (found,) = (item for item in read_regressions() if item == regression)
    assert run_schedule(found.seed, found.script, wire=found.wire).violations == ()


@pytest.mark.parametrize("seed", [3, 24])
def test_the_same_seed_leaves_the_same_trace(seed: int) -> None:
    assert run_schedule(seed).digest == run_schedule(seed).digest


def test_a_replayed_script_leaves_the_trace_of_the_drawn_faults() -> None:
    drawn = run_schedule(2)
    assert drawn.fired
    assert run_schedule(2, drawn.fired).digest == drawn.digest


@pytest.mark.parametrize("name", CAUGHT_SOON)
def test_a_planted_bug_is_caught_and_leaves_nothing_behind(name: str) -> None:
    with BUGS[name].planted():
        assert any(run_schedule(seed, wire=False).violations for seed in range(1, 13))
    assert run_schedule(1, wire=False).violations == ()


def test_there_are_more_than_thirty_six_planted_bugs() -> None:
    assert len(BUGS) >= 36


@pytest.mark.parametrize("place", range(7, 200, 60))
def test_a_death_at_any_step_loses_nothing(place: int) -> None:
    outcome = run_schedule(9, {f"c{place}": Fault("kill")}, wire=False)
    assert outcome.crashes == 1
    assert outcome.violations == ()


@pytest.mark.parametrize("step", range(5, 200, 60))
def test_nothing_but_exits_is_journaled_after_a_halt_at_any_step(step: int) -> None:
    assert run_schedule(9, {}, interleave_at=step, wire=False).violations == ()


def test_shrinking_keeps_only_the_faults_that_are_needed() -> None:
    script = {f"w{number}": Fault("lost", number) for number in range(20)}

    def fails(candidate: Mapping[str, Fault]) -> bool:
        return {"w3", "w17"} <= set(candidate)

    assert set(shrunk(script, fails)) == {"w3", "w17"}


def test_draws_depend_on_seed_and_name_alone() -> None:
    first = [Draws(7, "r", 3).bits(), Draws(7, "r", 4).bits(), Draws(8, "r", 3).bits()]
    assert len(set(first)) == 3
    assert first[0] == Draws(7, "r", 3).bits()
    assert all(1 <= Draws(seed, "x").between(1, 6) <= 6 for seed in range(200))


def test_no_limit_is_broken_by_writers_at_the_same_time(tmp_path: Path) -> None:
    figures = run_limit_gate(threads=3, attempts=60, seed=1, folder=tmp_path)
    assert figures["breaches"] == 0, figures


def test_without_the_gate_the_reader_sees_limits_broken(tmp_path: Path) -> None:
    with swapped(Gate, "require_room", lambda self, intent, means=None: None):
        figures = run_limit_gate(threads=2, attempts=60, seed=1, folder=tmp_path)
    assert figures["breaches"] != 0


def test_a_run_names_every_seed_that_failed_and_shows_the_new_ones_first() -> None:
    tally = Tally(violations=[{"seed": seed, "regression": seed < 20} for seed in range(30)])
    told = tally.as_dict()
    assert told["failed_seeds"] == list(range(30))
    assert told["found"] == [{"seed": seed, "regression": False} for seed in range(20, 30)]
