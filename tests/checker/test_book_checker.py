"""The checker is content with books the bot wrote, and finds every kind of fault planted in a copy of them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from bn_ml.settings import Settings
from tests.checker.book_checker import Findings, Limits, check_book
from tests.checker.good_book import RELAXED, write_book

SETTINGS = Settings.from_mapping(RELAXED)
LIMITS = Limits.from_settings(SETTINGS)
Spoil = Callable[[sqlite3.Connection], object]

SECOND_STOP = (
    "SELECT a.client_id FROM intents a JOIN intents b ON a.position_id = b.position_id AND a.tranche = b.tranche "
    "AND a.purpose = 'stop' AND b.purpose = 'stop' AND a.stop_px > 0 AND b.seq < a.seq ORDER BY a.seq LIMIT 1"
)
FIRST_STOP = "SELECT client_id FROM intents WHERE purpose = 'stop' ORDER BY seq LIMIT 1"
FIRST_ENTRY = "SELECT client_id FROM intents WHERE purpose = 'entry' ORDER BY seq LIMIT 1"
SALE = "SELECT id FROM fills WHERE side = 'SELL' ORDER BY id LIMIT 1"
OPEN_POSITION = "SELECT rowid FROM position_book WHERE status = 'OPEN' LIMIT 1"
CLOSED_POSITION = "SELECT rowid FROM position_book WHERE status = 'CLOSED' LIMIT 1"
CYCLE = "SELECT id FROM journal WHERE kind = 'CycleFinished' ORDER BY id LIMIT 1 OFFSET 7"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books of about a day, with a restart in the middle and positions open at the end."""
    path = tmp_path_factory.mktemp("books") / "good.db"
    write_book(path, SETTINGS, bars=110, seed=4, restarts=1)
    return path


