"""Each violation planted into a copy of a book the bot wrote itself is found, under its own name and no other."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, timezone
from pathlib import Path

import pytest

from bn_ml.errors import StateError
from bn_ml.settings import Settings
from monitoring.dod import DayReport, Status, check_day
from monitoring.dod_findings import Violation, Window
from tests.checker.good_book import RELAXED, write_book

DAY = date(2023, 6, 6)
BEGIN, END = Window.of(DAY).begin_ms, Window.of(DAY).end_ms
LATER = datetime(2023, 6, 8, tzinfo=timezone.utc)
INSIDE = f"created_ms >= {BEGIN} AND created_ms < {END}"
ENTRY = f"SELECT client_id FROM intents WHERE purpose = 'entry' AND {INSIDE} ORDER BY seq LIMIT 1 OFFSET 2"
ENTRY_PLAN = f"""SELECT 'entry_plan/' || position_id FROM intents WHERE client_id = ({ENTRY})"""
ENTRY_TRADE = f"SELECT id FROM trades WHERE json_extract(extra_json, '$.client_id') = ({ENTRY})"
CYCLE = "SELECT id FROM cycles WHERE ts LIKE '2023-06-06T12:%' ORDER BY id LIMIT 1"
SALE = f"SELECT id FROM fills WHERE side = 'SELL' AND at_ms >= {BEGIN} AND at_ms < {END} ORDER BY id LIMIT 1"
SOLD = f"SELECT trade_id FROM fills WHERE id = ({SALE})"
LONG_STOPS = f"""SELECT client_id FROM intents WHERE purpose = 'stop' AND state = 'CANCELED' AND {INSIDE}
    AND resolved_ms > created_ms AND client_id NOT IN (SELECT client_id FROM fills) ORDER BY seq LIMIT 1"""
PLACE = f"SELECT position_id FROM intents WHERE client_id = ({LONG_STOPS})"


def settings(**risk: object) -> Settings:
    """The settings the book was written under, with other limits of risk."""
    scanner = {**RELAXED["scanner"], "scan_interval_sec": 900}  # type: ignore[dict-item]
    return Settings.from_mapping({**RELAXED, "scanner": scanner, "risk": {**RELAXED["risk"], **risk}})  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books of two days and a bit, with a restart in the middle."""
    path = tmp_path_factory.mktemp("books") / "good.db"
    write_book(path, settings(), bars=200, seed=4, restarts=1)
    return path


def broken(report: DayReport) -> set[Violation]:
    return {item.violation for item in report.found}


