"""Every page of the dashboard over real databases, in every state a viewer may meet."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.account import ControlState
from monitoring.panels import panel_list
from tests.fakes.dashboard_books import PANELS, config_for, empty_book, kept_book, markup, page, set_control

NOW = SystemClock().now()
FAULT = 'class="bn-fault"'


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "book" / "bn_ml.db"
    path.parent.mkdir()
    monkeypatch.setattr(sys, "argv", ["dashboard.py", "--config", str(config_for(tmp_path, path))])
    return path


@pytest.mark.parametrize("panel", PANELS)
def test_a_page_of_a_working_bot_shows_its_header_and_no_fault(book: Path, panel: str) -> None:
    kept_book(book, SystemClock().now())
    shown = page(panel)
    text = markup(shown)
    assert not shown.exception
    assert FAULT not in text
    for word in ("PAPER", "NORMAL", "994.00 USDC", "1 / 5", "binance", "of 10.0 %", "alive"):
        assert word in text
    assert "silent" not in text
    assert "bn-grey" not in text


@pytest.mark.parametrize("panel", PANELS)
def test_a_page_of_a_book_without_a_cycle_says_what_comes_next(book: Path, panel: str) -> None:
    empty_book(book)
    shown = page(panel)
    text = markup(shown)
    assert not shown.exception
    assert FAULT not in text
    assert "First start" in text
    assert "Market data" in text


@pytest.mark.parametrize("panel", PANELS)
def test_a_page_without_a_book_names_the_path_and_the_command(book: Path, panel: str) -> None:
    shown = page(panel)
    text = markup(shown)
    assert not shown.exception
    assert FAULT not in text
    assert "There is no book yet" in text
    assert str(book) in text
    assert "bnml-bot --paper" in text


@pytest.mark.parametrize("panel", PANELS)
def test_a_page_over_a_file_that_is_no_database_says_so(book: Path, panel: str) -> None:
    book.write_bytes(b"this was a database once" * 400)
    shown = page(panel)
    text = markup(shown)
    assert not shown.exception
    assert FAULT not in text
    assert "corrupt" in text
    assert "bnml-doctor backups list" in text


def test_a_book_damaged_inside_is_told_and_the_page_stands(book: Path) -> None:
    kept_book(book, NOW, cycles=60)
    content = bytearray(book.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    book.write_bytes(bytes(content))
    shown = page("overview")
    assert not shown.exception
    assert "corrupt" in markup(shown)


def test_a_locked_book_is_told_within_moments(book: Path) -> None:
    kept_book(book, NOW)
    with closing(sqlite3.connect(book, isolation_level=None)) as writer:
        writer.execute("PRAGMA locking_mode = EXCLUSIVE")
        writer.execute("PRAGMA journal_mode = DELETE")
        writer.execute("BEGIN EXCLUSIVE")
        shown = page("positions")
        assert "locked" in markup(shown)
        writer.execute("COMMIT")
    assert "994.00 USDC" in markup(shown.run())


def test_a_bot_that_fell_silent_is_grey_with_since_when(book: Path) -> None:
    kept_book(book, SystemClock().now() - timedelta(minutes=30))
    text = markup(page("overview"))
    assert "Bot silent since" in text
    assert "bn-grey" in text
    assert "994.00 USDC" in text


def test_a_halted_bot_shows_the_reason_and_the_resume_command(book: Path) -> None:
    kept_book(book, NOW)
    set_control(book, ControlState.HALTED, "breaker_drawdown", NOW)
    text = markup(page("risk_flags"))
    assert "HALTED since" in text
    assert "breaker_drawdown" in text
    assert "set by operator" in text
    assert "bnml-kill-switch --resume --reason" in text


@pytest.mark.parametrize("panel", PANELS)
def test_invented_prices_are_shouted_on_every_page(book: Path, panel: str) -> None:
    kept_book(book, NOW, source="synthetic")
    assert "MARKET DATA IS SYNTHETIC" in markup(page(panel))


def test_a_replay_is_named_and_not_called_silent(book: Path) -> None:
    kept_book(book, NOW - timedelta(days=900), source="replay")
    text = markup(page("cycle_feed"))
    assert "REPLAY" in text
    assert "silent" not in text


def test_a_panel_that_fails_leaves_the_page_and_shows_an_id(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(desk: object) -> None:
        raise ZeroDivisionError("of no use to a viewer")

    kept_book(book, NOW)
    monkeypatch.setattr("monitoring.panels.positions.draw", broken)
    shown = page("positions")
    text = markup(shown)
    assert not shown.exception
    assert FAULT in text
    assert "(id " in text
    assert "of no use" not in text
    assert "994.00 USDC" in text


def test_every_panel_listed_can_be_drawn() -> None:
    assert [panel.name for panel in panel_list.PANELS] == list(PANELS)
    assert all(callable(panel_list.drawing_of(name)) for name in PANELS)


def test_an_unknown_panel_in_the_url_shows_the_overview(book: Path) -> None:
    kept_book(book, NOW)
    assert "Why no trade" in markup(page("no-such-panel"))


def test_filters_come_from_the_url(book: Path) -> None:
    kept_book(book, NOW)
    assert "None of the chosen symbols is held" in markup(page("positions", symbol="ETH/USDC"))
    assert "26,500.0" in markup(page("positions", symbol="BTC/USDC"))


def test_a_choice_of_panel_goes_into_the_url(book: Path) -> None:
    kept_book(book, NOW)
    shown = page("overview")
    shown.sidebar.radio[0].set_value("risk_flags").run()
    assert shown.query_params["panel"] in ("risk_flags", ["risk_flags"])
    assert "Limits and breakers" in markup(shown)


def test_a_refused_configuration_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "bot.yaml"
    config.write_text("risk: {max_drawdwon_pct: 0.1}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["dashboard.py", "--config", str(config)])
    shown = page()
    assert not shown.exception
    assert "max_drawdwon_pct" in markup(shown)


def test_looking_changes_no_byte_of_the_book(book: Path) -> None:
    kept_book(book, NOW)
    before = book.read_bytes()
    for panel in PANELS:
        page(panel)
    assert book.read_bytes() == before
