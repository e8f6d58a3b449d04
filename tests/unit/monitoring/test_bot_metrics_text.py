"""Every metric of the bot from its database: all names, honest values, ages when read, NaN where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.account import ControlState
from bn_ml.domain.events import OrderFinished, OrderRejected, OrderSent
from bn_ml.domain.market import Symbol, iso
from bn_ml.domain.orders import IntentState, Side
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from monitoring.bot_facts import BotFacts
from monitoring.metric_names import CATALOGUE
from monitoring.metrics import SILENT_S, metrics_text, text_of
from monitoring.runtime_metrics import RuntimeMetrics
from tests.fakes.book_builders import a_position, an_intent
from tests.fakes.prometheus_text import read_text

AT = datetime(2024, 3, 4, 12, tzinfo=timezone.utc)
NOW = AT + timedelta(seconds=90)
BTC = Symbol("BTC/USDC")
SPECIFIED = """
bnml_scan_rows bnml_scan_age_seconds bnml_scan_signal_count bnml_scan_top_confidence bnml_gate_rejections_total
bnml_account_total_capital bnml_account_active_capital bnml_account_equity bnml_account_drawdown_pct
bnml_account_exposure_pct bnml_account_daily_pnl_pct bnml_account_weekly_pnl_pct bnml_account_consecutive_losses
bnml_open_positions bnml_total_trades bnml_total_cycles bnml_market_drift_detected bnml_market_index bnml_bot_up
bnml_bot_heartbeat_age_seconds bnml_cycle_duration_seconds bnml_control_state bnml_breaker_active bnml_orders_total
bnml_order_latency_seconds bnml_order_unknown bnml_unprotected_seconds bnml_slippage_pct
bnml_exchange_weight_used_ratio bnml_exchange_errors_total bnml_quote_age_seconds bnml_ws_reconnects_total
bnml_clock_offset_ms bnml_alerts_total bnml_worker_restarts_total bnml_backup_age_seconds bnml_db_size_bytes
bnml_data_source bnml_model_age_seconds bnml_model_skill bnml_model_tradable bnml_drift_score bnml_training_progress
bnml_training_failures_total bnml_retrain_total
"""
LABELS = {
    "bnml_scan_signal_count": ("signal",),
    "bnml_gate_rejections_total": ("reason",),
    "bnml_cycle_duration_seconds": ("stage",),
    "bnml_breaker_active": ("breaker",),
    "bnml_orders_total": ("side", "result"),
    "bnml_exchange_errors_total": ("kind",),
    "bnml_alerts_total": ("level", "channel", "result"),
    "bnml_worker_restarts_total": ("worker",),
    "bnml_data_source": ("source",),
    "bnml_model_age_seconds": ("symbol",),
    "bnml_model_skill": ("symbol",),
    "bnml_model_tradable": ("symbol",),
    "bnml_drift_score": ("symbol", "test"),
    "bnml_retrain_total": ("trigger", "result"),
}


class Cycle:
    durations_ms = {"scan": 1_200.0}  # noqa: RUF012
    funnel = {"no_skill": 2}  # noqa: RUF012


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "bn_ml.db")
    opened.bind_book("paper", "paper", AT)
    yield opened
    opened.close()


def values(store: StateStore, now: datetime = NOW) -> dict[str, dict[tuple[str, ...], float]]:
    """Read the text back as plain numbers by name and label values."""
    read = read_text(metrics_text(StateReader(store.path), now))
    return {
        name: {tuple(value for _, value in labels): number for (_, labels), number in family.samples.items()}
        for name, family in read.items()
        if family.kind != "histogram"
    }


def one(store: StateStore, name: str, now: datetime = NOW) -> float:
    return values(store, now)[name][()]


def test_every_specified_name_is_there_with_its_labels() -> None:
    catalogue = {family.name: family.labels for family in CATALOGUE}
    assert set(SPECIFIED.split()) <= set(catalogue)
    assert {name: catalogue[name] for name in SPECIFIED.split()} == {
        name: LABELS.get(name, ()) for name in SPECIFIED.split()
    }
    assert len(catalogue) == len(CATALOGUE)


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for family in CATALOGUE:
        assert (family.kind == "counter") is family.name.endswith("_total")


def test_without_a_database_all_names_are_told_and_the_bot_is_not_up(tmp_path: Path) -> None:
    read = read_text(metrics_text(StateReader(tmp_path / "none.db"), NOW))
    assert set(read) == {family.name for family in CATALOGUE}
    assert read["bnml_bot_up"].samples == {("bnml_bot_up", ()): 0.0}
    for family in CATALOGUE:
        own = list(read[family.name].samples.values())
        if family.labels or family.kind == "histogram":
            assert own == []
        elif family.name not in ("bnml_bot_up", "bnml_disk_free_bytes"):
            assert len(own) == 1
            assert math.isnan(own[0])


def test_a_corrupt_database_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "bn_ml.db").write_bytes(b"not a database" * 100)
    read = read_text(metrics_text(StateReader(tmp_path / "bn_ml.db"), NOW))
    assert read["bnml_bot_up"].samples["bnml_bot_up", ()] == 0.0
    assert read["bnml_db_size_bytes"].samples["bnml_db_size_bytes", ()] == 1400


def test_a_new_book_knows_its_counts_and_nothing_else(store: StateStore) -> None:
    told = values(store)
    assert (told["bnml_open_positions"], told["bnml_total_trades"]) == ({(): 0}, {(): 0})
    assert told["bnml_unprotected_seconds"] == {(): 0}
    assert math.isnan(told["bnml_scan_age_seconds"][()])
    assert math.isnan(told["bnml_ws_reconnects_total"][()])
    assert told["bnml_scan_signal_count"] == {}


def test_the_scan_is_told_with_its_age_when_read(store: StateStore) -> None:
    rows = [
        {"symbol": "A/USDC", "action": "BUY", "confidence": 0.55},
        {"symbol": "B/USDC", "action": "HOLD", "confidence": 0.99},
        {"symbol": "C/USDC", "action": "HOLD", "confidence": 1.0},
    ]
    store.put("latest_scan", {"at": iso(AT), "rows": rows}, AT)
    told = values(store)
    assert told["bnml_scan_rows"] == {(): 3}
    assert told["bnml_scan_age_seconds"] == {(): 90}
    assert told["bnml_scan_signal_count"] == {("SELL",): 0, ("HOLD",): 2, ("BUY",): 1}
    assert told["bnml_scan_top_confidence"] == {(): 0.55}
    assert one(store, "bnml_scan_age_seconds", AT - timedelta(seconds=5)) == 0


def test_the_account_and_its_breakers_are_told(store: StateStore) -> None:
    breakers = [
        {"name": "breaker_daily_loss", "value": 0.024, "limit": 0.03, "tripped": False},
        {"name": "breaker_volatility", "value": float("inf"), "limit": 3.0, "tripped": True},
        {"name": "breaker_drift", "value": 0.0, "limit": 0.0, "tripped": False},
    ]
    fields = {"equity": 101.5, "drawdown_pct": 0.02, "daily_pnl_pct": -0.024, "consecutive_losses": 2}
    store.put("account_state", {**fields, "breakers": breakers}, AT)
    told = values(store)
    assert told["bnml_account_equity"] == {(): 101.5}
    assert told["bnml_account_daily_pnl_pct"] == {(): -0.024}
    assert told["bnml_account_consecutive_losses"] == {(): 2}
    assert math.isnan(told["bnml_account_exposure_pct"][()])
    assert told["bnml_breaker_active"] == {
        ("breaker_daily_loss",): 0,
        ("breaker_volatility",): 1,
        ("breaker_drift",): 0,
    }
    used = told["bnml_breaker_used_ratio"]
    assert used["breaker_daily_loss",] == pytest.approx(0.8)
    assert math.isnan(used["breaker_volatility",])
    assert math.isnan(used["breaker_drift",])


@pytest.mark.parametrize(("heard_s", "up"), [(0.0, 1.0), (SILENT_S, 1.0), (SILENT_S + 0.001, 0.0), (-30.0, 1.0)])
def test_the_bot_is_up_while_it_was_heard_of_lately(store: StateStore, heard_s: float, up: float) -> None:
    store.put("heartbeat", {"at": iso(NOW - timedelta(hours=1)), "cycle": 7, "mode": "paper"}, AT)
    store.put("loop_beat", {"at": iso(NOW - timedelta(seconds=heard_s)), "step": "wait"}, AT)
    told = values(store)
    assert told["bnml_bot_up"] == {(): up}
    assert told["bnml_bot_heartbeat_age_seconds"][()] == pytest.approx(max(heard_s, 0.0), abs=1e-3)
    assert told["bnml_total_cycles"] == {(): 7}


@pytest.mark.parametrize(
    ("state", "number"), [(ControlState.NORMAL, 0), (ControlState.REDUCE_ONLY, 1), (ControlState.HALTED, 2)]
)
def test_the_control_state_is_a_number(store: StateStore, state: ControlState, number: float) -> None:
    store.set_control(state, "test", "test", AT)
    assert one(store, "bnml_control_state") == number


def test_orders_nobody_can_account_for_are_counted(store: StateStore) -> None:
    for client_id in ("bnml-1", "bnml-2", "bnml-3"):
        store.add_intent(an_intent(client_id), store.control().owner)
    store.update_intent("bnml-1", IntentState.OPEN, at=AT)
    store.update_intent("bnml-2", IntentState.UNKNOWN, reason="lost", at=AT)
    assert one(store, "bnml_order_unknown") == 2


@pytest.mark.parametrize(("since", "seconds"), [(None, 0), (iso(AT), 90), ("odd", math.nan)])
def test_time_without_a_stop_runs_until_it_is_read(store: StateStore, since: str | None, seconds: float) -> None:
    store.put("unprotected", {"last_s": 4.0, "longest_s": 9.0, "count": 3, "since": since}, AT)
    assert one(store, "bnml_unprotected_seconds") == pytest.approx(seconds, nan_ok=True)


def test_slippage_is_the_mean_of_the_newest_twenty_trades(store: StateStore) -> None:
    for number in range(25):
        slipped = 1.0 if number < 5 else 0.001
        store.add_trade(
            at=AT, symbol=BTC, side=Side.BUY, size_quote=Decimal(10), price=Decimal(1), mode="paper",
            extra={"slippage_pct": slipped},
        )  # fmt: skip
    assert one(store, "bnml_slippage_pct") == pytest.approx(0.001)
    assert one(store, "bnml_total_trades") == 25


def test_positions_and_the_data_source_are_told(store: StateStore) -> None:
    store.save_position(a_position())
    store.add_cycle(at=AT, opportunities=0, opened_positions=0, data={"data_source": "binance"})
    told = values(store)
    assert told["bnml_open_positions"] == {(): 1}
    assert told["bnml_data_source"] == {("binance",): 1}
    assert told["bnml_db_size_bytes"][()] > 0
    assert told["bnml_disk_free_bytes"][()] > 0


def test_what_the_process_counted_is_told(store: StateStore) -> None:
    metrics = RuntimeMetrics(AT)
    metrics.emit(OrderSent(AT, BTC, "1", "BUY", "MARKET", Decimal(1), "entry", None, None))
    metrics.emit(OrderFinished(AT, BTC, "1", "FILLED"))
    metrics.emit(OrderRejected(AT, BTC, "2", "no"))
    metrics.count_cycle(Cycle())
    metrics.observe_order(0.3)
    metrics.count_exchange_error("transient")
    metrics.follow_alerts({("CRITICAL", "webhook", "sent"): 1})
    metrics.count_worker_restart("prices")
    metrics.count_retrain("drift", "trained", 2)
    metrics.count_retrain("drift", "failed")
    metrics.follow_stream(3)
    metrics.set_gauge("weight_ratio", 0.25)
    metrics.set_gauge("clock_offset_ms", -12.5)
    metrics.set_gauge("quote_at", iso(AT))
    store.put("runtime_metrics", metrics.snapshot(AT), AT)
    told = values(store)
    assert told["bnml_orders_total"] == {("BUY", "filled"): 1, ("UNKNOWN", "refused"): 1}
    assert told["bnml_gate_rejections_total"] == {("no_skill",): 2}
    assert told["bnml_exchange_errors_total"] == {("transient",): 1}
    assert told["bnml_alerts_total"] == {("CRITICAL", "webhook", "sent"): 1}
    assert told["bnml_worker_restarts_total"] == {("prices",): 1}
    assert told["bnml_retrain_total"] == {("drift", "trained"): 2, ("drift", "failed"): 1}
    assert told["bnml_training_failures_total"] == {(): 1}
    assert told["bnml_ws_reconnects_total"] == {(): 2}
    assert told["bnml_exchange_weight_used_ratio"] == {(): 0.25}
    assert told["bnml_clock_offset_ms"] == {(): -12.5}
    assert told["bnml_quote_age_seconds"] == {(): 90}
    read = read_text(metrics_text(StateReader(store.path), NOW))
    latency = read["bnml_order_latency_seconds"].samples
    assert latency["bnml_order_latency_seconds_bucket", (("le", "0.25"),)] == 0
    assert latency["bnml_order_latency_seconds_bucket", (("le", "0.5"),)] == 1
    assert latency["bnml_order_latency_seconds_count", ()] == 1
    durations = read["bnml_cycle_duration_seconds"].samples
    assert durations["bnml_cycle_duration_seconds_sum", (("stage", "scan"),)] == pytest.approx(1.2)


def test_models_are_told_by_their_newest_record(store: StateStore) -> None:
    old = {"symbol": "BTC/USDC", "version": 1, "trained_at": iso(AT - timedelta(days=9)), "tradable": {"verdict": True}}
    new = {**old, "version": 2, "trained_at": iso(AT), "tradable": {"verdict": False},
           "validation_metrics": {"skill": 0.031}}  # fmt: skip
    store.add_model_metrics(AT, old)
    store.add_model_metrics(AT, new)
    store.add_model_metrics(AT, {"event": "kept_champion", "symbol": "BTC/USDC", "version": 3})
    told = values(store)
    assert told["bnml_model_age_seconds"] == {("BTC/USDC",): 90}
    assert told["bnml_model_skill"] == {("BTC/USDC",): 0.031}
    assert told["bnml_model_tradable"] == {("BTC/USDC",): 0}


def test_drift_training_mood_and_backups_are_told(store: StateStore) -> None:
    scores = {"loss": {"score": 3.5, "limit": 5.0, "beyond": False}, "psi": {"score": None}}
    store.put("drift_status", {"detected": True, "symbols": {"BTC/USDC": {"scores": scores}}}, AT)
    store.put("training_status", {"progress_pct": 40.0}, AT)
    store.put("santrade_intelligence", {"index_value": 61.0}, AT)
    store.put("backup_status", {"last_backup_at": iso(AT - timedelta(hours=1))}, AT)
    told = values(store)
    assert told["bnml_market_drift_detected"] == {(): 1}
    assert told["bnml_drift_score"]["BTC/USDC", "loss"] == 3.5
    assert math.isnan(told["bnml_drift_score"]["BTC/USDC", "psi"])
    assert told["bnml_training_progress"] == {(): 0.4}
    assert told["bnml_market_index"] == {(): 61}
    assert told["bnml_backup_age_seconds"] == {(): 3690}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            ["at", "rows", "counters", "orders", "histograms", "cycle_duration", "bounds", "series", "gauges",
             "symbols", "scores", "breakers", "since", "trained_at", "tradable", "validation_metrics", "quote_at", "ws"]
        ),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
KEYS = st.sampled_from(
    ["latest_scan", "account_state", "runtime_metrics", "drift_status", "unprotected", "heartbeat", "training_status"]
)


@given(st.dictionaries(KEYS, PLAIN.filter(lambda value: isinstance(value, dict)), max_size=4))
@settings(max_examples=80, deadline=None)
def test_nothing_another_version_may_have_written_breaks_the_text(kept: dict[str, dict[str, object]]) -> None:
    assert set(read_text(text_of(BotFacts(NOW, kept)))) == {family.name for family in CATALOGUE}


def test_the_document_lists_every_metric_as_it_is() -> None:
    lines = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if line.startswith("| `bnml_")]
    assert told == [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels) or '-'} | "
        f"{family.help} |"
        for family in CATALOGUE
    ]
