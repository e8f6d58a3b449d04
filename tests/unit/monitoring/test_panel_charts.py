"""Charts of the panels: only trace types the vendored chart library draws, and nothing JSON cannot carry."""

from __future__ import annotations

import json
import math
from datetime import datetime

import pytest

from bn_ml.domain.market import iso
from monitoring.bundle_figures import BundleFigures
from monitoring.charts_metrics import cycle_chart
from monitoring.charts_models import importance_chart, skill_chart
from monitoring.charts_opportunities import bars_chart, heat_chart, matrix_chart, ribbon_chart
from monitoring.charts_trades import cost_chart, promise_chart, reason_chart
from monitoring.figures import Figure
from monitoring.stored_bars import Candles, FillMark, candles_of
from monitoring.views_metrics import CycleTime
from monitoring.views_models import importances_of, model_lines
from monitoring.views_opportunities import Heat, Ribbon, scan_of
from monitoring.views_trades import CostSteps, Promise, by_reason, trade_line
from tests.fakes.bar_builders import START, some_bars
from tests.fakes.panel_books import NOW, a_bundle, a_scan, a_trade

DRAWN = {"scatter", "bar", "heatmap", "histogram", "pie"}


def axis_text(at: datetime) -> str:
    return iso(at)[:19]


def all_charts(*, dark: bool) -> list[Figure]:
    heat = Heat(("BTC/USDC",), (NOW,), ((math.nan,),), 900_000)
    ribbon = Ribbon((NOW, NOW), (0.3, math.nan), (0.3, math.nan), (0.4, math.nan))
    marks = (FillMark(START, 100.0, "BUY", "BUY entry"), FillMark(START, 101.0, "SELL", "SELL tp1"))
    unknown = a_bundle("ETH/USDC", validation_metrics={"skill": 0.01, "skill_interval": None})
    lines = model_lines((BundleFigures("B", a_bundle()), BundleFigures("E", unknown)), (), None, NOW)
    sales = [trade_line(a_trade(1, "SELL", price=99.0)), trade_line(a_trade(2, "SELL", extra={"reason": "tp2"}))]
    return [
        heat_chart(heat, axis_text, dark=dark),
        matrix_chart(scan_of(a_scan(), {}, NOW).lines, dark=dark),
        bars_chart(candles_of(some_bars(50)), marks, axis_text, dark=dark),
        bars_chart(Candles(problem="none"), marks, axis_text, dark=dark),
        ribbon_chart(ribbon, 0.22, math.nan, axis_text, dark=dark),
        ribbon_chart(Ribbon(), 0.22, 0.42, axis_text, dark=dark),
        cost_chart(CostSteps(3, 1.0, 0.2, 0.5, 0.3), "USDC", dark=dark),
        cost_chart(CostSteps(0, 0.0, 0.0, 0.0, 0.0), "USDC", dark=dark),
        reason_chart(by_reason(sales), "USDC", dark=dark),
        promise_chart(Promise((0.01, -0.02), (0.0, 0.01), ("a", "b")), dark=dark),
        skill_chart(lines, dark=dark),
        importance_chart(importances_of({"feature_importances": {"a": 1.0}}), dark=dark),
        cycle_chart([CycleTime(NOW, 64.0)], 64.0, axis_text, dark=dark),
        cycle_chart([], math.nan, axis_text, dark=dark),
    ]


@pytest.mark.parametrize("dark", [True, False])
def test_every_chart_is_of_traces_that_are_drawn_and_of_plain_json(dark: bool) -> None:
    for figure in all_charts(dark=dark):
        traces = figure["data"]
        assert isinstance(traces, list)
        assert {trace["type"] for trace in traces} <= DRAWN
        drawn = [trace for trace in traces if trace.get("y") not in ([], None) or trace["type"] == "heatmap"]
        json.dumps(drawn, allow_nan=False)
        layout = figure["layout"]
        assert isinstance(layout, dict)
        assert layout["uirevision"] == "kept"


def test_candles_stand_on_the_lower_of_open_and_close_and_rising_ones_are_hollow() -> None:
    bars = some_bars(50)
    wicks, bodies = bars_chart(candles_of(bars), (), axis_text, dark=True)["data"]  # type: ignore[misc]
    for place, (base, height) in enumerate(zip(bodies["base"], bodies["y"], strict=True)):
        ends = sorted((bars.open[place], bars.close[place]))
        assert base == ends[0]
        assert base + height == pytest.approx(ends[1], rel=2e-5)
        is_hollow = bodies["marker"]["color"][place] == "rgba(0,0,0,0)"
        assert is_hollow == (bars.close[place] >= bars.open[place])
    assert len(wicks["x"]) == 3 * len(bars)


def test_each_step_from_gross_to_net_begins_where_the_last_one_ended() -> None:
    (trace,) = cost_chart(CostSteps(3, 1.0, 0.2, 0.5, 0.3), "USDC", dark=True)["data"]  # type: ignore[misc]
    ends = [base + change for base, change in zip(trace["base"], trace["y"], strict=True)]
    assert trace["base"][1] == ends[0]
    assert trace["base"][2] == ends[1]
    assert ends[2] == pytest.approx(ends[3])
    assert trace["text"] == ["+1.00 USDC", "-0.20 USDC", "-0.50 USDC", "+0.30 USDC"]


def test_purchases_and_sales_differ_in_shape_and_name_not_only_in_colour() -> None:
    marks = (FillMark(START, 100.0, "BUY", "BUY entry"), FillMark(START, 101.0, "SELL", "SELL tp1"))
    buys, sales = bars_chart(Candles(), marks, axis_text, dark=True)["data"][2:]  # type: ignore[index]
    assert (buys["name"], buys["marker"]["symbol"]) == ("our BUY", "triangle-up")
    assert (sales["name"], sales["marker"]["symbol"]) == ("our SELL", "triangle-down")


def test_every_cell_of_the_matrix_carries_its_number() -> None:
    (trace,) = matrix_chart(scan_of(a_scan(), {"BTC/USDC": 0.22}, NOW).lines, dark=True)["data"]  # type: ignore[misc]
    assert trace["text"][0][:4] == ["0.46", "0.27", "0.27", "0.22"]
    assert trace["text"][2][0] == "-"
    assert trace["z"][2][0] is None
