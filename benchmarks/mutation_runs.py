"""Runs tests in copies of the tree: once to learn which test runs which line, then once for each mutant.

A worker process imports the libraries once and forks for each run, so that a run costs only the project's own imports.
No bytecode of a changed module is ever read or written.
"""

from __future__ import annotations

import compileall
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.mutants import Mutant

PACKAGES = ("bn_ml", "data_manager", "ml_engine", "scanner", "trader", "monitoring", "public_api", "scripts", "tests")
FOLDERS = (*PACKAGES, "benchmarks", "configs", "docs")
FILES = ("pyproject.toml", "README.md", "Makefile")
OPTIONS = ("-q", "-p", "no:cacheprovider", "--no-header", "-W", "ignore::pytest.PytestAssertRewriteWarning")
FIRST_FILES = 3
"""How many test files a mutant meets before all others: those that speak most of its lines for their time."""
FIRST_SECONDS = 6.0
LEAST_CPU_S, CPU_FACTOR, WALL_FACTOR = 20.0, 4.0, 10.0
"""A run may take so many times the CPU seconds its tests needed unchanged, and a hang so much more wall time."""

KILLED, SURVIVED, TIMEOUT, UNREACHED = "killed", "survived", "timeout", "unreached"


@dataclass
class Baseline:
    """How the unchanged program does: seconds of each passing test, tests by line of each module, failing tests."""

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)

    def quick(self, longest_s: float) -> Baseline:
        """Give the same without the tests that need longer: what survives may then be found after all, never less."""
        kept = {test: seconds for test, seconds in self.seconds.items() if seconds <= longest_s}
        return Baseline(kept, self.tests, self.failing)

    def covering(self, mutant: Mutant) -> list[str]:
        """Give the tests that run the mutant's lines (of lines run at import, its module); quick ones first."""
        by_line = self.tests.get(mutant.module, {})
        found = {test for line in mutant.lines for test in by_line.get(line, ())}
        if not found:
            found = {test for tests in by_line.values() for test in tests}
        return sorted((test for test in found if test in self.seconds), key=lambda test: (self.seconds[test], test))

    def first(self, tests: Sequence[str]) -> list[str]:
        """Give the tests a mutant meets first."""
        by_file: dict[str, list[str]] = {}
        for test in tests:
            by_file.setdefault(test.split("::")[0], []).append(test)
        chosen: list[str] = []
        for name in sorted(by_file, key=lambda name: -self._promise(by_file[name]))[:FIRST_FILES]:
            left = FIRST_SECONDS / FIRST_FILES
            for test in by_file[name]:
                left -= self.seconds[test]
                chosen += [test] if left >= 0 else []
        return chosen

    def _promise(self, tests: Sequence[str]) -> float:
        quick = [self.seconds[test] for test in tests if self.seconds[test] < FIRST_SECONDS / FIRST_FILES]
        return len(quick) / (1.0 + sum(quick))


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant; `by` is the test that found it, `tests` how many were run or meant to be."""

    result: str
    by: str = ""
    tests: int = 0
    seconds: float = 0.0


def copied_tree(root: Path, target: Path) -> Path:
    """Copy what the tests need, with its bytecode made beforehand, since no run writes any."""
    target.mkdir(parents=True)
    for name in FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        if (root / name).is_file():
            shutil.copy2(root / name, target / name)
    shared = root.parent / "shared"
    if shared.is_dir() and not (target.parent / "shared").exists():
        (target.parent / "shared").symlink_to(shared)
    compileall.compile_dir(target, quiet=2)
    return target


def learn(tree: Path, modules: Collection[str], tests: Sequence[str], report: Path) -> Baseline:
    """Run all tests once on the unchanged tree under coverage."""
    ended = _forked(lambda: _learn(tree, modules, tests, report), report.with_suffix(".out"), cpu_s=3600, wall_s=3600)
    if not report.exists():
        told = report.with_suffix(".out").read_text(encoding="utf-8")[-3000:]
        raise RuntimeError(f"the unchanged tests did not run ({ended}): {told}")
    return read_baseline(json.loads(report.read_text(encoding="utf-8")))


def read_baseline(told: Mapping[str, Any]) -> Baseline:
    """Read what `learn` has written."""
    by_module = {name: {int(line): found for line, found in lines.items()} for name, lines in told["tests"].items()}
    return Baseline(told["seconds"], by_module, told["failing"])


def judge(tree: Path, mutant: Mutant, baseline: Baseline, log: Path) -> Outcome:
    """Run the tests that may find a mutant against it, the likely ones first; the tree is whole again afterwards."""
    tests = baseline.covering(mutant)
    if not tests:
        return Outcome(UNREACHED)
    began = time.monotonic()
    path = tree / mutant.module
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        stale.unlink()
    path.write_text(mutant.after, encoding="utf-8")
    try:
        first = baseline.first(tests)
        rest = [test for test in tests if test not in set(first)]
        for chosen in filter(None, (first, rest)):
            result, by = _tried(tree, chosen, sum(baseline.seconds[test] for test in chosen), log)
            if result != SURVIVED:
                return Outcome(result, by, len(tests), time.monotonic() - began)
        return Outcome(SURVIVED, "", len(tests), time.monotonic() - began)
    finally:
        path.write_text(mutant.before, encoding="utf-8")


def _tried(tree: Path, tests: Sequence[str], expected_s: float, log: Path) -> tuple[str, str]:
    report = log.with_suffix(".failed")
    report.unlink(missing_ok=True)
    cpu_s = LEAST_CPU_S + CPU_FACTOR * expected_s
    ended = _forked(lambda: _run(tree, tests, report), log, cpu_s=cpu_s, wall_s=WALL_FACTOR * cpu_s)
    if ended == 0:
        return SURVIVED, ""
    if ended in (-signal.SIGXCPU, -signal.SIGKILL):
        return TIMEOUT, ""
    return KILLED, report.read_text(encoding="utf-8") if report.exists() else f"exit {ended}"


def _forked(work: Callable[[], int], output: Path, *, cpu_s: float, wall_s: float) -> int:
    """Do work in a child of its own and give its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 1, int(cpu_s) + 6))
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            code = int(work())
        except BaseException:  # noqa: BLE001 - the child must end here, whatever it met
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    until = time.monotonic() + wall_s
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.02)


