"""What the page on data formats says of tables and exports, held against the code that writes them."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from bn_ml.schema import migrate
from bn_ml.telemetry_file import TABLES
from monitoring.exports import COLUMNS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "data_formats.md").read_text(encoding="utf-8")
PROMISED = {
    "positions": "symbol side size_usdt entry_price stop_loss take_profit_1 take_profit_2 opened_at status extra_json",
    "trades": "id ts symbol side size_usdt price mode extra_json",
    "cycles": "id ts opportunities opened_positions data_json",
    "kv_state": "key value_json updated_at",
    "model_metrics": "id ts metrics_json",
}


def told() -> dict[str, tuple[str, ...]]:
    """The columns the page names, by table."""
    book = TEXT.partition("## The book")[2].partition("\n| Keys of")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", book, re.MULTILINE)
    return {table: tuple(columns.split(", ")) for table, columns in rows}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """The columns a fresh book really has, by table."""
    path = tmp_path_factory.mktemp("book") / "bn_ml.db"
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        migrate(connection, path)
        names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: tuple(str(row[1]) for row in connection.execute(f"PRAGMA table_info({name})"))
            for name in names
            if not name.startswith("sqlite_")
        }
    finally:
        connection.close()


def test_the_page_names_every_table_with_its_columns(kept: dict[str, tuple[str, ...]]) -> None:
    assert told() == {name: columns for name, columns in kept.items() if not name.startswith("venue_")}


def test_the_memory_of_the_paper_exchange_is_named(kept: dict[str, tuple[str, ...]]) -> None:
    venue = {name for name in kept if name.startswith("venue_")}
    assert all(f"`{name}`" in TEXT for name in venue)


@pytest.mark.parametrize("table", PROMISED)
def test_the_five_readable_tables_have_exactly_the_promised_columns(
    table: str, kept: dict[str, tuple[str, ...]]
) -> None:
    assert kept[table] == tuple(PROMISED[table].split())


def test_the_high_rate_tables_are_named() -> None:
    assert all(f"`{name}`" in TEXT.partition("telemetry.db")[2] for name in TABLES)


def test_the_columns_of_the_scan_are_the_exported_ones() -> None:
    row = next(line for line in TEXT.splitlines() if line.startswith("| `artifacts/metrics/latest_scan.csv`"))
    assert tuple(row.split(" | ")[1].split(", ")) == COLUMNS
