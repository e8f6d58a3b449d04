"""Deaths at every named instant of the money path while positions are protected: the next start restores each stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.crash_points import NAMES, crash_points
from bn_ml.domain.orders import Purpose, Side
from tests.fakes.faulty_exchange import Fault, Killed
from tests.fakes.money_world import AAA, MoneyWorld, NewWorld, money_settings

D = Decimal
MOST = 120


def quiet(world: MoneyWorld) -> None:
    """Nothing."""


def buys(world: MoneyWorld) -> None:
    world.buy(AAA)


def hands_over(world: MoneyWorld) -> None:
    world.move("102.04")


def raises_fixed(world: MoneyWorld) -> None:
    world.bot.protection.raise_stops(world.held(), D("99.50"))


def closes(world: MoneyWorld) -> None:
    world.look(24 * 3600)


def closes_in_vain(world: MoneyWorld) -> None:
    world.faults.next("create_order", Fault.REFUSED)
    world.look(24 * 3600)


def covers_what_was_lost(world: MoneyWorld) -> None:
    stop = next(item for item in world.live(Purpose.STOP) if item.intent.tranche == "runner")
    world.bot.venue.cancel(AAA, stop.intent.client_id, world.clock.now())
    world.look()


Scene = Callable[[MoneyWorld], None]
SCENES: tuple[tuple[Scene, Scene, int], ...] = (
    (quiet, buys, 3),
    (buys, hands_over, 1),
    (buys, raises_fixed, 3),
    (buys, closes, 3),
    (buys, closes_in_vain, 2),
    (buys, covers_what_was_lost, 1),
)
"""What comes before, what dies, and every how many instants it does."""


@contextmanager
def dying_at(number: int, passed: list[str]) -> Iterator[None]:
    """Die at the given instant, counted from 1; what was passed is noted."""

    def hook(name: str) -> None:
        passed.append(name)
        if len(passed) == number:
            raise Killed

    with crash_points(hook):
        yield


def check_recovered(world: MoneyWorld, floor: Decimal) -> None:
    world.faults.heal()
    for _ in range(4):
        world.look(5)
    assert world.never_sent_twice()
    assert world.bot.reconciler.differences() == {}
    for position in world.bot.positions.open_positions():
        assert world.covered(position.symbol)
        assert min(world.stops().values()) >= floor
        stops = sum((item.intent.quantity for item in world.live(Purpose.STOP)), D(0))
        assert stops == world.market.rules(AAA).quantity_down(position.remaining_quantity)
    for position in (*world.bot.positions.open_positions(), *world.bot.store.closed_positions()):
        fills = world.bot.store.fills_of_position(position.position_id)
        sold = sum((fill.quantity for fill in fills if fill.side is Side.SELL), D(0))
        assert sold + position.remaining_quantity + position.dust_quantity == position.initial_quantity


@pytest.mark.parametrize(("before", "scene", "every"), SCENES)
def test_a_death_at_any_instant_leaves_every_stop_restored_and_nothing_doubled(
    new_world: NewWorld, tmp_path: Path, before: Scene, scene: Scene, every: int
) -> None:
    names: set[str] = set()
    for number in range(1, MOST, every):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = new_world(folder, money_settings())
        world.start()
        before(world)
        passed: list[str] = []
        with dying_at(number, passed):
            lived = world.survive(lambda w=world: scene(w))  # type: ignore[misc]
        names.update(passed)
        check_recovered(world, D("98.50"))
        world.close()
        if lived:
            break
    assert 3 < number < MOST - 1
    assert names <= set(NAMES)


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER])
@pytest.mark.parametrize("method", ["replace_order", "cancel_order", "create_oco", "order_status"])
def test_a_death_at_a_call_while_stops_are_handed_over_is_recovered(
    new_world: NewWorld, tmp_path: Path, method: str, fault: Fault
) -> None:
    world = new_world(tmp_path, money_settings())
    world.start()
    buys(world)
    world.faults.next(method, fault)
    lived = world.survive(lambda: world.move("102.04"))
    assert not lived
    for _ in range(14):
        world.look(5)
    check_recovered(world, D("98.50"))
    world.move("102.5", seconds=61)
    assert world.trailing() == {"tp2", "runner"}
