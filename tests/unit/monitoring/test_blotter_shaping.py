"""The blotter: rows of the book as lines, filters, sums, reasons, closed positions and the CSV file."""

from __future__ import annotations

import csv
import io
import math
from datetime import date, timedelta

import pytest

from monitoring.desk import Filters
from monitoring.trades_csv import CSV_COLUMNS, csv_bytes, csv_name
from monitoring.views_trades import (
    ENTRY,
    by_reason,
    cost_steps,
    promise_of,
    reasons_in,
    refusals_sentence,
    round_trips,
    shown,
    totals_of,
    trade_line,
)
from tests.fakes.panel_books import NOW, a_cycle, a_trade

ANY = Filters()
NOBODY: frozenset[str] = frozenset()


def test_a_purchase_has_no_result_and_its_reason_is_entry() -> None:
    line = trade_line(a_trade(1))
    assert (line.reason, line.expected_frac, line.bundle_version) == (ENTRY, 0.002, "3")
    assert math.isnan(line.pnl_quote)


def test_a_sale_tells_reason_result_and_how_long_it_was_held() -> None:
    line = trade_line(a_trade(2, "SELL", price=101.2))
    assert (line.reason, line.held_s) == ("tp1", 3600.0)
    assert line.pnl_quote == pytest.approx(1.0)
    assert line.pnl_frac == pytest.approx(1.0 / 100.1)


@pytest.mark.parametrize(
    ("asset", "fee", "in_quote"), [("USDC", 0.1, 0.1), ("BTC", 0.001, 0.1), ("BNB", 0.0002, math.nan)]
)
def test_a_fee_counts_in_the_quote_asset_when_that_can_be_known(asset: str, fee: float, in_quote: float) -> None:
    line = trade_line(a_trade(1, extra={"fee": fee, "fee_asset": asset}))
    assert line.fee_quote == pytest.approx(in_quote, nan_ok=True)


def test_a_row_without_notes_is_shown_with_what_is_known() -> None:
    line = trade_line(a_trade(1, "SELL", extra={"reason": None, "pnl_usdt": "much", "fee": None, "base_qty": True}))
    assert line.reason == ""
    assert math.isnan(line.pnl_quote)
    assert math.isnan(line.fee_quote)


def test_only_what_the_filters_ask_for_is_shown() -> None:
    lines = [
        trade_line(a_trade(1, at=NOW - timedelta(days=2))),
        trade_line(a_trade(2, "SELL", at=NOW - timedelta(days=1))),
        trade_line(a_trade(3, symbol="ETH/USDC", at=NOW)),
    ]
    assert [line.id for line in shown(lines, ANY.takes, ())] == [1, 2, 3]
    assert [line.id for line in shown(lines, Filters(symbols=("ETH/USDC",)).takes, ())] == [3]
    assert [line.id for line in shown(lines, Filters(actions=("SELL",)).takes, ())] == [2]
    assert [line.id for line in shown(lines, Filters(since=date(2026, 3, 1)).takes, ())] == [2, 3]
    assert [line.id for line in shown(lines, Filters(until=date(2026, 3, 1)).takes, ())] == [1, 2]
    assert [line.id for line in shown(lines, ANY.takes, ("tp1", "stop_loss"))] == [2]
    assert reasons_in(lines) == (ENTRY, "tp1")


def test_totals_are_those_of_the_lines_shown() -> None:
    totals = totals_of([trade_line(a_trade(1)), trade_line(a_trade(2, "SELL", price=101.2))])
    assert (totals.trades, totals.buys, totals.sales, totals.wins, totals.losses) == (2, 1, 1, 1, 0)
    assert totals.fees_quote == pytest.approx(0.2)
    assert totals.slippage_quote == pytest.approx(0.2012)
    assert totals.pnl_quote == pytest.approx(1.0)
    assert totals.win_share == 1.0
    assert math.isnan(totals.mean_loss)


def test_fees_in_a_third_asset_are_counted_and_left_out_of_the_sum() -> None:
    totals = totals_of([trade_line(a_trade(1, extra={"fee_asset": "BNB"})), trade_line(a_trade(2))])
    assert (totals.third_asset_fees, totals.fees_quote) == (1, 0.1)


def test_without_sales_the_share_of_gains_is_unknown() -> None:
    assert math.isnan(totals_of([trade_line(a_trade(1))]).win_share)
    assert by_reason([trade_line(a_trade(1))]) == ()


