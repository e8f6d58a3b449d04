"""The machine: cycle times, workers, backups, alerts, and metrics as people read them."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.market import iso
from bn_ml.state_reader import StateReader
from monitoring.bot_facts import BotFacts, read_facts
from monitoring.runtime_metrics import RUNTIME_METRICS, RuntimeMetrics
from monitoring.views_metrics import (
    WHOLE_CYCLE,
    alerts_of,
    at_least,
    backups_of,
    bytes_text,
    cycle_times,
    metric_values,
    quantile,
    stage_times,
    workers_of,
)
from tests.fakes.panel_books import NOW, a_cycle, a_scan, write_book


def test_stages_are_told_by_their_middle_their_worst_twentieth_and_the_longest() -> None:
    cycles = [a_cycle(number, scan_ms=float(number)) for number in range(1, 101)]
    adopt, manage, scan, whole = stage_times(cycles)
    assert (adopt.stage, manage.stage, scan.stage, whole.stage) == ("adopt", "manage", "scan", WHOLE_CYCLE)
    assert (scan.cycles, scan.p50_ms, scan.p95_ms, scan.worst_ms) == (100, 50.0, 95.0, 100.0)
    assert whole.p50_ms == 54.0


def test_cycle_times_run_forward_and_skip_cycles_that_tell_nothing() -> None:
    silent = a_cycle(3)
    newest_first = [a_cycle(2), type(silent)(9, NOW, 0, 0, {"durations_ms": {"scan": "long"}}), a_cycle(1)]
    times = cycle_times(newest_first)
    assert [time.length_ms for time in times] == [64.0, 64.0]
    assert times[0].at < times[1].at
    assert stage_times([]) == ()


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.75, 3.0), (0.95, 4.0), (1.0, 4.0)])
def test_a_quantile_is_a_value_that_occurred(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == value


def test_workers_in_trouble_come_first() -> None:
    told = {
        "health_at": iso(NOW - timedelta(seconds=8)),
        "troubles": 2,
        "last_trouble": "alerts: broken pipe",
        "workers": {
            "alerts": {"alive": True, "beat_age_s": 1.5, "restarts": 0, "restarts_left": 5},
            "backups": {"alive": False, "beat_age_s": None, "restarts": 5, "spent": True, "needed": False},
            "metrics": {"alive": False, "needed": True, "last_error": "no space"},
        },
    }
    workers = workers_of(told, NOW)
    assert [(line.name, line.verdict) for line in workers.lines] == [
        ("backups", "GIVEN UP"),
        ("metrics", "DEAD"),
        ("alerts", "alive"),
    ]
    assert (workers.age_s, workers.troubles, workers.last_trouble) == (8.0, 2, "alerts: broken pipe")


@pytest.mark.parametrize("odd", [None, {"cycle": 3}, {"workers": "all"}])
def test_a_heartbeat_without_workers_has_none(odd: object) -> None:
    assert workers_of(odd, NOW).lines == ()


def test_backups_are_told_with_age_size_and_the_last_restore() -> None:
    told = {
        "enabled": True,
        "last_backup_at": iso(NOW - timedelta(minutes=40)),
        "last_id": "20260302T093530Z",
        "size_bytes": 1_200_000,
        "count": 12,
        "next_due_at": iso(NOW + timedelta(minutes=20)),
        "last_error": "",
        "last_restore": {"at": iso(NOW - timedelta(days=2)), "backup_id": "20260228T000000Z"},
    }
    backups = backups_of(told, NOW)
    assert (backups.age_s, backups.due_in_s, backups.restored_age_s) == (2400.0, 1200.0, 172_800.0)
    assert (backups.count, backups.restored_id) == (12, "20260228T000000Z")


def test_no_backup_yet_and_no_backups_at_all_are_told_apart() -> None:
    assert backups_of(None, NOW).is_enabled
    assert not backups_of({"enabled": False}, NOW).is_enabled
    assert backups_of({"last_restore": None}, NOW).restored_at is None


def test_alerts_are_open_until_they_have_ended() -> None:
    rows = [
        {
            "id": "a1b2",
            "level": "CRITICAL",
            "title": "HALTED",
            "at": iso(NOW),
            "count": 3,
            "channels": {"mail": "sent"},
        },
        {"id": "c3d4", "level": "INFO", "title": "started", "at": iso(NOW), "ended_at": iso(NOW)},
        {"id": "e5f6", "level": "WARNING", "title": "stale"},
        "no alert",
    ]
    alerts = alerts_of(rows)
    assert [alert.state for alert in alerts] == ["open", "over", "open"]
    assert alerts[0].channels == "mail sent"
    assert [alert.id for alert in at_least(alerts, "WARNING")] == ["a1b2", "e5f6"]
    assert len(at_least(alerts, "anything")) == 3
    assert alerts_of({"rows": rows}) == ()


def shown(facts: BotFacts) -> dict[str, str]:
    return {f"{value.name} {value.labels}".strip(): value.text for value in metric_values(facts, "USDC")}


def test_every_metric_is_written_with_its_unit(tmp_path: Path) -> None:
    runtime = RuntimeMetrics(NOW)
    for _ in range(20):
        runtime.observe_order(0.2)
    runtime.count_exchange_error("timeout")
    account = {"equity": 1003.42, "drawdown_pct": 0.034, "consecutive_losses": 2}
    kept = {
        "latest_scan": a_scan(),
        "account_state": account,
        RUNTIME_METRICS: runtime.snapshot(NOW),
        "training_status": {"progress_pct": 50.0},
    }
    texts = shown(read_facts(StateReader(write_book(tmp_path / "bn_ml.db", kept=kept)), NOW))
    assert texts["bnml_account_equity"] == "1,003.42 USDC"
    assert texts["bnml_account_drawdown_pct"] == "3.40 %"
    assert texts["bnml_account_consecutive_losses"] == "2"
    assert texts["bnml_scan_age_seconds"] == "20 s"
    assert texts["bnml_scan_signal_count signal=BUY"] == "1"
    assert texts["bnml_control_state"] == "NORMAL"
    assert texts["bnml_training_progress"] == "50.00 %"
    assert texts["bnml_exchange_errors_total kind=timeout"] == "1 counted"
    assert texts["bnml_order_latency_seconds"] == "20 measured, mean 0.2 s, 95 % within 0.25 s"
    assert texts["bnml_db_size_bytes"].endswith("kB")
    assert texts["bnml_clock_offset_ms"] == "-"


def test_what_lies_above_the_last_bucket_is_said_to(tmp_path: Path) -> None:
    runtime = RuntimeMetrics(NOW)
    runtime.observe_order(99.0)
    kept = {RUNTIME_METRICS: runtime.snapshot(NOW)}
    texts = shown(read_facts(StateReader(write_book(tmp_path / "bn_ml.db", kept=kept)), NOW))
    assert texts["bnml_order_latency_seconds"] == "1 measured, mean 99 s, 95 % beyond 10 s"


def test_a_book_that_cannot_be_read_gives_dashes_and_no_error(tmp_path: Path) -> None:
    facts = read_facts(StateReader(tmp_path / "absent.db"), NOW)
    assert facts.problem
    assert set(shown(facts).values()) <= {"-", "0"} | {text for text in shown(facts).values() if "B" in text}


@pytest.mark.parametrize(
    ("size", "text"), [(0.0, "0 B"), (999.0, "999 B"), (1000.0, "1.0 kB"), (2.5e9, "2.5 GB"), (math.nan, "-")]
)
def test_bytes_are_written_in_the_unit_that_fits(size: float, text: str) -> None:
    assert bytes_text(size) == text
