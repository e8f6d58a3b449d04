"""Defective bars in a backtest: what can be used is used, the rest is named, no trade meets a price that is none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from bn_ml.config import plain_value
from bn_ml.domain.market import Symbol, Timeframe, from_ms, iso
from data_manager.bars import Bars, concat
from data_manager.history import HistoryStore
from scripts import run_backtest
from scripts.backtest_bars import read_bars
from tests.checker.book_checker import check_book
from tests.checker.findings import Limits
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, without
from tests.fakes.trading_world import NAMES, REPLAYED, WARM, fitted_on, market_bars, store_market, trading_settings

BEGIN, END = (iso(from_ms(MONDAY_MS + place * STEP_MS)) for place in (WARM, WARM + REPLAYED))
BROKEN_AT = WARM + 60
BROKEN_MS = MONDAY_MS + BROKEN_AT * STEP_MS


def named(bars: Bars, name: str) -> Bars:
    return replace(bars, symbol=Symbol(name))


def priced(bars: Bars, factor: float) -> Bars:
    names = ("open", "high", "low", "close")
    return replace(bars, **{name: np.round(getattr(bars, name) * factor, 8) for name in names})


def redenominated(bars: Bars) -> Bars:
    """Twenty bars are absent, then everything costs a hundredth."""
    return concat([bars.rows(0, BROKEN_AT - 20), priced(bars.rows(BROKEN_AT, len(bars)), 0.01)])


def out_of_order(bars: Bars) -> Bars:
    order = np.arange(len(bars))
    order[[500, 501]] = [501, 500]
    return bars.take(np.concatenate([order[:700], [699], order[700:]]))


def fabricated(bars: Bars) -> Bars:
    return replace(bars, open=bars.close)


DIRTY: Mapping[str, Callable[[Bars], Bars]] = {
    "DUP/USDC": out_of_order,
    "RED/USDC": redenominated,
    "GONE/USDC": lambda bars: bars.rows(0, BROKEN_AT),
    "LATE/USDC": lambda bars: bars.rows(BROKEN_AT, len(bars)),
    "HOLE/USDC": lambda bars: without(bars, range(WARM + 10, WARM + 17)),
    "FAKE/USDC": fabricated,
}
TOLD = {
    "DUP/USDC": ["1 bars removed: duplicate", "1 bars put in order"],
    "RED/USDC": [
        f"only until {iso(from_ms(BROKEN_MS - 20 * STEP_MS))}, its last bar; then redenominated at "
        f"{iso(from_ms(BROKEN_MS))}"
    ],
    "GONE/USDC": [f"only until {iso(from_ms(BROKEN_MS))}, its last bar"],
    "LATE/USDC": [f"only from {iso(from_ms(BROKEN_MS))}, its first bar"],
    "HOLE/USDC": ["7 bars missing between its first and its last"],
    "FAKE/USDC": ["not a market's record: 100% of traded bars open where they close"],
    "NONE/USDC": ["no 15m bars stored"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dirty")
    clean = market_bars()
    dirty = [spoil(named(clean[1], name)) for name, spoil in DIRTY.items()]
    store_market(folder, [*clean, *dirty], fitted_on(clean[1]))
    names = (*NAMES, *map(Symbol, DIRTY), Symbol("NONE/USDC"))
    settings = trading_settings(folder, folder / "unused.db", names)
    (folder / "bot.yaml").write_text(yaml.safe_dump(plain_value(settings)), encoding="utf-8")
    flags = ["--config", str(folder / "bot.yaml"), "--no-walk-forward", "--out-dir", str(folder / "out")]
    assert run_backtest.main([*flags, "--from", BEGIN, "--to", END]) == 0
    return folder


def test_everything_left_out_is_named_in_card_and_report(finished: Path) -> None:
    card = json.loads((finished / "out" / "run.json").read_text())
    told = {name: [item["reason"] for item in card["left_out"] if item["symbol"] == name] for name in TOLD}
    for name, reasons in TOLD.items():
        assert len(told[name]) == len(reasons), told[name]
        assert all(said.startswith(reason) for said, reason in zip(told[name], reasons, strict=True)), told[name]
    page = (finished / "out" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in TOLD)
    assert {"FAKE/USDC", "NONE/USDC"}.isdisjoint(card["symbols"])


def test_nothing_is_bought_after_a_symbol_is_gone(finished: Path) -> None:
    with closing(sqlite3.connect(finished / "out" / "book.db")) as connection:
        query = "SELECT symbol, max(at_ms) FROM fills WHERE side = 'BUY' GROUP BY symbol"
        last = dict(connection.execute(query).fetchall())
    for name in ("RED/USDC", "GONE/USDC"):
        assert last.get(name, 0) <= BROKEN_MS
    assert "FAKE/USDC" not in last


def test_the_books_of_such_a_run_balance(finished: Path) -> None:
    findings = check_book(finished / "out" / "book.db", Limits.of(finished / "bot.yaml"))
    assert not findings.violations
    assert findings.figures["fills"] > 10


def test_the_users_own_files_are_not_touched(finished: Path) -> None:
    stored = HistoryStore(finished / "history").read(Symbol("DUP/USDC"), Timeframe.M15)
    assert not np.all(np.diff(stored.open_time) > 0)


def test_a_recorded_halt_of_months_ends_the_symbol(market_data: Path, tmp_path: Path) -> None:
    source = market_data / "dirty" / "CVC_USDT_long_halt-15m.parquet"
    (tmp_path / "CVC_USDT-15m.parquet").write_bytes(source.read_bytes())
    store, symbol = HistoryStore(tmp_path), Symbol("CVC/USDT")
    bars = store.read(symbol, Timeframe.M15)
    hole = int(np.argmax(np.diff(bars.open_time)))
    halted, back = from_ms(int(bars.open_time[hole]) + STEP_MS), from_ms(int(bars.open_time[hole + 1]))
    begin, end = from_ms(int(bars.open_time[0])), from_ms(int(bars.open_time[-1]))
    before = read_bars(store, [symbol], begin, end)
    assert before.bars[symbol].newest_close_ms == int(bars.open_time[hole]) + STEP_MS
    assert any(f"only until {iso(halted)}" in item.reason and "relisted" in item.reason for item in before.left_out)
    after = read_bars(store, [symbol], back, end)
    assert int(after.bars[symbol].open_time[0]) == int(bars.open_time[hole + 1])
