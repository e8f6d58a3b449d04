from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from risk_builders import BTC, ETH, NOW, SOL, buy_intent, cash, position, quote

from bn_ml.codecs import from_json, to_json
from bn_ml.domain.account import AccountState, Balance
from bn_ml.domain.orders import IntentState
from bn_ml.settings import RiskSettings
from trader.accounting import (
    AccountBook,
    account_state,
    book_closed_position,
    book_planned_loss,
    day_key,
    new_book,
    week_key,
)

RISK = RiskSettings()
BOOK = new_book(Decimal(1000), NOW)


def state(book: AccountBook = BOOK, *, money: str = "1000", now: datetime = NOW) -> tuple[AccountState, AccountBook]:
    return account_state(book, cash=cash(money), positions=(), quotes={}, intents=(), now=now)


def closed(pnl: str, book: AccountBook = BOOK, *, now: datetime = NOW) -> AccountBook:
    return book_closed_position(book, position(ETH, realized_quote=Decimal(pnl)), now, RISK)


def test_equity_is_cash_free_and_locked_plus_positions_at_the_bid() -> None:
    found, book = account_state(
        BOOK,
        cash=Balance("USDC", Decimal(700), Decimal(200)),
        positions=(position(ETH, quantity="1"),),
        quotes={ETH: quote(ETH, bid="110", ask="111")},
        intents=(),
        now=NOW,
    )
    assert found.equity == 1010
    assert (found.quote_free, found.quote_total) == (700, 900)
    assert found.exposure == found.symbol_exposure[ETH] == 110
    assert found.unrealized == 10
    assert found.equity_peak == book.equity_peak == 1010


def test_without_a_quote_the_last_mark_counts_and_without_a_mark_the_entry() -> None:
    held = (position(ETH),)
    quotes = {ETH: quote(ETH, bid="110", ask="111")}
    _, marked = account_state(BOOK, cash=cash("900"), positions=held, quotes=quotes, intents=(), now=NOW)
    later, _ = account_state(marked, cash=cash("900"), positions=held, quotes={}, intents=(), now=NOW)
    never, _ = account_state(BOOK, cash=cash("900"), positions=held, quotes={}, intents=(), now=NOW)
    assert (later.equity, never.equity) == (1010, 1000)


def test_buys_that_may_still_fill_count_as_exposure_and_reservation() -> None:
    flying = buy_intent(SOL, reserved="50", state=IntentState.UNKNOWN)
    half = replace(flying, filled_quote=Decimal(20))
    done = buy_intent(BTC, reserved="70", state=IntentState.FILLED)
    found, _ = account_state(BOOK, cash=cash("1000"), positions=(), quotes={}, intents=(half, done), now=NOW)
    assert found.exposure == found.reserved_quote == 30
    assert dict(found.symbol_exposure) == {SOL: 30}


def test_a_buy_without_reservation_counts_by_its_price() -> None:
    bare = buy_intent(SOL, reserved="0")
    found, _ = account_state(BOOK, cash=cash("1000"), positions=(), quotes={}, intents=(bare,), now=NOW)
    assert found.exposure == 50


@pytest.mark.parametrize(
    ("now", "day", "week"),
    [
        ("2023-06-10T23:59:59.999999", "2023-06-10", "2023-W23"),
        ("2023-06-11T00:00:00", "2023-06-11", "2023-W23"),
        ("2023-06-12T00:00:00", "2023-06-12", "2023-W24"),
        ("2024-12-30T00:00:00", "2024-12-30", "2025-W01"),
        ("2027-01-03T23:59:59", "2027-01-03", "2026-W53"),
        ("2023-03-26T01:30:00", "2023-03-26", "2023-W12"),
    ],
)
def test_periods_are_utc_days_and_iso_weeks(now: str, day: str, week: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=timezone.utc)
    assert (day_key(instant), week_key(instant)) == (day, week)


def test_an_instant_in_another_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware UTC"):
        day_key(NOW.astimezone(timezone(timedelta(hours=2))))


