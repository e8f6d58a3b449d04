"""`make bench`: speed and memory against references measured in the same run.

Prints one line per figure and writes `artifacts/bench/latest.json`. A bar that is missed is shown as such and is no
error; the exit code is 1 only when a measurement itself breaks.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench_base import ONE_THREAD, ROOT, Result, say

if TYPE_CHECKING:
    from benchmarks.bench_bundles import Ensemble

TARGET = ROOT / "artifacts" / "bench"
Section = Callable[[Path], list[Result]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the wanted sections and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="sections to run; written to partial.json")
    wanted = parser.parse_args(argv).only or list(SECTIONS)
    # Set before numpy and the libraries are loaded: everything is measured on one thread.
    os.environ.update(ONE_THREAD)
    TARGET.mkdir(parents=True, exist_ok=True)
    results, broken = list[Result](), list[str]()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=TARGET, prefix="work-") as folder:
        for name in wanted:
            say(f"[{time.perf_counter() - started:4.0f} s] {name}")
            try:
                found = SECTIONS[name](Path(folder))
            except Exception:  # noqa: BLE001  one broken section must not hide the others
                traceback.print_exc()
                broken.append(name)
                continue
            results += found
            for result in found:
                print(line(result), flush=True)
    _write(results, TARGET / ("latest.json" if len(wanted) == len(SECTIONS) and not broken else "partial.json"))
    summarise(results, broken, time.perf_counter() - started)
    return 1 if broken else 0


def line(result: Result) -> str:
    """Give a row of the table."""
    bar = "" if result.bar is None else f"{result.judged} {result.bar:g}"
    verdict = "" if result.bar is None else "holds" if result.holds else "MISSES"
    return (
        f"{result.name:<36} {result.ours:>11.4g} {result.reference:>11.4g} {result.ratio:>9.3g}x  "
        f"{bar:<16} {verdict:<7} {result.unit} ({result.runs} runs)"
    )


def summarise(results: Sequence[Result], broken: Sequence[str], seconds: float) -> None:
    """Print the whole table again with notes, then the misses."""
    print(f"\n{'figure':<36} {'ours':>11} {'reference':>11} {'ratio':>10}  {'bar':<16} {'':<7} unit")
    for result in results:
        print(line(result))
        if result.note:
            print(f"{'':<8}{result.note}")
    judged = [result for result in results if result.bar is not None]
    missed = [result.name for result in judged if not result.holds]
    print(f"\n{len(judged) - len(missed)} of {len(judged)} bars hold, {seconds:.0f} s")
    for name in missed:
        print(f"misses: {name}")
    for name in broken:
        print(f"broken: {name}")


def _write(results: Sequence[Result], path: Path) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps({result.name: result.as_json() for result in results}, indent=1) + "\n")
    partial.replace(path)
    print(f"written: {path.relative_to(ROOT)}")


@cache
def _ensemble() -> Ensemble:
    say("fitting the ensemble on 5,000 x 50")
    from benchmarks.bench_bundles import Ensemble

    return Ensemble()


def _features(_: Path) -> list[Result]:
    from benchmarks import bench_features

    return bench_features.measure()


def _inference(_: Path) -> list[Result]:
    from benchmarks import bench_inference

    return bench_inference.one_row(_ensemble())


def _bundles(folder: Path) -> list[Result]:
    from benchmarks import bench_inference

    return bench_inference.many_bundles(_ensemble(), folder)


def _startup(_: Path) -> list[Result]:
    from benchmarks import bench_startup

    return bench_startup.measure()


def _state(folder: Path) -> list[Result]:
    from benchmarks import bench_state

    return bench_state.measure(folder)


def _scan(folder: Path) -> list[Result]:
    from benchmarks import bench_scan

    return bench_scan.measure(_ensemble(), folder)


def _replay(folder: Path) -> list[Result]:
    from benchmarks import bench_replay

    return bench_replay.measure(_ensemble(), folder)


def _training_load(folder: Path) -> list[Result]:
    from benchmarks import bench_training_load

    return bench_training_load.measure(_ensemble(), folder)


def _tuning(_: Path) -> list[Result]:
    from benchmarks import bench_tuning

    return bench_tuning.measure()


def _api(folder: Path) -> list[Result]:
    from benchmarks import bench_api

    return bench_api.measure(folder)


SECTIONS: Mapping[str, Section] = {
    "features": _features,
    "inference": _inference,
    "bundles": _bundles,
    "startup": _startup,
    "state": _state,
    "scan": _scan,
    "replay": _replay,
    "tuning": _tuning,
    "training_load": _training_load,
    "api": _api,
}

if __name__ == "__main__":
    raise SystemExit(main())
