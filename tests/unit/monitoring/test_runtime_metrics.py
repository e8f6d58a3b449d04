"""The process counts itself: orders by side and how they ended, and never more series than a reader can take."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bn_ml.domain.events import OrderFinished, OrderRejected, OrderSent
from bn_ml.domain.market import Symbol
from monitoring.measures import MOST_SERIES, Buckets, Counts
from monitoring.runtime_metrics import MOST_ORDERS, RuntimeMetrics

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")


@dataclass
class Cycle:
    durations_ms: dict[str, float] = field(default_factory=dict)
    funnel: dict[str, int] = field(default_factory=dict)


def sent(client_id: str, side: str = "BUY") -> OrderSent:
    return OrderSent(AT, BTC, client_id, side, "MARKET", Decimal(1), "entry", None, None)


def counted(metrics: RuntimeMetrics, name: str) -> dict[tuple[str, ...], float]:
    counters = json.loads(json.dumps(metrics.snapshot(AT)))["counters"]
    return {tuple(labels): count for labels, count in counters[name]}


@pytest.fixture
def metrics() -> RuntimeMetrics:
    return RuntimeMetrics(AT)


def test_orders_are_counted_by_side_and_how_they_ended(metrics: RuntimeMetrics) -> None:
    for client_id, side in (("1", "BUY"), ("2", "BUY"), ("3", "SELL")):
        metrics.emit(sent(client_id, side))
    metrics.emit(OrderFinished(AT, BTC, "1", "FILLED"))
    metrics.emit(OrderRejected(AT, BTC, "2", "-2010 no"))
    metrics.emit(OrderFinished(AT, BTC, "3", "EXPIRED"))
    assert counted(metrics, "orders") == {("BUY", "filled"): 1, ("BUY", "refused"): 1, ("SELL", "expired"): 1}


def test_an_order_of_an_earlier_process_has_its_side_when_it_was_remembered(metrics: RuntimeMetrics) -> None:
    metrics.remember_order("old", "SELL")
    metrics.emit(OrderFinished(AT, BTC, "old", "FILLED"))
    metrics.emit(OrderFinished(AT, BTC, "older", "FILLED"))
    assert counted(metrics, "orders") == {("SELL", "filled"): 1, ("UNKNOWN", "filled"): 1}


def test_no_more_orders_are_remembered_than_there_is_room_for(metrics: RuntimeMetrics) -> None:
    for number in range(MOST_ORDERS + 1):
        metrics.emit(sent(str(number)))
    metrics.emit(OrderFinished(AT, BTC, "0", "FILLED"))
    metrics.emit(OrderFinished(AT, BTC, "1", "FILLED"))
    assert counted(metrics, "orders") == {("UNKNOWN", "filled"): 1, ("BUY", "filled"): 1}


def test_a_cycle_adds_its_stages_and_what_it_stopped(metrics: RuntimeMetrics) -> None:
    metrics.count_cycle(Cycle({"scan": 250.0, "enter": 1.0}, {"no_skill": 3, "data_unavailable": 2}))
    metrics.count_cycle(Cycle({"scan": 90_000.0, "enter": 1.0}, {"no_skill": 1}))
    assert counted(metrics, "gate_rejections") == {("no_skill",): 4, ("data_unavailable",): 2}
    assert counted(metrics, "exchange_errors") == {("market_data",): 2}
    durations = metrics.snapshot(AT)["histograms"]["cycle_duration"]  # type: ignore[index]
    assert [(labels, sum(counts), total) for labels, counts, total in durations["series"]] == [
        (["enter"], 2, pytest.approx(0.002)),
        (["scan"], 2, pytest.approx(90.25)),
    ]


def test_every_connection_but_the_first_is_a_reconnect(metrics: RuntimeMetrics) -> None:
    for connections in (0, 1, 1, 2, 4):
        metrics.follow_stream(connections)
    assert counted(metrics, "ws") == {(): 3}


@pytest.mark.parametrize(("given", "kept"), [(1.5, 1.5), (float("nan"), None), (float("inf"), None), (None, None)])
def test_a_present_value_that_is_no_number_is_unknown(
    given: float | None, kept: float | None, metrics: RuntimeMetrics
) -> None:
    metrics.set_gauge("weight_ratio", given)
    assert metrics.snapshot(AT)["gauges"] == {"weight_ratio": kept}


def test_counts_of_several_threads_are_all_there(metrics: RuntimeMetrics) -> None:
    def work() -> None:
        for _ in range(500):
            metrics.count_exchange_error("transient")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(metrics, "exchange_errors") == {("transient",): 2_000}


def test_alerts_are_counted_where_they_are_sent_and_only_taken_over(metrics: RuntimeMetrics) -> None:
    key = ("WARNING", "webhook", "sent")
    for total in (2, 5, 5, 4):
        metrics.follow_alerts({key: total, ("INFO", "log", "sent"): 1})
    assert counted(metrics, "alerts") == {key: 5, ("INFO", "log", "sent"): 1}


def test_a_flood_of_names_stays_small_and_loses_no_count(metrics: RuntimeMetrics) -> None:
    for number in range(10 * MOST_SERIES):
        metrics.count_worker_restart(f"worker {number} " + "x" * 1_000)
    found = counted(metrics, "worker_restarts")
    assert (len(found), sum(found.values())) == (MOST_SERIES + 1, 10 * MOST_SERIES)
    assert found["other",] == 9 * MOST_SERIES
    assert len(json.dumps(metrics.snapshot(AT))) < 30_000


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_a_counter_never_falls(steps: list[float]) -> None:
    counts, before = Counts(), 0.0
    for step in steps:
        counts.add("a", by=step)
        now = sum(value for _, value in counts.plain())  # type: ignore[misc,attr-defined]
        assert now >= before
        before = now


@pytest.mark.parametrize(("value", "place"), [(0.1, 0), (0.100001, 1), (1.0, 1), (-5.0, 0), (7.0, 2)])
def test_an_observation_at_a_bound_lies_below_it(value: float, place: int) -> None:
    buckets = Buckets((0.1, 1.0))
    buckets.observe(value)
    buckets.observe(float("nan"))
    ((_, counts, total),) = buckets.plain()["series"]  # type: ignore[misc,attr-defined]
    assert (counts.index(1), sum(counts), total) == (place, 1, value)
