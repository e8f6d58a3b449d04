"""What this machine is: processor, memory, graphics card; asked of the system, nothing imported beyond the standard
library.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass

_ASK_GPU = ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
_ANSWER_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class GraphicsCard:
    """An NVIDIA card: name, driver version and memory in MB."""

    name: str
    driver: str
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine this process runs on; `cores` are those it may use, `memory_mb` 0 where unknown."""

    system: str
    machine: str
    cores: int
    memory_mb: int
    card: GraphicsCard | None

    @property
    def is_apple_silicon(self) -> bool:
        """Whether it is a Mac with an ARM processor."""
        return self.system == "Darwin" and self.machine in ("arm64", "aarch64")


def this_machine() -> Machine:
    """Ask the system."""
    return Machine(platform.system(), platform.machine(), usable_cores(), _memory_mb(), _graphics_card())


def usable_cores() -> int:
    """Give how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def card_of(answer: str) -> GraphicsCard | None:
    """Read the first card of what the driver's tool prints; None for anything else.

    >>> card_of("NVIDIA A10, 550.54, 23028").memory_mb
    23028
    """
    for line in answer.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == len(("name", "driver", "memory")) and parts[2].isdigit():
            return GraphicsCard(parts[0], parts[1], int(parts[2]))
    return None


def _graphics_card() -> GraphicsCard | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        asked = subprocess.run([tool, *_ASK_GPU], capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return card_of(asked.stdout) if asked.returncode == 0 else None


def _memory_mb() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_048_576
    except (ValueError, OSError, AttributeError):
        return 0
