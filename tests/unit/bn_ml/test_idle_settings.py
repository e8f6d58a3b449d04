"""A key that nothing obeys says so when it asks for something."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from bn_ml.settings import Settings
from bn_ml.settings_base import walk_keys
from bn_ml.settings_rules import IDLE_KEYS, idle_reason, warnings_of

ROOT = Path(__file__).resolve().parents[3]
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

CHANGES = {
    "data.replay_speed": 60,
    "scanner.ohlcv_limit": 600,
    "scanner.workers": 4,
    "model.multi_timeframe.max_bars_per_timeframe": 700,
    "monitoring.dashboard.live_market_enabled": False,
}
ALREADY_SO = (
    "monitoring.realtime_prices.enabled",
    "monitoring.alerting.enabled",
    "monitoring.dashboard.auto_launch",
)

ALIASES = {"monitoring.alerting.email.from": "monitoring.alerting.email.sender"}
WORDS_OF_OTHER_THINGS = frozenset(
    {"cycles", "hpo", "alpha", "headers", "to", "balance", "remote", "script", "address", "host", "port"}
)


def changed(*pairs: tuple[str, object]) -> Settings:
    tree: dict[str, object] = {}
    for dotted, value in pairs:
        node = tree
        *sections, last = dotted.split(".")
        for name in sections:
            node = node.setdefault(name, {})  # type: ignore[assignment]
        node[last] = value
    return Settings.from_mapping(tree)


def test_the_defaults_warn_of_nothing() -> None:
    assert warnings_of(Settings()) == []


def test_the_defaults_of_another_quote_asset_warn_of_nothing() -> None:
    assert warnings_of(Settings.from_mapping({"base_quote": "EUR"})) == []


@pytest.mark.parametrize(("name", "value"), CHANGES.items())
def test_a_changed_key_without_effect_warns_once_with_key_value_and_what_happens(name: str, value: object) -> None:
    (line,) = warnings_of(changed((name, value)))
    assert line.startswith(f"{name}: ")
    assert str(value).lower() in line.lower()
    assert line.endswith(str(idle_reason(name)))


@pytest.mark.parametrize("name", ALREADY_SO)
def test_switching_off_what_does_not_run_anyway_warns_of_nothing(name: str) -> None:
    assert warnings_of(changed((name, False))) == []


def test_several_changed_keys_warn_one_by_one() -> None:
    assert len(warnings_of(changed(*CHANGES.items()))) == len(CHANGES)


def test_a_key_with_effect_is_not_called_idle() -> None:
    assert idle_reason("risk.max_open_positions") is None
    assert idle_reason("model.drift.benchmark_symbol") is None
    assert warnings_of(changed(("model.drift.benchmark_symbol", "ETH/USDC"), ("model.rf.max_depth", 5))) == []


def test_every_line_of_the_table_names_keys_that_exist() -> None:
    known = [name for name, _ in walk_keys(Settings)]
    for start in IDLE_KEYS:
        assert any(name.startswith(start) for name in known), start


def test_every_key_that_no_code_reads_is_in_the_table() -> None:
    read = set(_attributes_read())
    unread = [name for name, _ in walk_keys(Settings) if ALIASES.get(name, name).rpartition(".")[2] not in read]
    assert [name for name in unread if idle_reason(name) is None] == []


def test_a_key_that_code_reads_has_left_the_table() -> None:
    keys = [(name, name.rpartition(".")[2]) for name, _ in walk_keys(Settings)]
    shared = {last for name, last in keys if idle_reason(name) is None}
    telling = set(_attributes_read()) - shared - WORDS_OF_OTHER_THINGS
    idle = [(name, last) for name, last in keys if idle_reason(name)]
    assert [name for name, last in idle if last in telling] == [], "it has effect: take it out of IDLE_KEYS"


def _attributes_read() -> Iterable[str]:
    """Give every attribute name that code looks up, other than the settings themselves and those who check them."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.name.startswith(("settings", "config", "doctor")):
                nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                yield from (node.attr for node in nodes if isinstance(node, ast.Attribute))
