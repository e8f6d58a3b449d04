"""Whether Python and the packages are those this program needs; asked of the installation, nothing is imported."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from scripts.doctor_findings import Check, Diagnosis, bad, doubtful, good, listed

OLDEST, TOO_NEW = (3, 10), (3, 14)
OLDEST_SQLITE = (3, 37, 0)
LOCK = Path(__file__).resolve().parents[1] / "requirements.txt"
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "pyarrow": ("pyarrow",),
    "talib": ("TA-Lib",),
    "ccxt": ("ccxt",),
    "aiohttp": ("aiohttp",),
    "pydantic": ("pydantic",),
    "yaml": ("PyYAML",),
    "sklearn": ("scikit-learn",),
    "scipy": ("scipy",),
    "xgboost": ("xgboost-cpu", "xgboost"),
    "lightgbm": ("lightgbm",),
    "optuna": ("optuna",),
    "joblib": ("joblib",),
    "cryptography": ("cryptography",),
    "fastapi": ("fastapi",),
    "uvicorn": ("uvicorn",),
    "websockets": ("websockets",),
    "streamlit": ("streamlit",),
    "plotly": ("plotly",),
}
"""The packages this program imports itself, by module, and the distributions that bring them."""
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def checks() -> list[Check]:
    """Give what needs no configuration."""
    return [Check("python", python), Check("packages", packages)]


def python() -> Iterator[Diagnosis]:
    """Tell whether the interpreter and its SQLite are of versions this program runs on."""
    found = ".".join(map(str, sys.version_info[:3]))
    if not OLDEST <= sys.version_info[:2] < TOO_NEW:
        yield bad("python", f"version {found}", "install Python 3.10, 3.11, 3.12 or 3.13 and make the environment anew")
    elif sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        seen = f"SQLite {sqlite3.sqlite_version} is older than {needed}"
        yield bad("python", seen, "use a Python that brings a newer SQLite")
    else:
        yield good("python", f"{found}, SQLite {sqlite3.sqlite_version}")


def packages(wanted: Mapping[str, Sequence[str]] = PACKAGES, lock: Path = LOCK) -> Iterator[Diagnosis]:
    """Tell which packages are absent, and which are of another version than the lock names."""
    locked = locked_versions(lock)
    present = {module: installed(names) for module, names in wanted.items()}
    absent = [wanted[module][0] for module, found in present.items() if found is None or not _is_there(module)]
    other = [
        f"{name} {number} (lock: {' or '.join(sorted(locked[name]))})"
        for name, number in filter(None, present.values())
        if name in locked and number not in locked[name]
    ]
    install = "pip install -r requirements.txt" if locked else "pip install --force-reinstall bn-ml-trading-bot"
    if absent:
        yield bad("packages", f"missing or broken: {listed(absent)}", f"install with: {install}")
    if other:
        yield doubtful("packages", f"other versions than tested: {listed(other)}", f"install with: {install}")
    if not absent and not other:
        yield good("packages", f"{len(wanted)} there" + (", versions of the lock" if locked else ""))


def installed(names: Sequence[str]) -> tuple[str, str] | None:
    """Give the first of some distributions that is installed, as normal name and version; None without any."""
    for name in names:
        try:
            return normal(name), version(name)
        except PackageNotFoundError:
            continue
    return None


def locked_versions(lock: Path) -> Mapping[str, frozenset[str]]:
    """Give the versions a lock file pins by normal name, several where it depends on the machine; empty without one."""
    try:
        text = lock.read_text(encoding="utf-8")
    except OSError:
        return {}
    found: dict[str, frozenset[str]] = {}
    for name, number in _PIN.findall(text):
        found[normal(name)] = found.get(normal(name), frozenset()) | {number}
    return found


def normal(name: str) -> str:
    """Give the spelling of a distribution's name that tools compare by.

    >>> normal("TA_Lib.X")
    'ta-lib-x'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
