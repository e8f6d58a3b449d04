from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from proof_builders import BTC, DAY, START, a_book, a_trade

from bn_ml.domain.positions import ExitReason
from evidence.book import Book
from evidence.report_curves import equity_part, months_part, rolling_part
from evidence.report_data import Extras, report_data
from evidence.report_reading import Part
from evidence.report_trades import Excursion, calibration_part, distribution_part, trades_part
from evidence.run_card import LeftOut, RunCard
from trader.performance import EquityPoint


def a_run(book: Book) -> RunCard:
    return RunCard("backtest", book.begin, book.end, "USDC", (BTC,), "trained weekly", 0.001, 0.0005, "c" * 64, seed=7)


def a_report(book: Book, proof: dict[str, object] | None = None) -> Part:
    return Part(report_data(book, a_run(book), proof))


def some_trades(count: int = 40) -> list[object]:
    return [a_trade(str((-1) ** k * (k + 1) / 10), name=f"p-{k}", at=START + k * DAY / 4) for k in range(count)]


def test_a_report_is_json_and_the_same_each_time() -> None:
    book = a_book(("1000", "1010", "990"), closed=some_trades())  # type: ignore[arg-type]
    texts = [json.dumps(report_data(book, a_run(book), None), allow_nan=False) for _ in range(2)]
    assert texts[0] == texts[1]


def test_the_verdict_comes_first_and_uses_the_proof() -> None:
    proof = {"random_entry": {"p_value": 0.2, "strict_p_value": 0.4}}
    data = report_data(a_book(("1000", "900"), closed=some_trades()), a_run(a_book()), proof)  # type: ignore[arg-type]
    assert next(iter(data)) == "verdict"
    assert "Lost 10.0 % after costs; no better than random entries (p = 0.40)" in Part(data)["verdict"]["sentence"].text


def test_without_a_proof_the_report_says_why() -> None:
    book = a_book(closed=some_trades())  # type: ignore[arg-type]
    data = Part(report_data(book, a_run(book), None, Extras(no_proof="no bars of the period")))
    assert (data["proof"].value, data["no_proof"].text) == (None, "no bars of the period")


def test_the_run_card_lists_what_was_left_out_and_held() -> None:
    held = replace(a_trade(), status=a_trade().status, position_id="h-1")
    book = a_book(held=(held,))
    run = replace(a_run(book), left_out=(LeftOut("ETH/USDC", "no bars"),))
    card = Part(report_data(book, run, None))["run"]
    assert [item["symbol"].text for item in card["left_out"]] == ["ETH/USDC"]
    assert (card["held"].value, card["capital"].number, card["days"].number) == ([BTC], 1000.0, 1.0)


def test_drawdown_is_measured_from_the_highest_equity_before() -> None:
    found = Part(equity_part(a_book(("1000", "1100", "990", "1100", "1200")).curve))
    assert found["deepest"].number == pytest.approx(0.1)
    assert [row.value[2] for row in found["points"]] == pytest.approx([0, 0, -0.1, 0, 0])  # type: ignore[index]
    assert found["longest_days"].number == 2.0


def test_a_long_curve_keeps_its_extremes_and_ends() -> None:
    values = [1000 + (k % 97) for k in range(20_000)]
    values[12_345], values[777] = 1500, 400
    curve = [EquityPoint(START + k * timedelta(minutes=15), Decimal(value)) for k, value in enumerate(values)]
    found = Part(equity_part(curve))
    drawn = [row.value[1] for row in found["points"]]  # type: ignore[index]
    assert len(drawn) <= 1000
    assert (max(drawn), min(drawn), drawn[0], drawn[-1]) == (1500.0, 400.0, 1000.0, float(values[-1]))
    assert found["of"].number == 20_000


def test_months_compound_to_the_whole() -> None:
    book = a_book([str(1000 + 3 * k) for k in range(80)], closed=some_trades(60))  # type: ignore[arg-type]
    rows = months_part(book.curve, book.closed)
    whole = 1.0
    for row in rows:
        whole *= 1 + float(str(row["return"]))
    assert whole == pytest.approx((1000 + 3 * 79) / 1000)
    assert sum(int(str(row["trades"])) for row in rows) == 60
    assert [row["month"] for row in rows] == ["2024-03", "2024-04", "2024-05"]


def test_rolling_figures_need_their_window() -> None:
    short = Part(rolling_part(a_book([str(1000 + k) for k in range(30)]).curve, ()))
    long = Part(rolling_part(a_book([str(1000 + k) for k in range(32)]).curve, some_trades(51)))  # type: ignore[arg-type]
    assert [len(list(part["by_days"])) for part in (short, long)] == [0, 2]
    assert len(list(long["by_trades"])) == 2
    first = next(iter(long["by_days"])).value
    assert first[1] == pytest.approx(1030 / 1000 - 1)  # type: ignore[index]


def test_trades_are_summed_by_symbol_hour_and_reason() -> None:
    late = START + timedelta(hours=5)
    trades = [
        a_trade("2"),
        replace(a_trade("-1", at=late, name="p-2"), close_reason=ExitReason.STOP_LOSS),
        a_trade("3", at=late, name="p-3"),
    ]
    found = Part(trades_part(trades, {}))
    by_hour = {row["hour"].value: (row["trades"].value, row["net_quote"].value) for row in found["by_hour"]}
    by_reason = {row["reason"].text: row["win_rate"].number for row in found["by_reason"]}
    assert by_hour == {0: (1, 2.0), 5: (2, 2.0)}
    assert by_reason == {"stop_loss": 0.0, "tp1": 1.0}
    assert found["duration"]["mean_hours"].number == 1.0


def test_excursions_are_only_those_of_trades_with_bars() -> None:
    trades = [a_trade("2"), a_trade("3", name="p-2", at=START + DAY)]
    found = Part(trades_part(trades, {"p-2": Excursion(0.01, 0.04)}))
    assert (found["excursions"]["trades"].value, found["excursions"]["of"].value) == (1, 2)
    assert [row["adverse"].value for row in found["rows"]] == [None, 0.01]


def test_calibration_counts_winners_by_tenth_of_confidence() -> None:
    trades = [
        replace(a_trade("1", name="a"), confidence=0.4),
        replace(a_trade("-1", name="b"), confidence=0.4999),
        replace(a_trade("1", name="c"), confidence=1.0),
    ]
    rows = [(row["from"], row["trades"], row["won"]) for row in calibration_part(trades)]
    assert rows == [(0.4, 2, 0.5), (0.9, 1, 1.0)]


def test_every_trade_is_in_one_bin_of_the_distribution() -> None:
    spread = Part(distribution_part(some_trades(123)))  # type: ignore[arg-type]
    assert sum(int(item["trades"].number or 0) for item in spread["bins"]) == 123
    assert spread["worst"].number == pytest.approx(-12.2 / 100)


def test_one_result_for_all_trades_is_one_bin() -> None:
    spread = Part(distribution_part([a_trade("1", name=name) for name in "abc"]))
    assert [item["trades"].value for item in spread["bins"]] == [3]


def test_a_book_without_trades_has_every_part() -> None:
    data = a_report(a_book())
    assert data["verdict"]["code"].text == "no_trades"
    assert (data["distribution"]["bins"].value, data["calibration"].value, data["trades"]["rows"].value) == ([], [], [])
