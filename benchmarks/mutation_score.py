"""How many small wrong changes of the money modules their own tests find.

`python -m benchmarks.mutation_score --sample 300 --seed 1 --jobs 2 --json` draws that many of all mutants, runs the
tests that reach each, and prints the score, killed / (killed + survived), with every survivor as a diff. A change that
hangs the tests counts as killed and is counted apart; one in a line no test reaches counts as survived. Changes that
cannot be seen from outside are left out only if `equivalent_mutants.json` names them, each with its reason.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import multiprocessing
import multiprocessing.queues
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.money_modules import ROOT, chosen_modules, money_modules, money_tests
from benchmarks.mutants import Mutant, mutants_of
from benchmarks.mutation_runs import (
    KILLED,
    SURVIVED,
    TIMEOUT,
    UNREACHED,
    Baseline,
    Outcome,
    copied_tree,
    judge,
    learn,
    read_baseline,
)

EQUIVALENT = Path(__file__).with_name("equivalent_mutants.json")
FOUND = (KILLED, TIMEOUT)
LIBRARIES = ("numpy", "pandas", "pydantic", "yaml", "aiohttp", "ccxt", "coverage", "hypothesis", "pytest", "sqlite3")


@dataclass(frozen=True)
class Judged:
    """One mutant and what became of it."""

    mutant: Mutant
    outcome: Outcome

    @property
    def is_found(self) -> bool:
        """Whether the tests noticed it."""
        return self.outcome.result in FOUND


def main() -> int:
    """Draw, run and print; 0 when the score reaches the wanted one."""
    arguments = _parsed()
    _import_libraries()
    with tempfile.TemporaryDirectory(prefix="bnml-mutants-", dir=_memory()) as folder:
        trees = [copied_tree(ROOT, Path(folder) / f"copy-{number}" / "main") for number in range(arguments.jobs)]
        modules = chosen_modules(arguments.modules, trees[0])
        population = [mutant for name in modules for mutant in mutants_of(name, _source(trees[0] / name))]
        reasons = equivalents()
        counted = [mutant for mutant in population if (mutant.module, *mutant.changed) not in reasons]
        size = min(arguments.sample or len(counted), len(counted))
        drawn = random.Random(arguments.seed).sample(counted, size)
        _say(f"{len(population)} mutants, {len(population) - len(counted)} equivalent, {size} drawn")
        baseline = _baseline(trees[0], Path(folder) / "baseline.json", arguments.baseline)
        baseline = baseline.quick(arguments.longest)
        judged = _all_judged(trees, drawn, baseline)
    figures = summary(judged) | {"seed": arguments.seed, "mutants": len(population), "sample": size}
    figures["equivalent"] = len(population) - len(counted)
    print(report(judged))
    if arguments.json:
        print(json.dumps(figures, sort_keys=True))
    return 0 if score(judged) >= arguments.wanted else 1


def summary(judged: Sequence[Judged]) -> dict[str, object]:
    """Give the figures: the whole score, the counts, and both for each module."""
    by_module: dict[str, list[Judged]] = {}
    for item in judged:
        by_module.setdefault(item.mutant.module, []).append(item)
    counts = Counter(item.outcome.result for item in judged)
    modules = {name: [sum(item.is_found for item in items), len(items)] for name, items in sorted(by_module.items())}
    names = (KILLED, TIMEOUT, SURVIVED, UNREACHED)
    return {"score": score(judged), **{name: counts[name] for name in names}, "modules": modules}


def score(judged: Sequence[Judged]) -> float:
    """Give the share of mutants the tests found; 1 for none."""
    return round(sum(item.is_found for item in judged) / len(judged), 4) if judged else 1.0


def report(judged: Sequence[Judged]) -> str:
    """Give survivors as diffs, then a line for each module, for people."""
    missed = sorted(
        (item for item in judged if not item.is_found), key=lambda item: (item.mutant.module, item.mutant.lines)
    )
    lines = [f"\n{item.outcome.result} ({item.outcome.tests} tests)\n{item.mutant.diff()}" for item in missed]
    names = sorted({item.mutant.module for item in judged})
    for name in names:
        own = [item for item in judged if item.mutant.module == name]
        lines.append(f"{100 * score(own):6.1f} %  {sum(item.is_found for item in own):3} of {len(own):3}  {name}")
    kinds = sorted({item.mutant.kind for item in judged})
    for kind in kinds:
        own = [item for item in judged if item.mutant.kind == kind]
        lines.append(f"{100 * score(own):6.1f} %  {sum(item.is_found for item in own):3} of {len(own):3}  {kind}")
    return "\n".join(lines)


def equivalents(path: Path = EQUIVALENT) -> Mapping[tuple[str, str, str], str]:
    """Read the changes nobody can see, by module, text before and text after; raises `ValueError` without a reason."""
    found = {}
    for item in json.loads(path.read_text(encoding="utf-8")):
        if not item["reason"].strip():
            raise ValueError(f"an equivalent mutant needs a reason: {item}")
        found[(item["module"], item["before"], item["after"])] = item["reason"]
    return found


def _all_judged(trees: Sequence[Path], drawn: Sequence[Mutant], baseline: Baseline) -> tuple[Judged, ...]:
    """Judge every mutant, as many at a time as there are copies of the tree."""
    context = multiprocessing.get_context("fork")
    free: multiprocessing.queues.SimpleQueue[Path] = context.SimpleQueue()
    for tree in trees:
        free.put(tree)
    judged: list[Judged] = []
    with context.Pool(len(trees), _begin, (free, baseline)) as pool:
        for item in pool.imap_unordered(_judged, drawn):
            judged.append(item)
            found = sum(one.is_found for one in judged)
            what = f"{item.mutant.module}:{item.mutant.lines[0]} {item.mutant.kind}"
            _say(f"{len(judged)}/{len(drawn)} found {found}  {item.outcome.result} {item.outcome.seconds:.0f} s {what}")
            if not item.is_found:
                _say(item.mutant.diff())
    return tuple(judged)


_worker: dict[str, object] = {}


def _begin(free: multiprocessing.queues.SimpleQueue[Path], baseline: Baseline) -> None:
    _worker["tree"], _worker["baseline"] = free.get(), baseline


def _judged(mutant: Mutant) -> Judged:
    tree, baseline = _worker["tree"], _worker["baseline"]
    assert isinstance(tree, Path)
    assert isinstance(baseline, Baseline)
    return Judged(mutant, judge(tree, mutant, baseline, tree.parent / "run.out"))


def _baseline(tree: Path, report: Path, kept: Path | None) -> Baseline:
    """Learn what the unchanged tests do, or read it back if nothing has changed since it was kept."""
    mark = _digest(tree)
    if kept is not None and kept.exists():
        told = json.loads(kept.read_text(encoding="utf-8"))
        if told["digest"] == mark:
            return read_baseline(told)
    began = time.monotonic()
    baseline = learn(tree, money_modules(tree), money_tests(tree), report)
    failing = f", failing and left out: {', '.join(baseline.failing)}" if baseline.failing else ""
    _say(f"{len(baseline.seconds)} tests pass unchanged in {time.monotonic() - began:.0f} s{failing}")
    if kept is not None:
        told = json.loads(report.read_text(encoding="utf-8"))
        kept.write_text(json.dumps(told | {"digest": mark}), encoding="utf-8")
    return baseline


def _digest(tree: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(tree.rglob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def _import_libraries() -> None:
    """Import once what every run needs and no mutant touches; each run is a fork of this process."""
    for name in LIBRARIES:
        importlib.import_module(name)


def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _memory() -> str | None:
    """Give a folder in memory where the system has one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", nargs="*", default=[], help="money modules by path or name; default all")
    parser.add_argument("--sample", type=int, default=300, help="how many mutants to draw; 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--longest", type=float, default=30.0, help="leave out tests that need more seconds than that")
    parser.add_argument("--wanted", type=float, default=0.85, help="the score below which the command ends with 1")
    parser.add_argument("--baseline", type=Path, help="keep what the unchanged tests reach here and use it again")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
