"""How things are measured: CPU seconds of one thread, medians, and a reference beside every figure of ours."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from data_manager import ta

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}

# Loaded before any reference loads pandas: TA-Lib then has no data frame wrappers, as in the trading process.
TALIB = ta.__name__

Judged = Literal["ratio >=", "ratio <=", "ours <=", "ours >=", "ours ==", "shown"]


@dataclass(frozen=True)
class Result:
    """One line of the table.

    `ratio` is reference over ours where a bar asks for a speed-up, else ours over reference; `judged` says which figure
    the bar is held against. A figure that is only shown has no bar and always holds.
    """

    name: str
    ours: float
    reference: float
    ratio: float
    bar: float | None
    judged: Judged
    unit: str
    runs: int
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        if self.bar is None:
            return True
        return {
            "ratio >=": self.ratio >= self.bar,
            "ratio <=": self.ratio <= self.bar,
            "ours <=": self.ours <= self.bar,
            "ours >=": self.ours >= self.bar,
            "ours ==": self.ours == self.bar,
            "shown": True,
        }[self.judged]

    def as_json(self) -> dict[str, object]:
        """Give the entry of `latest.json`."""
        shape = asdict(self)
        del shape["name"]
        return {**shape, "holds": self.holds}


def faster(  # noqa: PLR0913  one argument per column of the table
    name: str, ours: float, reference: float, *, bar: float | None, runs: int, unit: str, note: str = ""
) -> Result:
    """Give the result for a cost that must be `bar` times smaller than the reference's."""
    return Result(name, ours, reference, reference / ours, bar, "ratio >=" if bar else "shown", unit, runs, note)


def smaller(  # noqa: PLR0913  one argument per column of the table
    name: str, ours: float, reference: float, *, bar: float | None, runs: int, unit: str, note: str = ""
) -> Result:
    """Give the result for a figure that may be at most `bar` times the reference's."""
    return Result(name, ours, reference, ours / reference, bar, "ratio <=" if bar else "shown", unit, runs, note)


def cpu_seconds(work: Callable[[], object], *, runs: int = 5, loops: int = 1, warm: bool = True) -> float:
    """Give the median CPU seconds of one call."""
    if warm:
        work()
    spent = []
    for _ in range(runs):
        started = time.process_time()
        for _ in range(loops):
            work()
        spent.append((time.process_time() - started) / loops)
    return statistics.median(spent)


def wall_seconds(work: Callable[[], object], *, runs: int = 5) -> float:
    """Give the median wall seconds of one call, for what waits on the disk."""
    spent = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


@dataclass(frozen=True)
class ChildRun:
    """What a finished child process cost."""

    code: int
    cpu_s: float
    output: str


def child(command: Sequence[str], *, cwd: Path = ROOT) -> ChildRun:
    """Run a process to its end and measure its CPU seconds."""
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    output = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return ChildRun(process.returncode, usage.ru_utime + usage.ru_stime, output)


def python(code: str) -> ChildRun:
    """Run code in a fresh interpreter; raises `RuntimeError` when it fails."""
    return _succeeded(child([sys.executable, "-c", code]))


def task(name: str, *arguments: str) -> dict[str, float]:
    """Run one task of `benchmarks.bench_child` in its own process and give the figures it prints last."""
    done = _succeeded(child([sys.executable, "-m", "benchmarks.bench_child", name, *arguments]))
    figures: dict[str, float] = json.loads(done.output.strip().splitlines()[-1])
    return figures


def memory_mb(field: str, *, status: str | None = None) -> float:
    """Give `VmRSS` (now) or `VmHWM` (peak since the start) of this process, or from a given `/proc` status, in MB.

    The peak that `wait4` tells is of no use here: it begins with that of the parent.
    """
    for line in (status or Path("/proc/self/status").read_text()).splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field}")


def say(line: str) -> None:
    """Show progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def _succeeded(done: ChildRun) -> ChildRun:
    if done.code:
        raise RuntimeError(f"a measured process failed with {done.code}:\n{done.output[-2000:]}")
    return done
