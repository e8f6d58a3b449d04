"""Books held against each other: what is in order though it looks odd, and what is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bn_ml.settings import Settings
from monitoring.dod import judged
from monitoring.dod_findings import Violation
from monitoring.dod_rows import FillRow, LedgerRow, Payload, Rows, ToldRow, TradeRow, VenueTrade
from tests.fakes.dod_days import DAY, MINUTE_MS, UNITS, WINDOW, HandWritten, units

AFTER = WINDOW.end + timedelta(hours=1)
AT = WINDOW.begin_ms + 30 * MINUTE_MS
NAME = "e0"


def booked(rows: Rows, *, fee: int = 0, fee_asset: str = "USDC") -> Rows:
    """The day with the ledger, the readable trade and the position that its one trade makes, and a fee."""
    fill = replace(rows.fills[0], fee=fee, fee_asset=fee_asset)
    entries = [("A", fill.qty, "fill_base"), ("USDC", -fill.quote, "fill_quote"), (fee_asset, -fee, "fee")]
    changes = [
        LedgerRow(place + 2, AT, asset, amount, reason, fill.symbol, fill.trade_id)
        for place, (asset, amount, reason) in enumerate(entries)
        if amount
    ]
    trade = replace(rows.trades[0], notes=replace(rows.trades[0].notes, order_id=fill.trade_id))
    return replace(rows, fills=(fill,), ledger=(*rows.ledger, *changes), trades=(trade,))


def found(rows: Rows) -> set[str]:
    """The subjects whose books are unequal, but for the position, which these days leave out."""
    report = judged(rows, DAY, Settings.from_mapping({"base_quote": "USDC"}), now=AFTER)
    details = (item.detail for item in report.found if item.violation is Violation.BOOKS)
    return {detail.partition(":")[0] for detail in details} - {f"position {NAME}"}


@pytest.fixture
def rows() -> Rows:
    day = HandWritten()
    day.buys("A/USDC", 30, size=10.0)
    return day.rows()


def test_a_trade_booked_as_its_three_changes_is_in_order(rows: Rows) -> None:
    assert found(booked(rows, fee=units(0.01))) == set()


def test_a_fee_in_a_third_asset_may_leave_less_than_nothing_of_it(rows: Rows) -> None:
    assert found(booked(rows, fee=units(0.01), fee_asset="BNB")) == set()


def test_owning_less_than_nothing_of_what_is_traded_is_found(rows: Rows) -> None:
    good = booked(rows)

    assert found(replace(good, ledger=good.ledger[1:])) == {"balance of USDC"}


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"qty": units(10.0) - 1}, {"trade A/USDC te0", "order e0"}),
        ({"price": 2 * UNITS}, {"trade A/USDC te0"}),
        ({"client_id": "another"}, {"trade A/USDC te0", "order e0"}),
    ],
)
def test_a_trade_that_is_not_what_its_order_and_ledger_say_is_found(
    rows: Rows, change: dict[str, object], subject: set[str]
) -> None:
    good = booked(rows)
    bad = replace(good, fills=(replace(good.fills[0], **change),))  # type: ignore[arg-type]

    assert found(bad) == subject


def test_a_balance_the_exchange_could_not_explain_is_found_on_its_day_and_later(rows: Rows) -> None:
    told = ToldRow(9, AT, 1, "BalanceUnexplained", Payload(asset="A", difference="1.5"))

    assert found(replace(booked(rows), told=(told,))) == {"balance of A"}
    assert found(replace(booked(rows), told=(replace(told, at_ms=WINDOW.end_ms),))) == set()


def at_exchange(fill: FillRow, **other: object) -> VenueTrade:
    amounts = (fill.price, fill.qty, fill.quote, fill.fee)
    price, quantity, quote, fee = (str(amount / 1e8) for amount in amounts)
    made = VenueTrade(
        fill.symbol, fill.trade_id, fill.client_id, fill.side, price, quantity, quote, fee, fill.fee_asset, fill.at_ms
    )
    return replace(made, **other)  # type: ignore[arg-type]


def test_the_paper_exchange_may_be_ahead_of_the_books_only_by_trades_of_open_orders(rows: Rows) -> None:
    good = booked(rows)
    mine = at_exchange(good.fills[0])
    balances = {"USDC": units(990.0), "A": units(10.0)}
    equal = replace(good, venue_trades=(mine,), venue_balances=balances)
    assert found(equal) == set()

    # The stop of ten coins has just sold, and nobody has looked yet.
    sold = at_exchange(good.fills[0], trade_id=2, side="SELL", client_id="se0")
    ahead = replace(equal, venue_trades=(mine, sold), venue_balances={"USDC": units(1000.0), "A": 0})
    assert found(ahead) == set()
    assert found(replace(equal, venue_trades=(mine, sold))) == {"balance of A", "balance of USDC"}

    ended = tuple(replace(row, state="CANCELED", resolved_ms=AT + 1) for row in ahead.intents)
    assert "trade A/USDC 2" in found(replace(ahead, intents=ended))


def test_a_shown_trade_of_the_day_after_says_nothing_of_this_one(rows: Rows) -> None:
    good = booked(rows)
    later = TradeRow(WINDOW.end_ms, "A/USDC", "BUY", 1.0, 1.0, "paper", good.trades[0].notes)
    other = replace(later, notes=replace(later.notes, order_id="tomorrow"))

    assert found(replace(good, trades=(*good.trades, other))) == set()
    early = replace(other, at_ms=AT)
    assert found(replace(good, trades=(*good.trades, early))) == {"shown trade A/USDC tomorrow"}
