"""What the venue tells of its clock, its bans and its benchmark reaches the breakers of the loop."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.account import ControlState
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld


@pytest.fixture
def world(new_world: NewWorld, tmp_path: Path) -> MoneyWorld:
    made = new_world(tmp_path)
    made.start()
    return made


def control(world: MoneyWorld) -> tuple[ControlState, str]:
    found = world.cycle().control
    return found.state, found.reason


@pytest.mark.parametrize(("offset_s", "trips"), [(0.999, False), (1.0, True), (-1.0, True), (-0.999, False)])
def test_a_clock_a_second_off_stops_entries_until_it_is_right_again(
    world: MoneyWorld, offset_s: float, trips: bool
) -> None:
    world.clock_offset_s = offset_s
    report = world.buy(AAA)
    assert report.control.state is (ControlState.REDUCE_ONLY if trips else ControlState.NORMAL)
    assert bool(world.bot.positions.open_positions()) is not trips
    world.clock_offset_s = 0.0
    assert control(world)[0] is ControlState.NORMAL


def test_an_unknown_clock_stops_entries(world: MoneyWorld) -> None:
    world.clock_offset_s = None
    assert control(world) == (ControlState.REDUCE_ONLY, "clock")


@pytest.mark.parametrize(("ends_in_s", "trips"), [(1, True), (0, False), (-1, False)])
def test_a_ban_stops_entries_until_it_ends(world: MoneyWorld, ends_in_s: int, trips: bool) -> None:
    world.banned_until = world.clock.now() + timedelta(seconds=ends_in_s)
    assert control(world)[0] is (ControlState.REDUCE_ONLY if trips else ControlState.NORMAL)
    world.clock.sleep_until(world.clock.now() + timedelta(seconds=2))
    assert control(world)[0] is ControlState.NORMAL


def test_an_unknown_volatility_blocks_entries_and_is_written_as_null(world: MoneyWorld) -> None:
    world.scanner.changes = {"volatility_ratio": math.inf, "errors": ("BTC/USDC: volatility unknown",)}
    report = world.buy(AAA)
    assert world.bot.positions.open_positions() == ()
    assert set(report.refusals) == {"breaker_volatility"}
    assert "BTC/USDC: volatility unknown" in report.errors
    assert world.recorder.of("BreakerTripped")[-1].breaker == "breaker_volatility"
    shown = world.bot.store.get("account_state")
    assert isinstance(shown, dict)
    assert shown["market_volatility_ratio"] is None
    world.scanner.changes = {}
    world.buy(AAA)
    assert world.held().symbol == AAA
