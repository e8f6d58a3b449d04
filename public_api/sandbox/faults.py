"""What goes wrong with which request: by seeded rates, or scripted one by one. Decides only; repeatable."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from bn_ml.errors import ConfigError
from public_api.sandbox.requests import Request

KEPT_FAULTS = 10_000


class FaultKind(Enum):
    """Ways a request can go wrong. BEFORE: the venue never sees it; AFTER: it was carried out."""

    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    DELAY = "delay"
    LATE = "late"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    UNKNOWN_BEFORE = "unknown_before"
    UNKNOWN_AFTER = "unknown_after"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    BUS_ERROR_AFTER = "bus_error_after"
    EMPTY = "empty"
    CUT = "cut"
    FORBIDDEN = "forbidden"
    BAD_GATEWAY_BEFORE = "bad_gateway_before"
    BAD_GATEWAY_AFTER = "bad_gateway_after"
    LAG = "lag"
    STALE_OPEN_ORDERS = "stale_open_orders"
    CLOCK_JUMP = "clock_jump"
    BURST_429 = "burst_429"
    TWICE = "twice"


_READS = (
    FaultKind.DROP_BEFORE,
    FaultKind.DROP_AFTER,
    FaultKind.DELAY,
    FaultKind.UNAVAILABLE,
    FaultKind.OVERLOADED,
    FaultKind.UNKNOWN_BEFORE,
    FaultKind.TIMEOUT_BEFORE,
    FaultKind.EMPTY,
    FaultKind.CUT,
    FaultKind.FORBIDDEN,
    FaultKind.BAD_GATEWAY_BEFORE,
    FaultKind.CLOCK_JUMP,
    FaultKind.BURST_429,
)
_PLACEMENTS = (FaultKind.LAG, FaultKind.STALE_OPEN_ORDERS, FaultKind.TWICE, FaultKind.LATE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault with its size.

    `amount`: ms of a delay or a burst, ms by which the venue's clock is then ahead, queries of a lag, or how many per
    mille of a cut body arrive.
    """

    kind: FaultKind
    amount: int = 0