def broken(good: Path, spoil: Spoil | str) -> set[str]:
    """Give the rules found broken in a copy of good books that was spoiled."""
    copy = good.with_name("spoiled.db")
    shutil.copy(good, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        changes = connection.total_changes
        if isinstance(spoil, str):
            for statement in spoil.split(";"):
                connection.execute(statement)
        else:
            spoil(connection)
        assert connection.total_changes > changes, "nothing was spoiled"
    return rules_broken(check_book(copy, LIMITS))


def rules_broken(findings: Findings) -> set[str]:
    counted: Any = findings.figures["rules_broken"]
    assert bool(findings.violations) == bool(counted)
    return set(counted)


def test_good_books_pass_and_show_what_happened(good: Path) -> None:
    findings = check_book(good, LIMITS)

    assert findings.violations == ()
    figures: dict[str, Any] = findings.figures
    assert findings.closed_positions == figures["closed_positions"] > 5
    assert figures["open_positions"] > 0
    assert figures["fills"] > 20
    assert figures["max_open"] == 4
    assert figures["restarts"] == 1
    assert figures["cycles_failed"] == 0
    assert figures["longest_wait_for_stop_s"] == 0
    assert 0.3 < figures["max_exposure_frac"] <= 0.5
    assert figures["losses"] > 0
    assert figures["fees"] > 0


def test_days_are_those_on_which_cycles_ended(good: Path) -> None:
    findings = check_book(good, LIMITS)

    assert findings.ran_through("2023-06-05")
    assert findings.ran_through("2023-06-06")
    assert not findings.ran_through("2023-06-07")


def test_limits_come_from_the_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "bot.yaml"
    path.write_text(yaml.safe_dump(RELAXED), encoding="utf-8")

    limits = Limits.of(path)

    assert limits.risk.max_open_positions == 4
    assert limits.orders.max_notional_per_day_usdt == 1000
    assert (limits.quote, limits.grace_ms) == ("USDT", 0)


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("ledger_equals_venue", "UPDATE ledger SET amount = amount + 1 WHERE id = 4"),
        ("ledger_explained", "DELETE FROM ledger WHERE id = 5"),
        ("ledger_explained", "UPDATE ledger SET reason = 'fee' WHERE reason = 'fill_quote' AND id < 9"),
        ("ledger_equals_venue", "UPDATE venue_balances SET json = '1000 0' WHERE asset = 'USDT'"),
        ("story_equals_venue", "UPDATE ledger SET amount = amount + 1 WHERE reason = 'deposit'"),
        ("never_negative", "UPDATE ledger SET amount = 20000000000 WHERE reason = 'deposit'"),
        ("fill_unique", "DROP VIEW intent_records; CREATE TABLE f AS SELECT * FROM fills; DROP TABLE fills;"
         "ALTER TABLE f RENAME TO fills; INSERT INTO fills SELECT * FROM fills LIMIT 1"),
        ("fill_has_intent", f"DELETE FROM intents WHERE client_id = ({FIRST_ENTRY})"),
        ("trade_booked", f"DELETE FROM fills WHERE id = ({SALE})"),
        ("fill_equals_trade", f"UPDATE fills SET price = price + 1 WHERE id = ({SALE})"),
        ("fill_equals_trade", f"UPDATE fills SET fee = fee + 1 WHERE id = ({SALE})"),
        ("fill_fee", f"UPDATE fills SET fee = 0 WHERE id = ({SALE})"),
        ("fill_fee", f"UPDATE fills SET fee = fee - 2 WHERE id = ({SALE})"),
        ("fill_fee", f"UPDATE fills SET fee_asset = 'BNB' WHERE id = ({SALE})"),
        ("fill_equals_trade", "DELETE FROM venue_trades WHERE id = 3"),
        ("trade_unique", "INSERT INTO venue_trades(json) SELECT json FROM venue_trades WHERE id = 3"),
        ("fill_quote", f"UPDATE fills SET quote = quote + 2 WHERE id = ({SALE})"),
        ("fill_within_limit", f"UPDATE intents SET limit_px = limit_px / 2 WHERE client_id = ({FIRST_ENTRY})"),
        ("order_once", "INSERT INTO venue_orders SELECT key || '-again', json, open FROM venue_orders LIMIT 1"),
        ("order_has_intent", "UPDATE venue_orders SET json = json_set(json, '$.client_id', 'bnml-stranger') "
         "WHERE rowid = 2"),
        ("order_placed", "DELETE FROM venue_orders WHERE rowid = 2"),
        ("order_never_placed", f"UPDATE intents SET state = 'NEVER_ACCEPTED' WHERE client_id = ({FIRST_STOP})"),
        ("order_matches_intent", "UPDATE venue_orders SET json = json_set(json, '$.quantity', '77') WHERE rowid = 2"),
        ("order_matches_fills", "UPDATE venue_orders SET json = json_set(json, '$.executed', '0') WHERE rowid = 1"),
        ("order_state", "UPDATE intents SET state = 'EXPIRED' WHERE seq = 1"),
        ("intent_filled", "UPDATE intents SET qty = qty * 2 WHERE seq = 1"),
        ("intent_on_step", "UPDATE intents SET qty = qty + 1 WHERE seq = 1"),
        ("intent_resolved", "UPDATE intents SET resolved_ms = NULL WHERE seq = 1"),
    ],
)  # fmt: skip
def test_a_fault_in_the_money_is_found(good: Path, rule: str, spoil: str) -> None:
    assert rule in broken(good, spoil)


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("one_open_per_symbol", "DROP INDEX position_one_open; INSERT INTO position_book SELECT position_id || 'x', "
         f"symbol, status, opened_ms, closed_ms, json FROM position_book WHERE rowid = ({OPEN_POSITION})"),
        ("position_exists", f"DELETE FROM position_book WHERE rowid = ({CLOSED_POSITION})"),
        ("position_holds", f"UPDATE fills SET qty = qty * 9 WHERE id = ({SALE})"),
        ("position_quantity", "UPDATE position_book SET json = json_set(json, '$.remaining_quantity', '0.001') "
         f"WHERE rowid = ({OPEN_POSITION})"),
        ("position_quantity", "UPDATE position_book SET json = json_set(json, '$.dust_quantity', '0.5') "
         f"WHERE rowid = ({CLOSED_POSITION})"),
        ("position_dust", "UPDATE position_book SET status = 'CLOSED', closed_ms = opened_ms, json = "
         f"json_set(json, '$.close_reason', 'stop_loss') WHERE rowid = ({OPEN_POSITION})"),
        ("position_money", "UPDATE position_book SET json = json_set(json, '$.cost_quote', '99') "
         f"WHERE rowid = ({CLOSED_POSITION})"),
        ("position_money", "UPDATE position_book SET json = json_set(json, '$.fees_quote', '0') "
         f"WHERE rowid = ({CLOSED_POSITION})"),
        ("position_realized", "UPDATE position_book SET json = json_set(json, '$.realized_quote', '1.5') "
         f"WHERE rowid = ({CLOSED_POSITION})"),
        ("position_realized", "UPDATE position_book SET json = json_set(json, '$.legs[0].pnl_quote', '1.5') "
         f"WHERE rowid = ({CLOSED_POSITION})"),
        ("positions_equal_balance", "UPDATE ledger SET amount = amount + 1 WHERE reason = 'fill_base' AND id < 5"),
        ("readable_position", "UPDATE positions SET status = 'OPEN'"),
        ("readable_position", "UPDATE positions SET stop_loss = stop_loss * 0.99"),
        ("readable_position", "DELETE FROM positions WHERE symbol = (SELECT min(symbol) FROM positions)"),
        ("readable_trade", "UPDATE trades SET price = price * 1.001 WHERE id = 4"),
        ("readable_trade", "DELETE FROM trades WHERE id = 4"),
        ("readable_trade", "UPDATE trades SET extra_json = json_set(extra_json, '$.pnl_usdt', 5) WHERE side = 'SELL'"),
        ("readable_cycle", "UPDATE cycles SET data_json = json_set(data_json, '$.equity', 5) WHERE id = 4"),
    ],
)  # fmt: skip
def test_a_fault_in_a_position_or_a_readable_row_is_found(good: Path, rule: str, spoil: str) -> None:
    assert rule in broken(good, spoil)


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("protected", f"DELETE FROM journal WHERE kind = 'OrderSent' AND payload LIKE '%' || ({FIRST_STOP}) || '\"%'"),
        ("protected", f"UPDATE intents SET state = 'NEVER_ACCEPTED' WHERE client_id = ({FIRST_STOP})"),
        ("protected", f"UPDATE intents SET qty = qty - 100000 WHERE client_id = ({FIRST_STOP})"),
        ("never_oversell", f"UPDATE intents SET qty = qty + 100000 WHERE client_id = ({FIRST_STOP})"),
        ("stop_never_lowered", f"UPDATE intents SET stop_px = stop_px * 0.9 WHERE client_id = ({SECOND_STOP})"),
        ("stop_price", f"UPDATE intents SET stop_px = NULL WHERE client_id = ({FIRST_STOP})"),
        ("first_stop", "UPDATE intents SET created_ms = created_ms + 1 WHERE purpose <> 'entry'"),
        ("first_stop", "UPDATE intents SET purpose = 'entry' WHERE purpose <> 'entry'"),
        ("planned_loss", "UPDATE kv_state SET value_json = json_set(value_json, '$.planned_loss_quote', '0.01') "
         "WHERE key LIKE 'entry_plan/%'"),
        ("time_forward", f"UPDATE journal SET at_ms = at_ms - 1 WHERE id = ({CYCLE})"),
        ("time_forward", f"UPDATE journal SET at_ms = at_ms + 999999999 WHERE id = ({CYCLE})"),
        ("cycle_numbers", f"UPDATE journal SET payload = json_set(payload, '$.cycle', 3) WHERE id = ({CYCLE})"),
        ("cycle_positions", "UPDATE journal SET payload = json_set(payload, '$.open_positions', 9) "
         f"WHERE id = ({CYCLE})"),
        ("equity", f"UPDATE journal SET payload = json_set(payload, '$.equity', '5') WHERE id = ({CYCLE})"),
        ("control_state", "UPDATE control SET state = 'HALTED' WHERE epoch = 1"),
        ("control_state", "UPDATE control SET state = 'REDUCE_ONLY' WHERE epoch = 2"),
        ("control_epochs", "UPDATE control SET epoch = 7 WHERE epoch = 2"),
        ("control_time", "UPDATE control SET at_ms = at_ms - 999999999 WHERE epoch = 2"),
        ("control_told", "UPDATE control SET state = 'HALTED' WHERE epoch = 2"),
        ("intent_epoch", "UPDATE intents SET epoch = 2 WHERE seq = 1"),
        ("journal_orders", "DELETE FROM journal WHERE id = "
         "(SELECT id FROM journal WHERE kind = 'OrderFinished' LIMIT 1)"),
        ("journal_fills", "UPDATE journal SET payload = json_set(payload, '$.price', '5') WHERE kind = 'OrderFilled'"),
        ("journal_positions", "DELETE FROM journal WHERE kind = 'PositionClosed'"),
        ("exposure_told", "UPDATE trades SET extra_json = json_set(extra_json, '$.exposure_before', 1.5)"),
        ("positions_told", "UPDATE trades SET extra_json = json_set(extra_json, '$.open_positions_before', 9)"),
        ("daily_risk_told", "UPDATE trades SET extra_json = json_set(extra_json, '$.daily_risk_used_pct', 0.5)"),
        ("entry_facts", "UPDATE trades SET extra_json = json_set(extra_json, '$.client_id', 'x') WHERE side = 'BUY'"),
    ],
)  # fmt: skip
def test_a_fault_in_the_course_of_things_is_found(good: Path, rule: str, spoil: str) -> None:
    assert rule in broken(good, spoil)