def _prepared(tree: Path) -> None:
    os.chdir(tree)
    sys.path[:] = [str(tree), *(item for item in sys.path if Path(item or ".").resolve() != tree.resolve())]
    sys.dont_write_bytecode = True
    # The library's own draws are kept from run to run, and a failing example is enough: nobody reads a smaller one.
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=tuple(HealthCheck),
    )
    settings.load_profile("mutants")


def _run(tree: Path, tests: Sequence[str], report: Path) -> int:
    import pytest

    _prepared(tree)

    class FirstFailure:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                noted.write_text(report.nodeid, encoding="utf-8")

    noted = report
    options = [*OPTIONS, "-x", "--tb=line"]
    return int(pytest.main([*options, *tests], plugins=[FirstFailure()]))


def _learn(tree: Path, modules: Collection[str], tests: Sequence[str], report: Path) -> int:
    import coverage
    import pytest

    _prepared(tree)
    measured = coverage.Coverage(data_file=None, include=[str(tree / name) for name in modules], config_file=False)
    seconds: dict[str, float] = {}
    failing: list[str] = []

    class Watching:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item: pytest.Item) -> object:
            measured.switch_context(item.nodeid)
            return (yield)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
            if report.failed or (report.skipped and report.when == "setup"):
                failing.append(report.nodeid)

    measured.start()
    options = [*OPTIONS, "--tb=short", "-m", "not slow"]
    code = int(pytest.main([*options, *tests], plugins=[Watching()]))
    measured.stop()
    found = {name: _by_line(measured, str(tree / name)) for name in modules}
    passing = {test: time_s for test, time_s in seconds.items() if test not in set(failing)}
    report.write_text(json.dumps({"seconds": passing, "tests": found, "failing": failing}), encoding="utf-8")
    return code


def _by_line(measured: object, path: str) -> Mapping[int, Sequence[str]]:
    import coverage

    assert isinstance(measured, coverage.Coverage)
    by_line = measured.get_data().contexts_by_lineno(path)
    return {line: sorted(filter(None, tests)) for line, tests in by_line.items()}
