"""A soak's figures find what is planted, and its plan keeps undisturbed stretches between the faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.soak_figures import Sample, figures, slope_kib
from benchmarks.soak_plan import CALM, FAULTS, SETTLING, SoakPlan

PLAN = SoakPlan(Path("."), cycles=1200, block=15, warm_up=300, speed=90.0, scan_s=60)


def samples(change: Callable[[Sample], Sample] = lambda item: item, *, count: int = 1200) -> list[Sample]:
    """A run that keeps every bar: noise in memory and durations, one long cycle in each block."""
    dice = np.random.default_rng(5)
    made = []
    for cycle in range(count):
        took = (0.2 if cycle % 15 == 7 else 0.05) * dice.uniform(0.97, 1.03)
        rss = 110_000 + int(dice.integers(0, 200)) + min(cycle, 250) * 20
        made.append(change(Sample(cycle, cycle, PLAN.kind_of(cycle), took, rss, 24, 7)))
    return made


def violations(change: Callable[[Sample], Sample], *, count: int = 1200) -> str:
    return "; ".join(map(str, figures(samples(change, count=count), PLAN)["violations"]))  # type: ignore[call-overload]


def test_a_good_run_keeps_every_bar() -> None:
    told = figures(samples(), PLAN)
    assert told["violations"] == []
    assert abs(float(str(told["rss_kib_per_cycle"]))) < 0.2


@pytest.mark.parametrize(("kib", "found"), [(0.8, False), (1.3, True), (30.0, True)])
def test_memory_that_grows_is_found(kib: float, found: bool) -> None:
    told = violations(lambda item: replace(item, rss_kib=item.rss_kib + int(item.cycle * kib)))
    assert ("memory grows" in told) is found


def test_one_jump_of_memory_is_no_growth() -> None:
    jumped = samples(lambda item: replace(item, rss_kib=item.rss_kib + 20_000 * (item.cycle > 1100)))
    assert slope_kib(jumped) < 1.0


@pytest.mark.parametrize("name", ["fds", "threads"])
def test_files_and_threads_that_stay_behind_are_found(name: str) -> None:
    def leak(item: Sample) -> Sample:
        grown = getattr(item, name) + item.cycle // 300
        return replace(item, fds=grown) if name == "fds" else replace(item, threads=grown)

    assert f"{name} went from" in violations(leak)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(("times", "found"), [(1.05, False), (1.2, True)])
def test_a_fault_that_slows_the_loop_is_found(kind: str, times: float, found: bool) -> None:
    def slow(item: Sample) -> Sample:
        return replace(item, took_s=item.took_s * times) if item.kind == kind else item

    assert (f"p99 with {kind}" in violations(slow)) is found


def test_a_run_that_ended_early_is_no_good_run() -> None:
    assert "only 900 of 1200 cycles" in violations(lambda item: item, count=900)


def test_every_fault_lies_between_undisturbed_blocks() -> None:
    kinds = [PLAN.kind_of(block * PLAN.block) for block in range(16)]
    assert kinds[::2] == [CALM] * 8
    assert tuple(kinds[1::2]) == FAULTS * 2


def test_the_edge_of_a_block_and_the_warm_up_count_for_nothing() -> None:
    assert not PLAN.counts(PLAN.warm_up - 1, 7)
    assert PLAN.counts(PLAN.warm_up, 7)
    assert [PLAN.counts(600, slot) for slot in range(SETTLING + 1)] == [False] * SETTLING + [True]


def test_a_bar_begins_in_the_middle_of_its_block() -> None:
    assert PLAN.slot_of(0) % PLAN.block == PLAN.block // 2
    assert PLAN.slot_of(900_000) % PLAN.block == PLAN.block // 2


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    plan = replace(PLAN, folder=tmp_path, webhook="http://127.0.0.1:1")
    assert SoakPlan.read(plan.write(tmp_path / "plan.json")) == plan
