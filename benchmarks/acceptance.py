"""Does the acceptance list hold together: every number once, every proof named there, every name real.

`python -m benchmarks.acceptance` reads `docs/acceptance.md`, checks that each ticked row names a test or a command, and
each other row a reason, that every test file, test function and make target exists, and that pytest can collect the
files. `--no-collect` leaves pytest out; `--run` runs the tests named. Exit code 1 with one line per finding.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "acceptance.md"
RANGES = ((1, 15), (20, 26), (30, 39), (40, 55), (60, 78), (80, 92), (100, 110), (120, 125))
NUMBERS = tuple(f"S-{number:03d}" for first, last in RANGES for number in range(first, last + 1))
PROVEN, OPEN = "x", "-"
REASON = "open: "
_ROW = re.compile(r"^\| (\S) \| (S-\d{3}) \| (.+?) \| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One promise: its mark, its number, and what proves it."""

    mark: str
    number: str
    proof: str

    @property
    def tests(self) -> tuple[str, ...]:
        """The test files and functions named, as pytest writes them."""
        return tuple(re.findall(r"`(tests/[^`]+)`", self.proof))

    @property
    def targets(self) -> tuple[str, ...]:
        """The make targets named."""
        return tuple(re.findall(r"`make ([a-z-]+)[^`]*`", self.proof))


def rows(text: str) -> tuple[Row, ...]:
    """Read the rows of the list.

    >>> rows("| x | S-001 | promise | `make test` |")
    (Row(mark='x', number='S-001', proof='`make test`'),)
    """
    return tuple(Row(mark, number, proof) for mark, number, _, proof in _ROW.findall(text))


def findings(found: Sequence[Row], root: Path = ROOT) -> list[str]:
    """Say everything that is wrong with the rows; empty when the list holds together."""
    numbers = [row.number for row in found]
    problems = [f"{number}: missing" for number in NUMBERS if number not in numbers]
    problems += [f"{number}: unknown" for number in numbers if number not in NUMBERS]
    problems += [f"{number}: more than once" for number in sorted({n for n in numbers if numbers.count(n) > 1})]
    known = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for row in found:
        problems += [f"{row.number}: {problem}" for problem in _row_problems(row, root, known)]
    return problems


def _row_problems(row: Row, root: Path, targets: set[str]) -> Iterator[str]:
    reason = row.proof.partition(REASON)[2].strip()
    if row.mark not in (PROVEN, OPEN):
        yield f"mark {row.mark!r} is neither {PROVEN} nor {OPEN}"
    if row.mark == PROVEN and (reason or not (row.tests or row.targets)):
        yield "ticked, but it names no proof or says what is open"
    if row.mark == OPEN and not reason:
        yield "not ticked, but no reason is given"
    for name in row.tests:
        yield from _test_problems(name, root)
    for target in row.targets:
        if target not in targets:
            yield f"make {target} does not exist"


def _test_problems(name: str, root: Path) -> Iterator[str]:
    file, _, function = name.partition("::")
    path = root / file
    if not path.is_file():
        yield f"{file} does not exist"
    elif function and function not in tests_in(path):
        yield f"{file} has no {function}"


def tests_in(path: Path) -> set[str]:
    """Give the names of the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def main(argv: Sequence[str] | None = None) -> int:
    """Check the list; gives 0 when it holds together and, with `--run`, every test named passes."""
    made = argparse.ArgumentParser(prog="acceptance", description=__doc__)
    how = made.add_mutually_exclusive_group()
    how.add_argument("--no-collect", action="store_true", help="only read; do not start pytest")
    how.add_argument("--run", action="store_true", help="run the tests named (minutes)")
    arguments = made.parse_args(argv)
    found = rows(DOCUMENT.read_text(encoding="utf-8"))
    problems = findings(found)
    named = sorted({name for row in found for name in row.tests})
    if not problems and not arguments.no_collect:
        problems = _pytest_problems(named, run=arguments.run)
    if problems:
        print("\n".join(problems), file=sys.stderr)
    proven = sum(row.mark == PROVEN for row in found)
    print(f"{len(found)} of {len(NUMBERS)} numbers: {proven} proven, {len(found) - proven} open or in part")
    return 1 if problems else 0


def _pytest_problems(named: Sequence[str], *, run: bool) -> list[str]:
    flags = ["-q"] if run else ["-q", "--collect-only"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, *named], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return [] if done.returncode == 0 else [f"pytest {' '.join(flags)}:", *done.stdout.splitlines()[-20:]]


if __name__ == "__main__":
    raise SystemExit(main())