def test_a_new_day_opens_with_the_equity_of_its_first_look() -> None:
    spent = book_planned_loss(closed("-10"), Decimal(5))
    same_day, _ = state(spent, money="990", now=datetime(2023, 6, 10, 23, 59, 59, tzinfo=timezone.utc))
    next_day, _ = state(spent, money="990", now=datetime(2023, 6, 11, tzinfo=timezone.utc))
    next_week, _ = state(spent, money="990", now=datetime(2023, 6, 12, tzinfo=timezone.utc))
    assert (same_day.day.realized, same_day.day.planned_loss, same_day.day.opening_equity) == (-10, 5, 1000)
    assert (next_day.day.realized, next_day.day.planned_loss, next_day.day.opening_equity) == (0, 0, 990)
    assert (next_day.week.realized, next_day.week.opening_equity) == (-10, 1000)
    assert (next_week.week.realized, next_week.week.opening_equity) == (0, 990)
    assert next_week.period_change_frac(next_week.week) == 0


def test_a_clock_set_back_opens_no_period() -> None:
    spent = closed("-10")
    found, _ = state(spent, money="990", now=NOW - timedelta(days=20))
    assert found.day == spent.day
    assert found.week == spent.week


def test_daily_returns_come_from_the_openings() -> None:
    _, book = state(BOOK, money="1010", now=NOW + timedelta(days=1))
    found, book = state(book, money="999.9", now=NOW + timedelta(days=2))
    again, _ = state(book, money="500", now=NOW + timedelta(days=2, hours=1))
    assert found.equity_returns == pytest.approx((0.01, -0.01))
    assert again.equity_returns == found.equity_returns


def test_the_peak_only_rises() -> None:
    _, high = state(BOOK, money="1200")
    found, _ = state(high, money="1080")
    assert found.equity_peak == 1200
    assert found.drawdown_frac == pytest.approx(0.1)


def test_wins_and_losses_are_counted() -> None:
    book = closed("-5", closed("20", closed("10")))
    statistics = book.statistics
    assert (statistics.closed, statistics.wins, statistics.losses) == (3, 2, 1)
    assert (statistics.sum_wins, statistics.sum_losses) == (30, -5)
    assert statistics.payoff == 3.0
    assert (book.day.realized, book.week.realized) == (25, 25)


def test_the_third_loss_in_a_row_pauses_and_halves_until_a_win() -> None:
    two = closed("-1", closed("-1"))
    three = closed("-1", two)
    won = closed("2", three)
    assert two.statistics.loss_pause_until is None
    assert not two.statistics.half_size
    assert three.statistics.loss_pause_until == NOW + timedelta(hours=12)
    assert three.statistics.half_size
    assert (won.statistics.consecutive_losses, won.statistics.half_size) == (0, False)


def test_a_win_between_losses_starts_the_count_again() -> None:
    assert closed("-1", closed("-1", closed("1", closed("-1")))).statistics.loss_pause_until is None


def test_zero_is_neither_win_nor_loss() -> None:
    book = closed("0", closed("-1"))
    assert (book.statistics.closed, book.statistics.losses, book.statistics.consecutive_losses) == (2, 1, 1)
    assert closed("0").cooldown_until == {}


def test_a_loss_cools_its_symbol_down_and_old_cooldowns_are_dropped() -> None:
    lost = closed("-1")
    assert lost.cooldown_until == {ETH: NOW + timedelta(minutes=60)}
    later = book_closed_position(lost, position(SOL, realized_quote=Decimal(1)), NOW + timedelta(hours=2), RISK)
    assert later.cooldown_until == {}


def test_the_book_survives_its_storage() -> None:
    _, book = account_state(
        closed("-5"),
        cash=cash("900"),
        positions=(position(ETH),),
        quotes={ETH: quote(ETH, bid="110", ask="111")},
        intents=(),
        now=NOW + timedelta(days=1),
    )
    assert from_json(AccountBook, to_json(book)) == book
