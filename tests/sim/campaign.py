"""Whole runs: many schedules, kills at every step, the kill switch at every step, the same hash twice, planted bugs."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.sim.faults import Fault
from tests.sim.fleet import in_order
from tests.sim.planted_bugs import BUGS
from tests.sim.regressions import Regression, add_regression, plain_script, read_regressions
from tests.sim.schedule import Outcome, run_schedule
from tests.sim.shrink import shrunk

SHOWN = 10
KILL = Fault("kill")


@dataclass
class Tally:
    """What a run has shown."""

    schedules: int = 0
    orders: int = 0
    trades: int = 0
    crashes: int = 0
    restarts: int = 0
    wire: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[dict[str, object]] = field(default_factory=list)
    fresh: int = 0
    digest: str = ""

    def add(self, outcome: Outcome) -> None:
        """Count one schedule."""
        self.schedules += 1
        self.orders += outcome.orders
        self.trades += outcome.trades
        self.crashes += outcome.crashes
        self.restarts += outcome.restarts
        self.wire += outcome.wire
        self.faults += outcome.faults
        self.digest = hashlib.sha256(f"{self.digest}{outcome.digest}".encode()).hexdigest()

    def as_dict(self) -> dict[str, object]:
        """Give the figures."""
        return {
            "schedules": self.schedules,
            "wire_schedules": self.wire,
            "orders": self.orders,
            "trades": self.trades,
            "crashes": self.crashes,
            "restarts": self.restarts,
            "faults": dict(sorted(self.faults.items())),
            "violations": len(self.violations),
            "failed_seeds": [item["seed"] for item in self.violations],
            "found": sorted(self.violations, key=lambda item: item["regression"])[:SHOWN],
            "trace_hash": self.digest,
        }


def schedules(seeds: Sequence[int], jobs: int, bug: str = "") -> Tally:
    """Replay the regressions, then run the schedules; what fails is shrunk and, without a bug, added to the list."""
    tally = Tally()
    if not bug:
        for old in read_regressions():
            outcome = run_schedule(old.seed, old.script, wire=old.wire)
            tally.faults += outcome.faults
            if outcome.violations:
                tally.violations.append(_told(outcome, old.script, regression=True))
    for outcome in in_order(partial(_run, bug), seeds, jobs):
        tally.add(outcome)
        if outcome.violations:
            tally.violations.append(_explained(outcome, bug) if tally.fresh < SHOWN else _told(outcome, {}))
            tally.fresh += 1
    return tally


def kill_every_step(seeds: Sequence[int], jobs: int) -> dict[str, object]:
    """Kill the process at each crash point it passes, one run per occurrence."""
    runs: list[tuple[int, int]] = []
    for outcome in in_order(_bare, seeds, jobs):
        runs += [(outcome.seed, number) for number in range(outcome.crash_occasions)]
    kills, found = 0, list[dict[str, object]]()
    for outcome in in_order(_killed, runs, jobs, chunk=16):
        kills += outcome.crashes
        if outcome.violations:
            found.append(_told(outcome, outcome.fired))
    return {"schedules": len(seeds), "kills": kills, "losses": len(found), "found": found[:SHOWN]}


def interleavings(seeds: Sequence[int], wanted: int, jobs: int) -> dict[str, object]:
    """Commit the kill switch's HALTED between any two steps, one run per place."""
    places: list[tuple[int, int]] = []
    for outcome in in_order(_bare, seeds, jobs):
        places += [(outcome.seed, step) for step in range(1, outcome.steps + 1)]
    stride = max(len(places) // wanted, 1)
    chosen = places[::stride][:wanted]
    found = list[dict[str, object]]()
    after = 0
    for outcome in in_order(_interleaved, chosen, jobs, chunk=16):
        after += sum(invariant == "P9" for invariant, _ in outcome.violations)
        if outcome.violations:
            found.append(_told(outcome, outcome.fired))
    return {
        "interleavings": len(chosen),
        "orders_after_halt": after,
        "violations": len(found),
        "found": found[:SHOWN],
    }


def same_hash(seeds: Sequence[int], jobs: int) -> dict[str, object]:
    """Run each schedule twice, in different processes where there are two, and compare the hashes."""
    first = [item.digest for item in in_order(partial(_run, ""), seeds, jobs)]
    second = [item.digest for item in in_order(partial(_run, ""), list(reversed(seeds)), jobs)]
    equal = sum(left == right for left, right in zip(first, reversed(second), strict=True))
    return {
        "schedules": len(seeds),
        "same_hash": equal,
        "trace_hash": hashlib.sha256("".join(first).encode()).hexdigest(),
    }


def planted_bugs(names: Sequence[str], seed: int, limit: int, jobs: int) -> list[dict[str, object]]:
    """Run each bug until it is caught."""
    found = []
    for item in in_order(partial(_hunted, seed, limit), names, jobs, chunk=1):
        found.append(item)
        told = f"{item['bug']}: {item['schedules']} schedules, {item['invariant']} at seed {item['seed']}"
        sys.stderr.write(f"{told}\n")
        sys.stderr.flush()
    return found


def _hunted(seed: int, limit: int, name: str) -> dict[str, object]:
    for count in range(limit):
        outcome = _run(name, seed + count)
        # What fails without the bug proves nothing about it.
        if outcome.violations and not _run("", seed + count).violations:
            invariant, message = outcome.violations[0]
            return {
                "bug": name,
                "schedules": count + 1,
                "seed": seed + count,
                "invariant": invariant,
                "message": message[:200],
            }
    return {"bug": name, "schedules": limit, "seed": None, "invariant": None, "message": "not caught"}


def _run(bug: str, seed: int) -> Outcome:
    if not bug:
        return run_schedule(seed)
    with BUGS[bug].planted():
        return run_schedule(seed)


def _bare(seed: int) -> Outcome:
    return run_schedule(seed, {}, wire=False)


def _killed(run: tuple[int, int]) -> Outcome:
    seed, number = run
    return run_schedule(seed, {f"c{number}": KILL}, wire=False)


def _interleaved(run: tuple[int, int]) -> Outcome:
    seed, step = run
    return run_schedule(seed, {}, interleave_at=step, wire=False)


def _explained(outcome: Outcome, bug: str) -> dict[str, object]:
    """Shrink a failure; without a planted bug it joins the list."""
    invariant, message = outcome.violations[0]

    def fails(script: dict[str, Fault]) -> bool:
        found = _scripted(outcome, script, bug)
        return any(item == invariant for item, _ in found.violations)

    needed = outcome.fired
    if fails(outcome.fired):
        needed = shrunk(outcome.fired, fails)  # type: ignore[arg-type]
    if not bug:
        add_regression(Regression(outcome.seed, invariant, message, needed, outcome.wire))
    return _told(_scripted(outcome, needed, bug, keep_trace=True), needed)


def _scripted(outcome: Outcome, script: dict[str, Fault], bug: str, *, keep_trace: bool = False) -> Outcome:
    if not bug:
        return run_schedule(outcome.seed, script, keep_trace=keep_trace, wire=outcome.wire)
    with BUGS[bug].planted():
        return run_schedule(outcome.seed, script, keep_trace=keep_trace, wire=outcome.wire)


def _told(outcome: Outcome, script: dict[str, Fault], *, regression: bool = False) -> dict[str, object]:
    until = next((place for place, line in enumerate(outcome.trace) if "VIOLATION" in line), len(outcome.trace))
    return {
        "seed": outcome.seed,
        "wire": outcome.wire,
        "regression": regression,
        "violations": [list(item) for item in outcome.violations],
        "faults": plain_script(script),
        "trace": list(outcome.trace[max(until - 30, 0) : until + 1]),
    }
