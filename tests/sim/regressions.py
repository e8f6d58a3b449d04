"""Schedules that failed once: their seeds and shrunk faults, replayed before anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.sim.faults import Fault

PATH = Path(__file__).with_name("regressions.json")


@dataclass(frozen=True, slots=True)
class Regression:
    """One schedule that failed, with the faults that were needed."""

    seed: int
    invariant: str
    message: str
    script: dict[str, Fault]
    wire: bool = False


def read_regressions(path: Path = PATH) -> tuple[Regression, ...]:
    """Read the list; empty when there is none."""
    if not path.exists():
        return ()
    return tuple(
        Regression(
            item["seed"],
            item["invariant"],
            item["message"],
            {name: Fault(**fault) for name, fault in item["script"].items()},
            item.get("wire", False),
        )
        for item in json.loads(path.read_text(encoding="utf-8"))
    )


def add_regression(found: Regression, path: Path = PATH) -> None:
    """Add a schedule unless it is listed."""
    known = read_regressions(path)
    if any((item.seed, item.script) == (found.seed, found.script) for item in known):
        return
    rows = [_plain(item) for item in (*known, found)]
    path.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def plain_script(script: Mapping[str, Fault]) -> dict[str, dict[str, str | int]]:
    """Give a script as plain values."""
    return {name: asdict(fault) for name, fault in script.items()}


def _plain(item: Regression) -> dict[str, object]:
    return {
        "seed": item.seed,
        "invariant": item.invariant,
        "message": item.message,
        "script": plain_script(item.script),
        "wire": item.wire,
    }