def test_reasons_come_by_how_often_with_what_they_brought() -> None:
    lines = [
        trade_line(a_trade(1, "SELL", price=98.2, extra={"reason": "stop_loss"})),
        trade_line(a_trade(2, "SELL", price=99.2, extra={"reason": "stop_loss"})),
        trade_line(a_trade(3, "SELL", price=103.2)),
        trade_line(a_trade(4)),
    ]
    stops, targets = by_reason(lines)
    assert (stops.reason, stops.sales, stops.share) == ("stop_loss", 2, pytest.approx(2 / 3))
    assert stops.pnl_quote == pytest.approx(-3.0)
    assert (targets.reason, targets.pnl_quote) == ("tp1", pytest.approx(3.0))


def test_a_purchase_after_a_sale_begins_a_new_position() -> None:
    lines = [
        trade_line(a_trade(1)),
        trade_line(a_trade(2)),
        trade_line(a_trade(3, "SELL", price=101.2)),
        trade_line(a_trade(4, "SELL", price=102.2, extra={"reason": "tp2"})),
        trade_line(a_trade(5, extra={"expected_net_pct": 0.004})),
        trade_line(a_trade(6, "SELL", price=99.2, extra={"reason": "stop_loss"})),
    ]
    first, second = round_trips(reversed(lines), NOBODY)
    assert (first.pnl_quote, first.reason, first.fees_quote) == (pytest.approx(3.0), "tp2", pytest.approx(0.4))
    assert first.cost_quote == pytest.approx(200.2)
    assert (second.expected_frac, second.reason) == (0.004, "stop_loss")
    assert second.realised_frac == pytest.approx(-1.0 / 100.1)


def test_a_position_still_held_is_not_closed() -> None:
    lines = [trade_line(a_trade(1)), trade_line(a_trade(2, "SELL"))]
    assert len(round_trips(lines, NOBODY)) == 1
    assert round_trips(lines, frozenset({"BTC/USDC"})) == ()
    assert round_trips(lines[:1], NOBODY) == ()
    assert round_trips(lines[1:], NOBODY) == ()


def test_the_way_from_gross_to_net_adds_up() -> None:
    lines = [trade_line(a_trade(1)), trade_line(a_trade(2, "SELL", price=101.2))]
    steps = cost_steps(round_trips(lines, NOBODY))
    assert steps.net == pytest.approx(1.0)
    assert steps.fees == pytest.approx(0.2)
    assert steps.gross - steps.slippage - steps.fees == pytest.approx(steps.net)


def test_what_was_promised_stands_beside_what_came() -> None:
    lines = [trade_line(a_trade(1)), trade_line(a_trade(2, "SELL", price=101.2))]
    promise = promise_of(round_trips(lines, NOBODY))
    assert promise.mean_expected == 0.002
    assert promise.mean_realised == pytest.approx(1.0 / 100.1)
    unknown = [trade_line(a_trade(1, extra={"expected_net_pct": None})), lines[1]]
    assert promise_of(round_trips(unknown, NOBODY)).expected == ()


def test_an_empty_blotter_says_what_was_refused_most() -> None:
    cycles = [a_cycle(1, funnel={"proba_below_min": 3, "no_skill": 1}), a_cycle(2, funnel={"proba_below_min": 3})]
    assert refusals_sentence(2, cycles) == ("No trades yet. 2 cycles, 7 refusals; most frequent: proba_below_min 86 %.")
    assert "in the newest 2" in refusals_sentence(9_000, cycles)
    assert refusals_sentence(1, [a_cycle(1)]) == "No trades yet. 1 cycles, nothing was refused."


def test_the_csv_holds_every_column_and_leaves_unknown_numbers_empty() -> None:
    lines = [trade_line(a_trade(2, "SELL", price=101.2)), trade_line(a_trade(1))]
    rows = list(csv.DictReader(io.StringIO(csv_bytes(lines).decode())))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert (rows[0]["reason"], float(rows[0]["pnl_quote"])) == ("tp1", pytest.approx(1.0))
    assert (rows[1]["pnl_quote"], rows[1]["size_quote"]) == ("", "100")


def test_no_text_of_the_csv_begins_a_formula() -> None:
    line = trade_line(a_trade(1, "SELL", extra={"reason": "=HYPERLINK(1)", "order_id": "+1", "fee_asset": "@A"}))
    (row,) = csv.DictReader(io.StringIO(csv_bytes([line]).decode()))
    assert (row["reason"], row["order_id"], row["fee_asset"]) == ("'=HYPERLINK(1)", "'+1", "'@A")


def test_the_file_name_tells_mode_and_source() -> None:
    assert csv_name([trade_line(a_trade(1))], NOW) == "bnml_trades_paper_synthetic_20260302T101530Z.csv"
    odd = csv_name([trade_line(a_trade(1, extra={"data_source": "../../x y"}))], NOW)
    assert "/" not in odd
    assert " " not in odd