def test_an_entry_while_an_order_is_in_doubt_is_found(good: Path) -> None:
    def doubt(connection: sqlite3.Connection) -> None:
        place, at_ms, payload = connection.execute(
            "SELECT id, at_ms, payload FROM journal WHERE kind = 'OrderSent' AND payload LIKE '%\"stop\"%' LIMIT 1"
        ).fetchone()
        connection.execute("UPDATE journal SET id = -id")
        connection.execute("UPDATE journal SET id = -10 * id")
        values = (10 * place + 5, at_ms, 1, "OrderOutcomeUnknown", payload)
        connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", values)

    assert "frozen" in broken(good, doubt)


def test_a_second_entry_in_a_symbol_held_is_found(good: Path) -> None:
    def rename(connection: sqlite3.Connection) -> None:
        (first, second) = (
            row[0] for row in connection.execute("SELECT symbol FROM intents WHERE purpose = 'entry' LIMIT 2")
        )
        assert first != second
        connection.execute("UPDATE intents SET symbol = ? WHERE symbol = ?", (first, second))

    assert "one_per_symbol" in broken(good, rename)


@pytest.mark.parametrize(
    ("rule", "section", "inside", "outside"),
    [
        ("max_open_positions", "risk", {"max_open_positions": 4}, {"max_open_positions": 3}),
        ("max_position_size", "risk", {"max_position_size_usdt": 101}, {"max_position_size_usdt": 90}),
        ("max_position_size", "risk", {}, {"max_position_pct_active": 0.15}),
        ("max_exposure", "risk", {"max_exposure_pct": 0.42}, {"max_exposure_pct": 0.39}),
        ("max_symbol_exposure", "risk", {"max_symbol_exposure_pct": 0.11}, {"max_symbol_exposure_pct": 0.09}),
        ("min_capital", "risk", {"min_capital_usdt": 900}, {"min_capital_usdt": 1000.5}),
        ("risk_per_trade", "risk", {"risk_per_trade_pct": 0.0025}, {"risk_per_trade_pct": 0.0015}),
        ("cash_reserve", "risk", {"reserve_ratio": 0.4}, {"reserve_ratio": 0.58}),
        ("daily_risk_budget", "risk", {"max_daily_risk_pct": 0.03}, {"max_daily_risk_pct": 0.012}),
        ("weekly_risk_budget", "risk", {"max_weekly_risk_pct": 0.05}, {"max_weekly_risk_pct": 0.012}),
        ("symbol_cooldown", "risk", {"symbol_cooldown_min": 60}, {"symbol_cooldown_min": 100_000}),
        ("loss_pause", "risk", {}, {"circuit_breakers": {"max_consecutive_losses": 1, "loss_pause_hours": 168}}),
        ("max_loss_per_day", "risk", {"max_loss_per_day": 0.01}, {"max_loss_per_day": 0.00001}),
        ("max_loss_per_week", "risk", {"max_loss_per_week": 0.01}, {"max_loss_per_week": 0.00001}),
        ("max_drawdown", "risk", {"max_drawdown_pct": 0.01}, {"max_drawdown_pct": 0.00001}),
        ("notional_per_day", "orders", {"max_notional_per_day_usdt": 1000}, {"max_notional_per_day_usdt": 990}),
        ("order_rate", "orders", {"max_orders_per_min": 4}, {"max_orders_per_min": 3}),
    ],
)  # fmt: skip
def test_a_limit_that_was_exceeded_is_found_and_one_that_was_not_is_not(
    good: Path, rule: str, section: str, inside: dict[str, object], outside: dict[str, object]
) -> None:
    assert check_book(good, changed(section, inside)).violations == ()
    assert rule in rules_broken(check_book(good, changed(section, outside)))


def changed(section: str, keys: dict[str, object]) -> Limits:
    """Give the limits of the good run with some keys changed; breaks no rule between keys on purpose."""
    risk, orders = LIMITS.risk, LIMITS.orders
    if section == "orders":
        return Limits(risk, orders.model_copy(update=keys), LIMITS.quote, LIMITS.grace_ms)
    breakers = keys.get("circuit_breakers")
    plain = {name: value for name, value in keys.items() if name != "circuit_breakers"}
    if isinstance(breakers, dict):
        plain["circuit_breakers"] = risk.circuit_breakers.model_copy(update=breakers)
    return Limits(risk.model_copy(update=plain), orders, LIMITS.quote, LIMITS.grace_ms)
