"""The house rules that no linter knows: sizes, clocks, randomness, string keys and broad excepts."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "bn_ml",
    "data_manager",
    "ml_engine",
    "scanner",
    "trader",
    "monitoring",
    "public_api",
    "evidence",
    "scripts",
)
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
BROAD_EXCEPT_SITES = {
    "ml_engine/training_backends.py": "the thread that waits for results hands whatever it gets to the one that asked",
    "bn_ml/journal.py": "an observer that fails never disturbs the cycle",
    "trader/engine.py": "the cycle boundary",
    "monitoring/realtime_prices.py": "a thread main",
    "monitoring/telegram_control.py": "a thread main",
    "monitoring/alerter.py": "a thread main",
    "monitoring/panels/frame.py": "one failing panel never blanks the page",
    "public_api/gate.py": "the boundary of a request: an id instead of a trace",
    "monitoring/metrics_export.py": "a thread main",
    "monitoring/measured_exchange.py": "an order's answer is not lost for a figure's sake",
    "monitoring/supervisor.py": "a worker that fails to start or stop never stops the others",
    "monitoring/thread_troubles.py": "what is told of a dying thread must not fail itself",
    "bn_ml/backup_worker.py": "a thread main",
    "scripts/doctor_findings.py": "the thread of a check: what breaks is a finding and hides no other",
    "scripts/cli.py": "the last line of a command: a message and an id instead of a traceback",
}
WALL_CLOCK = {"now", "utcnow", "today", "time", "sleep", "time_ns"}


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body
    documented = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    rest = body[1:] if documented else body
    return (rest[-1].end_lineno or 0) - rest[0].lineno + 1 if rest else 0


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_function_body_is_longer_than_50_lines(path: Path) -> None:
    long = [f"{item.name}: {_body_lines(item)}" for item in _functions(_tree(path)) if _body_lines(item) > 50]
    assert long == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_class_is_longer_than_250_lines(path: Path) -> None:
    classes = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef)]
    assert [item.name for item in classes if (item.end_lineno or 0) - item.lineno + 1 > 250] == []


def _clock_reads(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        owner_name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if node.func.attr in WALL_CLOCK and owner_name in {"time", "datetime", "date"}:
            found.append(f"{owner_name}.{node.func.attr} line {node.lineno}")
        is_module = isinstance(owner, ast.Name) and owner.id == "random"
        if is_module or (node.func.attr == "default_rng" and not node.args and not node.keywords):
            found.append(f"{owner_name}.{node.func.attr} line {node.lineno}")
    return found


@pytest.mark.parametrize("path", [path for path in FILES if _name(path) != "bn_ml/clock.py"], ids=_name)
def test_time_and_chance_enter_only_through_the_clock_and_seeds(path: Path) -> None:
    assert _clock_reads(_tree(path)) == []


MONEY_FILES = [path for path in FILES if _name(path).startswith(("trader/", "bn_ml/domain/"))]


@pytest.mark.parametrize("path", MONEY_FILES, ids=_name)
def test_money_code_never_reads_a_dict_by_a_string_literal(path: Path) -> None:
    reads = [
        node.lineno
        for node in ast.walk(_tree(path))
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
            and not isinstance(node.value, ast.Name | ast.Attribute)
        )
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
            and "store" not in ast.dump(node.func.value)
        )
    ]
    assert reads == []


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if isinstance(handler.body[-1], ast.Raise):
        return False
    names = {"Exception", "BaseException"}
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return handler.type is None or any(getattr(kind, "id", "") in names for kind in kinds)


def test_broad_excepts_stand_only_at_the_listed_boundaries() -> None:
    sites = {
        _name(path)
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node)
    }
    assert sites <= set(BROAD_EXCEPT_SITES)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_handler_swallows_an_error_with_pass(path: Path) -> None:
    silent = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler) and all(isinstance(item, ast.Pass) for item in node.body)
    ]
    assert silent == []


def test_packages_say_nothing_in_their_init() -> None:
    assert [_name(path) for path in FILES if path.name == "__init__.py" and path.read_text().strip()] == []


HEAVY = ("numpy", "pandas", "sklearn", "xgboost", "lightgbm", "ccxt", "talib", "pyarrow", "pydantic", "yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_help_of_every_command_imports_nothing_heavy(path: Path) -> None:
    if "def main(" not in path.read_text():
        return
    code = (
        f"import sys; sys.argv=['{path.stem}', '--help']\n"
        f"import importlib\nmodule = importlib.import_module('scripts.{path.stem}')\n"
        "try:\n    module.main(['--help'])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
