"""Which modules move money, and which fast tests speak about them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

OTHER_TRADER_MODULES = frozenset(
    {
        "__init__",
        "account_keeper",
        "account_view",
        "accounting",
        "breakers",
        "cycle_report",
        "engine",
        "entry_request",
        "performance",
        "portfolio",
        "risk_manager",
        "risk_rules",
        "risk_rules_market",
        "risk_rules_portfolio",
        "sizing",
    }
)
"""The loop, its reports and the pure risk rules: whatever else lies in `trader/` sends, books, protects or halts."""

GROUND_MODULES = (
    "account_answers",
    "account_calls",
    "answer_fields",
    "ban_file",
    "control",
    "halting",
    "live_exchange",
    "lock_takeover",
    "order_answers",
    "order_reports",
    "order_requests",
    "patience",
    "public_answers",
    "venue_clock",
)

TESTS = (
    "tests/unit/trader",
    "tests/unit/bn_ml",
    "tests/unit/domain",
    "tests/integration/test_book_ownership.py",
    "tests/integration/test_entr*.py",
    "tests/integration/test_kill_switch_*.py",
    "tests/integration/test_live_exchange_*.py",
    "tests/integration/test_manual_orders.py",
    "tests/integration/test_money_path_*.py",
    "tests/integration/test_protection_*.py",
    "tests/integration/test_reconciliation*.py",
    "tests/integration/test_venue_trailing.py",
    "tests/unit/scripts/test_retention.py",
    "tests/property/test_exit_and_account_properties.py",
    "tests/property/test_money_path_properties.py",
    "tests/property/test_order_*.py",
    "tests/property/test_protection_properties.py",
    "tests/property/test_reconciliation_properties.py",
    "tests/property/test_state_properties.py",
)

SLOW_OR_ELSEWHERE = (
    "tests/unit/bn_ml/venue",
    "tests/unit/bn_ml/test_config_*.py",
    "tests/unit/bn_ml/test_settings_*.py",
    "tests/unit/bn_ml/test_idle_settings.py",
    "tests/unit/bn_ml/test_env.py",
    "tests/integration/test_kill_switch_sandbox.py",
    "tests/integration/test_kill_switch_processes.py",
    "tests/integration/test_live_exchange_sandbox.py",
)
"""Tests that speak of something else, or that run whole processes whose lines nobody counts."""


def money_modules(root: Path = ROOT) -> tuple[str, ...]:
    """Give the paths of the money modules from the root, sorted."""
    trader = [path for path in (root / "trader").glob("*.py") if path.stem not in OTHER_TRADER_MODULES]
    ground = [root / "bn_ml" / f"{name}.py" for name in GROUND_MODULES]
    return tuple(sorted(path.relative_to(root).as_posix() for path in (*trader, *ground)))


def chosen_modules(wanted: list[str], root: Path = ROOT) -> tuple[str, ...]:
    """Give the money modules named by path, by dotted name or by stem; all when none is named.

    Raises `ValueError` naming what is no money module.
    """
    known = money_modules(root)
    if not wanted:
        return known
    by_name = {name: path for path in known for name in (path, path[:-3].replace("/", "."), Path(path).stem)}
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ValueError(f"no money module: {', '.join(unknown)}; known are {', '.join(known)}")
    return tuple(dict.fromkeys(by_name[name] for name in wanted))


def money_tests(root: Path = ROOT) -> tuple[str, ...]:
    """Give the test files to run, from the root, sorted."""
    skipped = _files(root, SLOW_OR_ELSEWHERE)
    return tuple(sorted(_files(root, TESTS) - skipped))


def _files(root: Path, patterns: tuple[str, ...]) -> set[str]:
    found: set[Path] = set()
    for pattern in patterns:
        for path in root.glob(pattern):
            found.update(path.rglob("test_*.py") if path.is_dir() else {path})
    return {path.relative_to(root).as_posix() for path in found}
