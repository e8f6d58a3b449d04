"""How a soak goes: which cycles run undisturbed and which with what fault around them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

CALM, WEBHOOK, STREAM, TRAINER, DISK = "calm", "webhook", "stream", "trainer", "disk"
FAULTS = (WEBHOOK, STREAM, TRAINER, DISK)
SETTLING = 2
"""So many cycles at the beginning of each block belong to neither: what was is being undone."""


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """One soak. A block of `block` slots has one kind; between two faulty blocks lies an undisturbed one.

    A slot is the market time between two cycles; a bar begins in the middle of its block.

    `speed` is in market seconds per real second. `webhook` and `control` are where receiver and sandbox are told what
    to do. The first `warm_up` cycles count for nothing.
    """

    folder: Path
    cycles: int
    block: int
    warm_up: int
    speed: float
    scan_s: int
    webhook: str = ""
    control: str = ""

    def slot_of(self, market_ms: int) -> int:
        """Give the slot of an instant."""
        return market_ms // (self.scan_s * 1000) + self.block // 2

    def kind_of(self, slot: int) -> str:
        """Give what is wrong during a slot, counted from the beginning of a block."""
        block = slot // self.block
        return CALM if block % 2 == 0 else FAULTS[(block // 2) % len(FAULTS)]

    def counts(self, cycle: int, slot: int) -> bool:
        """Tell whether a cycle's duration counts: after the warm-up, and away from the edge of its block."""
        return cycle >= self.warm_up and slot % self.block >= SETTLING

    def write(self, path: Path) -> Path:
        """Keep the plan in a file."""
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> SoakPlan:
        """Give the plan of a file."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**kept, "folder": Path(kept["folder"])})
