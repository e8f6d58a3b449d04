"""Is the package what it should be: the same bytes when built again, and whole when installed where nothing else is.

`python -m benchmarks.package_check` takes the wheel in `dist/` (`make package`), builds it a second time from a copy of
the sources and compares the two, then installs the locked requirements and the wheel in an empty environment and runs
every command there, and one paper cycle on generated prices. `--no-install` leaves the second half out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
SOURCES = (
    "pyproject.toml",
    "README.md",
    "bn_ml",
    "data_manager",
    "ml_engine",
    "scanner",
    "trader",
    "monitoring",
    "public_api",
    "evidence",
    "scripts",
    "configs",
)
CYCLE = ("bnml-bot", "--once", "--paper", "--market-data", "synthetic", "--no-dashboard", "--disable-retrain")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks; gives 0 when all hold, 1 with the reasons otherwise."""
    made = argparse.ArgumentParser(prog="package_check", description=__doc__)
    made.add_argument("--no-install", action="store_true", help="only build again and compare")
    arguments = made.parse_args(argv)
    wheels = sorted(DIST.glob("*.whl"))
    if len(wheels) != 1:
        return _failed([f"dist/ holds {len(wheels)} wheels: run make package"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = rebuilt_problems(wheels[0], folder)
        if not arguments.no_install:
            problems += installed_problems(wheels[0], folder)
    if problems:
        return _failed(problems)
    told = "not installed" if arguments.no_install else "every command and a paper cycle ran"
    print(f"{wheels[0].name}: {digest(wheels[0])}, the same when built again; {told}")
    return 0


def digest(path: Path) -> str:
    """Give the sha256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def commit_time(root: Path = ROOT) -> str:
    """Give the time of the last commit in seconds since 1970, the only time the wheel holds; raises without git."""
    return subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


def rebuilt_problems(wheel: Path, folder: Path) -> list[str]:
    """Build from a copy of the sources in another folder and compare."""
    copy, out = folder / "sources", folder / "again"
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / name)
    environ = {**os.environ, "SOURCE_DATE_EPOCH": commit_time()}
    code = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
    out.mkdir()
    done = _run([sys.executable, "-c", code, str(out)], copy, environ)
    if done.returncode:
        return [f"the second build failed: {done.stderr.strip().splitlines()[-1]}"]
    again = next(out.glob("*.whl"))
    return [] if digest(again) == digest(wheel) else [f"{wheel.name}: {digest(wheel)} built again is {digest(again)}"]


def installed_problems(wheel: Path, folder: Path) -> list[str]:
    """Install into an empty environment and run every command from an empty folder."""
    place, work = folder / "environment", folder / "work"
    venv.create(place, with_pip=True)
    work.mkdir()
    bin_folder = place / ("Scripts" if os.name == "nt" else "bin")
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BNML_", "BINANCE_"))
    }
    pip = [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for arguments in (["--require-hashes", "-r", str(ROOT / "requirements.txt")], ["--no-deps", str(wheel)]):
        done = _run([*pip, *arguments], work, environ)
        if done.returncode:
            return [f"pip install {' '.join(arguments)}: {done.stderr.strip()[-300:]}"]
    lines = [(name, "--version") for name in commands()] + [CYCLE]
    results = [(line, _run([str(bin_folder / line[0]), *line[1:]], work, environ)) for line in lines]
    return [
        f"{' '.join(line)}: exit {done.returncode}: {done.stderr[-300:]}" for line, done in results if done.returncode
    ]


def commands() -> tuple[str, ...]:
    """Give the commands the package declares."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tuple(re.findall(r"^(bnml-[a-z0-9-]+) = ", text, re.MULTILINE))


def _run(line: Sequence[str], folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, cwd=folder, env=dict(environ), capture_output=True, text=True, check=False)


def _failed(problems: Sequence[str]) -> int:
    print("\n".join(problems), file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