@dataclass(frozen=True, slots=True)
class FaultProfile:
    """How often each kind happens (a fraction of the requests it fits), and how large it is: bounds, both included."""

    rates: Mapping[FaultKind, float] = field(default_factory=dict)
    sizes: Mapping[FaultKind, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse rates that are no fractions or more than a whole together."""
        if any(not 0 <= rate <= 1 for rate in self.rates.values()) or sum(self.rates.values()) > 1:
            raise ConfigError([f"fault rates must be fractions with a sum of at most 1, got {dict(self.rates)}"])


DEFAULT_SIZES: Mapping[FaultKind, tuple[int, int]] = {
    FaultKind.DELAY: (200, 3000),
    FaultKind.LATE: (500, 8000),
    FaultKind.LAG: (1, 4),
    FaultKind.STALE_OPEN_ORDERS: (1, 3),
    FaultKind.CLOCK_JUMP: (-2500, 2500),
    FaultKind.BURST_429: (1000, 5000),
    FaultKind.CUT: (0, 950),
}
_NAMED: Mapping[str, FaultProfile] = {
    "none": FaultProfile(),
    "flaky": FaultProfile(
        {
            FaultKind.DROP_BEFORE: 0.005,
            FaultKind.DROP_AFTER: 0.005,
            FaultKind.DELAY: 0.01,
            FaultKind.UNAVAILABLE: 0.003,
            FaultKind.UNKNOWN_AFTER: 0.003,
            FaultKind.BAD_GATEWAY_BEFORE: 0.002,
            FaultKind.LAG: 0.01,
        }
    ),
    "harsh": FaultProfile(
        {
            FaultKind.DROP_BEFORE: 0.02,
            FaultKind.DROP_AFTER: 0.03,
            FaultKind.DELAY: 0.02,
            FaultKind.LATE: 0.01,
            FaultKind.UNAVAILABLE: 0.01,
            FaultKind.OVERLOADED: 0.01,
            FaultKind.UNKNOWN_BEFORE: 0.01,
            FaultKind.UNKNOWN_AFTER: 0.015,
            FaultKind.TIMEOUT_BEFORE: 0.005,
            FaultKind.TIMEOUT_AFTER: 0.015,
            FaultKind.BUS_ERROR_AFTER: 0.005,
            FaultKind.EMPTY: 0.01,
            FaultKind.CUT: 0.01,
            FaultKind.FORBIDDEN: 0.002,
            FaultKind.BAD_GATEWAY_BEFORE: 0.005,
            FaultKind.BAD_GATEWAY_AFTER: 0.01,
            FaultKind.LAG: 0.05,
            FaultKind.STALE_OPEN_ORDERS: 0.03,
            FaultKind.CLOCK_JUMP: 0.002,
            FaultKind.BURST_429: 0.002,
        }
    ),
}


@dataclass(frozen=True, slots=True)
class ScriptedFault:
    """A fault for the next `times` requests of a method and path (empty: any), after `skip` that fit."""

    fault: Fault
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int = 1

    def fits(self, request: Request) -> bool:
        """Whether it is meant for a request."""
        return self.method in ("", request.method) and self.path in ("", request.path)


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """A fault that happened, to the request of a number (counted from 1)."""

    number: int
    fault: Fault
    method: str
    path: str


class FaultPlan:
    """Decides for each request in turn. The same seed and the same requests give the same faults."""

    def __init__(self, profile: FaultProfile | None = None, *, seed: int = 0) -> None:
        """Start with a profile, `none` by default."""
        self._profile = profile or FaultProfile()
        self._seed = seed
        self._number = 0
        self._scripted: list[ScriptedFault] = []
        self.records: deque[FaultRecord] = deque(maxlen=KEPT_FAULTS)
        self.counts: Counter[FaultKind] = Counter()

    def use(self, profile: FaultProfile) -> None:
        """Change the profile; scripted faults stay."""
        self._profile = profile

    def script(self, faults: Iterable[ScriptedFault]) -> None:
        """Add faults that come before any by chance; earlier ones first."""
        self._scripted.extend(faults)

    def clear(self) -> None:
        """Forget the scripted faults."""
        self._scripted.clear()

    def decide(self, request: Request) -> Fault | None:
        """Give what goes wrong with the next request."""
        self._number += 1
        fault = self._from_script(request) or self._by_chance(request)
        if fault is not None:
            self.counts[fault.kind] += 1
            self.records.append(FaultRecord(self._number, fault, request.method, request.path))
        return fault

    def _from_script(self, request: Request) -> Fault | None:
        for index, entry in enumerate(self._scripted):
            if not entry.fits(request):
                continue
            if entry.skip:
                self._scripted[index] = _with(entry, skip=entry.skip - 1)
                continue
            if entry.times > 1:
                self._scripted[index] = _with(entry, times=entry.times - 1)
            else:
                del self._scripted[index]
            return Fault(entry.fault.kind, entry.fault.amount or self._size(entry.fault.kind))
        return None

    def _by_chance(self, request: Request) -> Fault | None:
        if not self._profile.rates:
            return None
        drawn = self._fraction("kind")
        for kind in FaultKind:
            rate = self._profile.rates.get(kind, 0.0)
            if drawn < rate:
                return Fault(kind, self._size(kind)) if _fitting(kind, request) else None
            drawn -= rate
        return None

    def _size(self, kind: FaultKind) -> int:
        low, high = self._profile.sizes.get(kind) or DEFAULT_SIZES.get(kind, (0, 0))
        return low + int(self._fraction("size") * (high - low + 1))

    def _fraction(self, purpose: str) -> float:
        digest = hashlib.blake2b(f"{self._seed} {self._number} {purpose}".encode(), digest_size=7).digest()
        return int.from_bytes(digest, "big") / (1 << 56)


def open_profile(name: str) -> FaultProfile:
    """Give a profile by its name, or from a JSON file `{"rates": {kind: fraction}, "sizes": {kind: [low, high]}}`.

    Raises `ConfigError` when there is neither, or the file makes no sense.
    """
    known = _NAMED.get(name)
    if known is not None:
        return known
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8"))
        rates = {FaultKind(kind): float(rate) for kind, rate in content.get("rates", {}).items()}
        sizes = {FaultKind(kind): (int(low), int(high)) for kind, (low, high) in content.get("sizes", {}).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        names = ", ".join(_NAMED)
        raise ConfigError([f"fault profile {name!r} is none of {names} and no readable profile: {error}"]) from error
    return FaultProfile(rates, sizes)


def read_script(rows: Sequence[Mapping[str, object]]) -> tuple[ScriptedFault, ...]:
    """Read scripted faults from decoded JSON: `kind`, and if wanted `amount`, `method`, `path`, `skip`, `times`.

    Raises `ConfigError` on anything else.
    """
    return tuple(_scripted(row) for row in rows)


def _scripted(row: Mapping[str, object]) -> ScriptedFault:
    unknown = row.keys() - {"kind", "amount", "method", "path", "skip", "times"}
    if unknown:
        raise ConfigError([f"scripted fault: unknown key {name!r}" for name in sorted(unknown)])
    try:
        fault = Fault(FaultKind(str(row.get("kind"))), int(str(row.get("amount", 0))))
        skip, times = int(str(row.get("skip", 0))), int(str(row.get("times", 1)))
    except ValueError as error:
        raise ConfigError([f"scripted fault: {error}"]) from error
    return ScriptedFault(fault, str(row.get("method", "")).upper(), str(row.get("path", "")), skip, times)


def _with(entry: ScriptedFault, *, skip: int | None = None, times: int | None = None) -> ScriptedFault:
    return ScriptedFault(
        entry.fault,
        entry.method,
        entry.path,
        entry.skip if skip is None else skip,
        entry.times if times is None else times,
    )


def _fitting(kind: FaultKind, request: Request) -> bool:
    if request.method == "GET":
        return kind in _READS
    return kind not in _PLACEMENTS or request.method == "POST"
