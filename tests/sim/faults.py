"""What goes wrong, occasion by occasion: drawn from the seed, or replayed from a list that was shrunk.

An occasion is a name such as `w17` (the 17th state-changing call), `r4` (a read), `c9` (a crash point passed), `d3` (a
transaction begun) or `e0` (the first thing the world does). What an occasion draws depends on the seed and its name
alone, so leaving one fault out leaves the others as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.sim.draws import Draws
from tests.sim.plan import Plan

WRITE_KINDS = (
    *("lost",) * 3,
    *("unheard",) * 4,
    *("late",) * 4,
    *("refused",) * 2,
    *("slow",) * 2,
    *("moved",) * 2,
    *("thinned",) * 4,
)
CANCEL_KINDS = ("lost", "lost", "unheard", "unheard", "slow", "race", "race")
REPLACE_KINDS = ("lost", "unheard", "unheard", "late", "refused", "slow", "half_done", "half_done")
READ_KINDS = {
    "order_status": ("transient", "lag", "lag", "slow", "race"),
    "open_orders": ("transient", "transient", "stale", "slow", "race"),
    "balances": ("transient", "stale", "slow", "race"),
    "trades": ("transient", "slow"),
}
BYTES = ("half", "empty", "html", "backend", "internal", "other")
WIRE_WRITES = {"POST": (*WRITE_KINDS, "race", *BYTES), "DELETE": (*CANCEL_KINDS, *BYTES)}
WIRE_READS = ("transient", "transient", "lag", "lag", "stale", "slow", "race", *BYTES)
DISK_KINDS = ("locked", "full", "eio_before", "eio_after")
RARE = "duplicate"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at an occasion; `number` is what the kind needs besides."""

    kind: str
    number: int = 0


NOTHING = Fault("")


class Faults:
    """Draws faults until healed, or replays `script` and nothing else. `fired` is what really happened, in order."""

    def __init__(self, plan: Plan, script: Mapping[str, Fault] | None = None) -> None:
        self._plan = plan
        self._script = script
        self._counts: Counter[str] = Counter()
        self.fired: dict[str, Fault] = {}
        self.healed = False
        self.on_fault: Callable[[str, Fault], None] = lambda occasion, fault: None

    def of_call(self, method: str) -> Fault:
        """Give the fault of the next call of a method."""
        if method in READ_KINDS:
            return self._next("r", self._plan.rates.read, READ_KINDS[method])
        kinds = {"cancel_order": CANCEL_KINDS, "replace_order": REPLACE_KINDS}.get(method, WRITE_KINDS)
        return self._next("w", self._plan.rates.write, kinds)

    def of_request(self, method: str) -> Fault:
        """Give the fault of the next request over the wire."""
        if method == "GET":
            return self._next("r", self._plan.rates.read, WIRE_READS)
        return self._next("w", self._plan.rates.write, WIRE_WRITES.get(method, WIRE_WRITES["POST"]))

    def of_crash_point(self) -> bool:
        """Whether the process dies at the crash point it passes."""
        return self._next("c", self._plan.rates.crash, ("kill",)) is not NOTHING

    def of_transaction(self) -> Fault:
        """Give what the disk does to the next transaction."""
        return self._next("d", self._plan.rates.disk, DISK_KINDS)

    def of_happening(self, name: str, kind: str, number: int) -> bool:
        """Whether the world does what it planned."""
        if self._script is not None and name not in self._script:
            return False
        self._fire(name, Fault(kind, number))
        return True

    def passed(self, group: str) -> int:
        """Give how many occasions of a group have been passed."""
        return self._counts[group]

    def _next(self, group: str, rate: float, kinds: tuple[str, ...]) -> Fault:
        number = self._counts[group]
        self._counts[group] = number + 1
        if self.healed:
            return NOTHING
        name = f"{group}{number}"
        if self._script is not None:
            fault = self._script.get(name, NOTHING)
        else:
            if rate <= 0:
                return NOTHING
            draws = Draws(self._plan.seed, name)
            if not draws.chance(rate):
                return NOTHING
            fault = Fault(draws.one(kinds), draws.between(0, 10**6))
            if kinds in (WRITE_KINDS, WIRE_WRITES["POST"]) and fault.number % 40 == 0:
                fault = Fault(RARE, fault.number)
        if fault is not NOTHING:
            self._fire(name, fault)
        return fault

    def _fire(self, name: str, fault: Fault) -> None:
        self.fired[name] = fault
        self.on_fault(name, fault)
