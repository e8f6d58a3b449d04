"""What the bot sees: ranking, usual rates, heat over time, probabilities, gates."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.prediction_log import BAR_MS, PredictionLog, PredictionRecord, log_beside
from monitoring.bundle_figures import BundleFigures
from monitoring.views_opportunities import (
    MATRIX_COLUMNS,
    Scan,
    base_rates,
    buy_limit,
    decisions_of,
    gates_of,
    heat_of,
    matrix_shades,
    matrix_values,
    rates_of,
    ribbon_of,
    scan_of,
    span_ms,
    watchlist,
)
from tests.fakes.panel_books import BTC, NOW, a_bundle, a_record, a_scan, write_predictions

RATES = {"BTC/USDC": 0.22, "ETH/USDC": 0.25}
START = 1_000 * BAR_MS


def said(place: int, buy: float = 0.4, *, version: int | None = 3) -> PredictionRecord:
    rest = (1 - buy) / 2
    gates = '[["bundle_stale",50,100,true],["proba_below_min",0.4,0.42,false]]'
    return PredictionRecord(
        BTC, START + place * BAR_MS, version, rest, rest, buy, 0.01, 0.002, "HOLD", "proba_below_min", gates, "live"
    )


def test_those_stopped_by_nothing_come_first_then_the_highest_score() -> None:
    scan = scan_of(a_scan(), RATES, NOW)
    assert [(line.rank, line.symbol) for line in scan.lines] == [(1, "BTC/USDC"), (2, "ETH/USDC"), (3, "ADA/USDC")]
    assert scan.age_s == pytest.approx(20.0)
    assert scan.counts == {"BUY": 1, "HOLD": 2, "SELL": 0}


def test_the_edge_is_the_distance_from_the_usual_rate_and_unknown_without_a_bundle() -> None:
    btc, eth, ada = scan_of(a_scan(), {**RATES, "ADA/USDC": 0.2}, NOW).lines
    assert btc.edge == pytest.approx(0.24)
    assert eth.edge == pytest.approx(-0.05)
    assert math.isnan(ada.edge)
    assert math.isnan(scan_of(a_scan(), {}, NOW).lines[0].edge)


@pytest.mark.parametrize("odd", [None, [], "scan", {"rows": "none"}, {"at": 3, "rows": [None, {"action": "BUY"}]}])
def test_an_odd_scan_is_an_empty_one(odd: object) -> None:
    scan = scan_of(odd, RATES, NOW)
    assert scan.lines == ()
    assert math.isnan(scan.age_s)


def test_a_row_of_another_version_is_shown_with_what_is_known() -> None:
    (line,) = scan_of({"rows": [{"symbol": "BTC/USDC", "score": None, "bundle_version": "3"}]}, RATES, NOW).lines
    assert (line.action, line.is_known) == ("HOLD", False)
    assert math.isnan(line.score)


def test_the_usual_rate_is_that_of_the_newest_bundle() -> None:
    newest = a_bundle(label_counts={"SELL": 1, "HOLD": 1, "BUY": 2})
    records = [a_record(3, newest), a_record(2, a_bundle()), a_record(1, {"symbol": "ETH/USDC", "event": "kept"})]
    assert base_rates(records) == {"BTC/USDC": 0.5}
    on_disk = (BundleFigures("BTC_USDC", a_bundle()), BundleFigures("ETH_USDC", problem="not JSON"))
    assert rates_of(on_disk) == {"BTC/USDC": pytest.approx(2 / 9)}


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (3, 3), (24, 3)])
def test_the_watchlist_holds_as_many_as_asked_for(size: int, count: int) -> None:
    assert len(watchlist(scan_of(a_scan(), RATES, NOW), (), size)) == count


def test_the_watchlist_keeps_to_the_symbols_asked_for() -> None:
    lines = watchlist(scan_of(a_scan(), RATES, NOW), ("ADA/USDC", "XRP/USDC"), 6)
    assert [line.symbol for line in lines] == ["ADA/USDC"]
    assert watchlist(Scan(), (), 6) == ()


def test_the_matrix_has_one_number_per_column_and_shades_between_0_and_1() -> None:
    values = matrix_values(scan_of(a_scan(), RATES, NOW).lines)
    assert {len(row) for row in values} == {len(MATRIX_COLUMNS)}
    assert math.isnan(values[2][0])
    shades = [shade for row in matrix_shades(values) for shade in row if math.isfinite(shade)]
    assert all(0.0 <= shade <= 1.0 for shade in shades)
    assert max(shades) == pytest.approx(0.46)


def test_heat_lays_each_bar_in_its_step_and_leaves_gaps_empty() -> None:
    records = {"BTC/USDC": [said(0, 0.5), said(1, 0.3), said(3, version=None)]}
    heat = heat_of(records, {"BTC/USDC": 0.2}, since_ms=START, until_ms=START + 4 * BAR_MS)
    (row,) = heat.values
    assert row[:2] == (pytest.approx(0.3), pytest.approx(0.1))
    assert math.isnan(row[2])
    assert math.isnan(row[3])
    assert heat.reach == pytest.approx(0.3)


def test_heat_averages_the_bars_of_a_step_and_ends_at_the_end() -> None:
    records = {"BTC/USDC": [said(place, 0.2 + 0.1 * place) for place in range(5)]}
    heat = heat_of(records, {"BTC/USDC": 0.0}, since_ms=START, until_ms=START + 5 * BAR_MS, most=2)
    assert heat.step_ms == 3 * BAR_MS
    assert heat.values == ((pytest.approx(0.25), pytest.approx(0.5)),)


def test_heat_leaves_out_what_lies_outside_the_span() -> None:
    records = {"BTC/USDC": [said(-1), said(0), said(2)]}
    heat = heat_of(records, {"BTC/USDC": 0.0}, since_ms=START, until_ms=START + 2 * BAR_MS)
    assert heat.values[0][0] == pytest.approx(0.4)
    assert math.isnan(heat.values[0][1])


def test_heat_of_a_symbol_without_a_usual_rate_is_empty_and_its_colours_keep_a_scale() -> None:
    heat = heat_of({"BTC/USDC": [said(0)]}, {}, since_ms=START, until_ms=START + BAR_MS)
    assert math.isnan(heat.values[0][0])
    assert heat.reach == 0.01


def test_the_line_of_probabilities_breaks_where_bars_are_absent() -> None:
    ribbon = ribbon_of([said(0), said(1), said(4)])
    assert len(ribbon.times) == 4
    assert math.isnan(ribbon.buy[2])
    assert ribbon.buy[3] == pytest.approx(0.4)


def test_a_long_line_of_probabilities_is_averaged_into_few_points() -> None:
    ribbon = ribbon_of([said(place, 0.5) for place in range(1000)], most=100)
    assert len(ribbon.times) <= 101
    assert ribbon.buy == pytest.approx([0.5] * len(ribbon.times))
    assert ribbon_of([said(0, version=None)]).times == ()


def test_the_last_decisions_come_newest_first_with_their_gates() -> None:
    newest, older = decisions_of([said(0), said(1), said(2)], most=2)
    assert to_ms(newest.at) == START + 2 * BAR_MS
    assert to_ms(older.at) == START + BAR_MS
    assert [gate.verdict for gate in newest.gates] == ["pass", "FAIL"]
    assert buy_limit([newest, older]) == 0.42
    assert math.isnan(buy_limit([]))


def test_each_gate_is_written_with_its_unit() -> None:
    text = '[["bundle_stale",50,8760,true],["proba_below_min",0.36,0.42,false],["ev_not_positive",-0.0009,0,false]]'
    age, share, result = gates_of(text)
    assert (age.value_text, age.limit_text) == ("50 h old", "8760 h old")
    assert (share.value_text, share.limit_text) == ("0.360", "0.420")
    assert (result.value_text, result.limit_text) == ("-0.09 %", "+0.00 %")


@pytest.mark.parametrize("text", ["", "null", "{}", "[1]", '["ab"]', '[["a",1,2]]'])
def test_odd_gates_are_left_out(text: str) -> None:
    assert gates_of(text) == ()


def test_a_gate_whose_number_is_unknown_is_still_shown() -> None:
    (gate,) = gates_of('[["outlier",null,4.5,true]]')
    assert (gate.value_text, gate.limit_text) == ("-", "4.5 distance")


@pytest.mark.parametrize(
    ("period", "hours"), [(timedelta(minutes=15), 4), (timedelta(hours=4), 4), (timedelta(days=7), 168), (None, 720)]
)
def test_the_period_looked_at_is_never_too_short_nor_longer_than_the_log(period: timedelta | None, hours: int) -> None:
    length = span_ms(period, least=timedelta(hours=4), longest=timedelta(days=30))
    assert length == hours * 3_600_000


def test_what_a_scan_left_in_the_log_is_what_is_shown(tmp_path: Path) -> None:
    book = tmp_path / "bn_ml.db"
    write_predictions(book, bars=4)
    until_ms = (to_ms(NOW) // BAR_MS + 1) * BAR_MS
    log = PredictionLog(log_beside(book))
    records = {name: log.read(Symbol(name), 0, until_ms) for name in ("ADA/USDC", "BTC/USDC")}
    heat = heat_of(records, {"BTC/USDC": 0.3, "ADA/USDC": 0.3}, since_ms=until_ms - 4 * BAR_MS, until_ms=until_ms)
    assert all(math.isnan(value) for value in heat.values[0])
    assert [round(value, 6) for value in heat.values[1]] == [0.0, 0.02, 0.04, 0.06]
    assert buy_limit(decisions_of(records["BTC/USDC"])) == 0.42