def spoiled(good: Path, spoil: str | Callable[[sqlite3.Connection], object]) -> Path:
    """A copy of good books without the rules that keep their rows, spoiled."""
    # A name of its own: what a reader leaves beside a file would speak for the next one of that name.
    copy = good.with_name(f"spoiled-{len(list(good.parent.glob('spoiled-*.db')))}.db")
    shutil.copy(good, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        changes = connection.total_changes
        if callable(spoil):
            spoil(connection)
        else:
            for statement in spoil.split(";"):
                connection.execute(statement)
        assert connection.total_changes > changes, "nothing was spoiled"
    return copy


def test_a_book_the_bot_wrote_passes(good: Path) -> None:
    report = check_day(good, DAY, settings(), now=LATER)

    assert (report.status, report.found) == (Status.PASS, ())
    assert report.figures.sells > 10
    assert report.figures.max_open_positions == 4
    assert all(count > 5 for count in report.judged.values()), report.judged


def noted(field: str, value: str) -> str:
    """Change what was measured when an entry was decided, in its trade and in its plan."""
    # Joined with nothing it is a text again: that is how a plan keeps its notes.
    notes = f"json_set(json_extract(value_json, '$.notes'), '$.{field}', {value}) || ''"
    return (
        f"UPDATE trades SET extra_json = json_set(extra_json, '$.{field}', {value}) WHERE id = ({ENTRY_TRADE});"
        f"UPDATE kv_state SET value_json = json_set(value_json, '$.notes', {notes}) WHERE key = ({ENTRY_PLAN})"
    )


def told(field: str, value: str) -> str:
    """Change what a cycle says of itself."""
    return f"UPDATE cycles SET data_json = json_set(data_json, '$.{field}', {value}) WHERE id = ({CYCLE})"


BREAKER = (
    "UPDATE cycles SET data_json = json_set(data_json, '$.breakers', json('[\"{name}\"]')) WHERE ts LIKE '2023-06-06%'"
)


@pytest.mark.parametrize(
    ("violation", "spoil"),
    [
        (Violation.MAX_POSITIONS, told("open_positions", "5")),
        (Violation.EXPOSURE, told("exposure_pct", "0.9")),
        (
            Violation.DAILY_DRAWDOWN,
            "UPDATE cycles SET data_json = json_set(data_json, '$.equity', 1.05 * json_extract(data_json, '$.equity')) "
            "WHERE id = (SELECT id FROM cycles WHERE ts LIKE '2023-06-06%' ORDER BY id LIMIT 1)",
        ),
        (Violation.DAILY_DRAWDOWN, BREAKER.format(name="breaker_daily_loss")),
        (
            Violation.DAILY_DRAWDOWN,
            "UPDATE cycles SET data_json = json_set(data_json, '$.daily_pnl_pct', -0.04) "
            "WHERE ts LIKE '2023-06-06%' AND ts > '2023-06-06T06'",
        ),
        (Violation.DAILY_RISK, noted("daily_risk_with_trade_pct", "0.0501")),
        (Violation.DAILY_RISK, noted("daily_risk_used_pct", "0.05")),
        (Violation.WEEKLY_RISK, noted("weekly_risk_used_pct", "0.2")),
        (Violation.WEEKLY_RISK, noted("weekly_risk_with_trade_pct", "0.2001")),
        (Violation.VOLATILITY, noted("market_volatility_ratio", "1.51")),
        (Violation.VOLATILITY, BREAKER.format(name="breaker_volatility")),
        (Violation.DRIFT, noted("market_drift_detected", "json('true')")),
        (Violation.DRIFT, BREAKER.format(name="breaker_drift")),
        (
            Violation.CONTROL,
            "INSERT INTO control(epoch, state, reason, since_ms, set_by, at_ms) SELECT 9, 'REDUCE_ONLY', 'kill', "
            f"created_ms - 1, 'operator', created_ms - 1 FROM intents WHERE client_id = ({ENTRY})",
        ),
        (
            Violation.CONTROL,
            "INSERT INTO control(epoch, state, reason, since_ms, set_by, at_ms) VALUES (9, 'HALTED', '', 0, '', "
            f"{END}); UPDATE intents SET epoch = 9 WHERE client_id = ({ENTRY})",
        ),
        (Violation.NO_STOP, f"UPDATE intents SET state = 'NEVER_ACCEPTED' WHERE client_id = ({LONG_STOPS})"),
        (Violation.NO_STOP, f"DELETE FROM intents WHERE client_id = ({LONG_STOPS})"),
        (Violation.NO_STOP, f"UPDATE intents SET resolved_ms = created_ms + 1 WHERE client_id = ({LONG_STOPS}); "
         f"DELETE FROM journal WHERE kind = 'OrderFinished' AND json_extract(payload, '$.client_id') = ({LONG_STOPS})"),
        (Violation.BOOKS, f"UPDATE ledger SET amount = amount + 1 WHERE trade_id = ({SOLD}) AND reason = 'fee'"),
        (Violation.BOOKS, f"DELETE FROM ledger WHERE trade_id = ({SOLD}) AND reason = 'fee'"),
        (Violation.BOOKS, "UPDATE venue_balances SET json = '1000 0' WHERE asset = 'USDT'"),
        (Violation.BOOKS, f"UPDATE trades SET price = price * 1.01 WHERE id = ({ENTRY_TRADE})"),
        (Violation.BOOKS, f"UPDATE trades SET size_usdt = size_usdt + 0.01 WHERE id = ({ENTRY_TRADE})"),
        (Violation.BOOKS, f"DELETE FROM trades WHERE id = ({ENTRY_TRADE})"),
        (Violation.BOOKS, "INSERT INTO trades SELECT NULL, ts, symbol, side, size_usdt, price, mode, "
         f"json_set(extra_json, '$.order_id', 'other') FROM trades WHERE id = ({ENTRY_TRADE})"),
        (Violation.BOOKS, "UPDATE position_book SET json = json_set(json, '$.proceeds_quote', '1') WHERE rowid = 12"),
        (Violation.BOOKS, "UPDATE position_book SET json = json_set(json, '$.realized_quote', '1') WHERE rowid = 12"),
        (Violation.BOOKS, "UPDATE position_book SET json = json_set(json, '$.dust_quantity', '1') WHERE rowid = 12"),
        (Violation.BOOKS, f"UPDATE venue_trades SET json = json_set(json, '$.price', '1') WHERE id = ({SALE})"),
        (Violation.BOOKS, "DELETE FROM venue_trades WHERE id = 40"),
        (Violation.SYNTHETIC, told("data_source", "'synthetic'")),
        (Violation.SYNTHETIC, told("data_source", "'synthetic_fallback'")),
        (Violation.SYNTHETIC, noted("data_source", "'synthetic'")),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found_and_nothing_else(good: Path, violation: Violation, spoil: str) -> None:
    report = check_day(spoiled(good, spoil), DAY, settings(), now=LATER)

    assert report.status is Status.FAIL
    assert broken(report) == {violation}, [item.detail for item in report.found]
    assert report.as_dict()["violations_count"] == len(report.found) > 0


@pytest.mark.parametrize(
    ("violation", "limits"),
    [
        (Violation.MAX_POSITIONS, {"max_open_positions": 3}),
        (Violation.EXPOSURE, {"max_exposure_pct": 0.3}),
        (Violation.DAILY_RISK, {"max_daily_risk_pct": 0.008}),
        (Violation.WEEKLY_RISK, {"max_daily_risk_pct": 0.02, "max_weekly_risk_pct": 0.03}),
    ],
)
def test_an_engine_that_kept_looser_limits_is_found_out(
    good: Path, violation: Violation, limits: dict[str, object]
) -> None:
    report = check_day(good, DAY, settings(**limits), now=LATER)

    assert broken(report) == {violation}, [item.detail for item in report.found]


def test_what_was_unequal_the_day_before_is_unequal_still_and_does_not_reach_back(good: Path) -> None:
    book = spoiled(good, f"DELETE FROM ledger WHERE trade_id = ({SOLD})")

    assert broken(check_day(book, date(2023, 6, 5), settings(), now=LATER)) <= {Violation.BOOKS}
    assert broken(check_day(book, DAY, settings(), now=LATER)) == {Violation.BOOKS}
    assert broken(check_day(book, date(2023, 6, 7), settings(), now=LATER)) == {Violation.BOOKS}


def test_a_day_without_cycles_not_over_or_thin_is_incomplete(good: Path) -> None:
    midday = datetime(2023, 6, 6, 12, 1, tzinfo=timezone.utc)
    thin = spoiled(good, "DELETE FROM cycles WHERE ts LIKE '2023-06-06T1%' AND id % 2 = 0")

    for book, day, now in (
        (good, date(2023, 6, 9), LATER.replace(day=20)),
        (good, DAY, midday),
        (good.with_name("absent.db"), DAY, LATER),
        (thin, DAY, LATER),
    ):
        report = check_day(book, day, settings(), now=now)
        assert (report.status, report.found) == (Status.INCOMPLETE, ()), report.why
        assert report.why


def test_a_violation_on_a_thin_day_fails_it(good: Path) -> None:
    book = spoiled(good, f"DELETE FROM cycles WHERE ts LIKE '2023-06-06T0%'; {told('open_positions', '5')}")

    assert check_day(book, DAY, settings(), now=LATER).status is Status.FAIL


@pytest.mark.parametrize(
    ("violation", "spoil"),
    [
        (Violation.NO_STOP, "UPDATE positions SET stop_loss = 0 WHERE status = 'OPEN'"),
        (Violation.NO_STOP, "UPDATE positions SET stop_loss = NULL WHERE status = 'OPEN'"),
        (
            Violation.NO_STOP,
            "UPDATE position_book SET json = json_set(json, '$.stop', '0') WHERE status = 'OPEN'",
        ),
        (
            Violation.MAX_POSITIONS,
            "INSERT INTO positions SELECT 'X' || symbol, side, size_usdt, entry_price, stop_loss, take_profit_1, "
            "take_profit_2, opened_at, 'OPEN', extra_json FROM positions",
        ),
    ],
)
def test_what_is_open_at_the_end_of_the_day_is_looked_at_as_it_stands(
    good: Path, violation: Violation, spoil: str
) -> None:
    report = check_day(spoiled(good, spoil), date(2023, 6, 7), settings(), now=LATER)

    assert broken(report) == {violation}


@pytest.mark.parametrize(
    ("violation", "notes"),
    [
        (Violation.DAILY_RISK, {"daily_risk_with_trade_pct": 0.06}),
        (Violation.WEEKLY_RISK, {"weekly_risk_used_pct": 0.21}),
        (Violation.VOLATILITY, {"market_volatility_ratio": 1.6}),
        (Violation.DRIFT, {"market_drift_detected": True}),
        (Violation.SYNTHETIC, {"data_source": "synthetic"}),
    ],
)
def test_a_shown_buy_no_order_stands_behind_is_judged_by_what_it_says(
    good: Path, violation: Violation, notes: dict[str, object]
) -> None:
    def spoil(connection: sqlite3.Connection) -> None:
        row = ("2023-06-06T10:00:00.000Z", "BTC/USDT", "BUY", 50.0, 100.0, "paper", json.dumps(notes))
        connection.execute(
            "INSERT INTO trades(ts, symbol, side, size_usdt, price, mode, extra_json) VALUES (?, ?, ?, ?, ?, ?, ?)", row
        )

    report = check_day(spoiled(good, spoil), DAY, settings(), now=LATER)

    # No trade of the exact book is behind it, so the books do not tell one story either.
    assert broken(report) == {violation, Violation.BOOKS}


def test_a_file_that_is_no_book_is_told(tmp_path: Path) -> None:
    book = tmp_path / "book.db"
    book.write_text("nothing of the kind, but long enough to be a file of some sort", encoding="utf-8")

    with pytest.raises(StateError):
        check_day(book, DAY, settings(), now=LATER)
