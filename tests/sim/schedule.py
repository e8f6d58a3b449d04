"""Runs one schedule by its seed and gives what came of it; shrinks the faults of one that failed."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from bn_ml.state_store import StateStore
from tests.sim.ending import digest_of, judge_end
from tests.sim.faults import Fault, Faults
from tests.sim.plan import draw_plan
from tests.sim.world import SimWorld

COLLECT_EVERY = 20
_RUNS = [0]


@dataclass(frozen=True)
class Outcome:
    """What one schedule did."""

    seed: int
    violations: tuple[tuple[str, str], ...]
    fired: dict[str, Fault]
    trades: int
    orders: int
    crashes: int
    restarts: int
    steps: int
    crash_occasions: int
    digest: str
    wire: bool = False
    trace: tuple[str, ...] = ()
    faults: Counter[str] = field(default_factory=Counter)


def run_schedule(
    seed: int,
    script: Mapping[str, Fault] | None = None,
    *,
    keep_trace: bool = False,
    interleave_at: int | None = None,
    wire: bool | None = None,
) -> Outcome:
    """Run a schedule: with the faults the seed draws, or with those of a script and no other.

    `wire` chooses the door, the live exchange over bytes or the port itself; None leaves it to the seed.
    """
    logging.disable(logging.CRITICAL)
    _tidy()
    path = _folder() / f"{os.getpid()}.db"
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    shutil.copyfile(_template(os.getpid()), path)
    plan = draw_plan(seed)
    if wire is not None:
        plan = replace(plan, wire=wire)
    faults = Faults(plan, script)
    world = SimWorld(plan, faults, path, keep_trace=keep_trace, interleave_at=interleave_at)
    try:
        world.run()
        if not plan.paper_before:
            judge_end(world)
        digest = digest_of(world)
    except Exception as error:
        if keep_trace:
            raise
        world.watch.complain("error", f"{type(error).__name__}: {error}")
        digest = world.digest.hexdigest()
    finally:
        world.close()
    return Outcome(
        seed,
        tuple(world.watch.violations),
        dict(faults.fired),
        trades=world.orders,
        orders=len(world.truth.sent),
        crashes=world.crashes,
        restarts=world.restarts,
        steps=world.steps,
        crash_occasions=faults.passed("c"),
        digest=digest,
        wire=plan.wire,
        trace=tuple(world.trace),
        faults=Counter(fault.kind for fault in faults.fired.values()),
    )


def _tidy() -> None:
    """Collect garbage between schedules only: it takes a tenth of the time otherwise."""
    gc.disable()
    _RUNS[0] += 1
    if _RUNS[0] % COLLECT_EVERY == 1:
        gc.collect()


@cache
def _folder() -> Path:
    fast = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="bnml-sim-", dir=fast if os.access(fast, os.W_OK) else None))


@cache
def _template(pid: int) -> Path:
    path = _folder() / f"template-{pid}.db"
    store = StateStore(path)
    store.session.checkpoint()
    store.close()
    return path
