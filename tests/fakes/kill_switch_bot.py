"""A bot in a process of its own for the kill switch: it holds the lock, beats, and does as it is told, or does not.

Run as `python -m tests.fakes.kill_switch_bot FOLDER KIND`; it says `ready` once it holds two positions. Kinds:
`obedient` flattens when it is halted, `deaf` beats and never looks, `locking` keeps a write transaction open.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, cast

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.market import iso
from bn_ml.domain.positions import ExitReason
from bn_ml.halting import flattens
from bn_ml.state_watch import BEAT
from tests.fakes.money_world import AAA, BBB, MoneyWorld

GLANCE = timedelta(milliseconds=20)


def main(folder: Path, kind: str) -> None:
    """Live until killed."""
    clock = SystemClock()
    lock = ProcessLock(folder / "bn_ml.db").acquire(clock.now())
    world = MoneyWorld(folder)
    world.start()
    world.buy(AAA, BBB)
    world.look()
    if kind == "locking":
        world.bot.store.session.execute("BEGIN IMMEDIATE")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        clock.sleep_until(clock.now() + GLANCE)
        if kind != "locking":
            _round(world, obeys=kind == "obedient")
        if kind == "unlocked":
            lock.release()


def _round(world: MoneyWorld, *, obeys: bool) -> None:
    store = world.bot.store
    control = store.control()
    beat: dict[str, object] = {"pid": os.getpid(), "at": iso(SystemClock().now()), "step": "wait"}
    store.put(BEAT, {**beat, "epoch": control.epoch} if obeys else beat, world.clock.now())
    for position in store.open_positions() if obeys else ():
        if flattens(control, position.symbol):
            world.bot.protection.close(position, ExitReason.KILL_SWITCH)


@contextmanager
def bot_process(folder: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Start the bot and wait until it is ready; it is killed at the end, whatever became of it."""
    command = [sys.executable, "-m", "tests.fakes.kill_switch_bot", str(folder), kind]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        assert cast(IO[str], process.stdout).readline().strip() == "ready"
        yield process
    finally:
        process.kill()
        process.wait()
        cast(IO[str], process.stdout).close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
