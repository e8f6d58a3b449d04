"""Branch coverage of the money modules by their own fast tests.

`python -m benchmarks.branch_coverage` runs them once and prints each module with the lines and branches nothing
reached. It ends with 0 only if every module is covered whole and every test passed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.money_modules import ROOT, chosen_modules, money_tests
from benchmarks.mutation_runs import copied_tree

EXCLUDED = (r"^\s*\.\.\.$", "assert_never")


@dataclass(frozen=True)
class Covered:
    """What one module's tests reached; a branch is written from->to, with -n for the exit of what starts at n."""

    module: str
    statements: int
    branches: int
    missing_lines: tuple[int, ...]
    missing_branches: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Reached statements and branches in percent of all."""
        whole = self.statements + self.branches
        missing = len(self.missing_lines) + len(self.missing_branches)
        return 100.0 if whole == 0 else 100 * (whole - missing) / whole

    def line(self) -> str:
        """Give the module as one line for people."""
        lines = f" lines {', '.join(map(str, self.missing_lines))}" if self.missing_lines else ""
        branches = f" branches {', '.join(self.missing_branches)}" if self.missing_branches else ""
        return f"{self.percent:6.1f} %  {self.module}{lines}{branches}"


def main() -> int:
    """Run the tests under coverage and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", nargs="*", default=[], help="money modules by path or name; default all")
    parser.add_argument("--tests", nargs="*", default=[], help="test files instead of the usual ones")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bnml-coverage-") as folder:
        # In a copy, so that a file saved meanwhile does not move the lines that are counted.
        tree = copied_tree(ROOT, Path(folder) / "copy" / "main")
        modules = chosen_modules(arguments.modules, tree)
        passed = measure(Path(folder), tree, modules, tuple(arguments.tests) or money_tests(tree))
        found = covered(Path(folder), tree, modules)
    for item in found:
        print(item.line())
    whole = all(item.percent == 100 for item in found)
    if arguments.json:
        print(json.dumps({"passed": passed, "whole": whole, "modules": [asdict(item) for item in found]}))
    return 0 if passed and whole else 1


def measure(folder: Path, root: Path, modules: tuple[str, ...], tests: tuple[str, ...]) -> bool:
    """Run the tests of a tree under branch coverage; tells whether all passed.

    Leaves `.coverage` and `settings` in the folder.
    """
    settings = folder / "settings"
    settings.write_text(_settings(folder, modules, root), encoding="utf-8")
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q"]
    options = ["-p", "no:cacheprovider", "-m", "not slow", "--no-header", "--tb=short"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options, *tests], cwd=root, env=environment, stdout=sys.stderr, check=False)
    return done.returncode == 0


def covered(folder: Path, root: Path, modules: tuple[str, ...]) -> tuple[Covered, ...]:
    """Read what `measure` left in the folder, worst first."""
    target = folder / "coverage.json"
    command = [sys.executable, "-m", "coverage", "json", f"--rcfile={folder / 'settings'}", "-q", "-o", str(target)]
    subprocess.run(command, cwd=root, check=True)
    files = json.loads(target.read_text(encoding="utf-8"))["files"]
    found = (_of(name, files[name]) for name in modules if name in files)
    return tuple(sorted(found, key=lambda item: item.percent))


def _of(module: str, told: dict[str, object]) -> Covered:
    summary = told["summary"]
    assert isinstance(summary, dict)
    lines, branches = told["missing_lines"], told["missing_branches"]
    assert isinstance(lines, list)
    assert isinstance(branches, list)
    arcs = tuple(f"{start}->{end}" for start, end in branches)
    return Covered(module, summary["num_statements"], summary["num_branches"], tuple(lines), arcs)


def _settings(folder: Path, modules: tuple[str, ...], root: Path) -> str:
    included = "\n    ".join(str(root / name) for name in modules)
    excluded = "\n    ".join(EXCLUDED)
    return (
        f"[run]\nbranch = True\ndata_file = {folder / '.coverage'}\nrelative_files = True\n"
        f"include =\n    {included}\n"
        f"[report]\nexclude_also =\n    {excluded}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
