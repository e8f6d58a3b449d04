"""The metrics panel: cycle times, workers, backups, alerts, the log, and every Prometheus value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import streamlit as st

from bn_ml.state_reader import CycleRow, StateReader
from monitoring import log_tail
from monitoring.ages import ago
from monitoring.bot_facts import read_facts
from monitoring.charts_metrics import cycle_chart
from monitoring.desk import Desk
from monitoring.lazy_rows import LazyRows
from monitoring.panels import parts
from monitoring.views_metrics import (
    LEVELS,
    WHOLE_CYCLE,
    AlertLine,
    Backups,
    StageTimes,
    Workers,
    alerts_of,
    at_least,
    backups_of,
    bytes_text,
    cycle_times,
    metric_values,
    stage_times,
    workers_of,
)
from monitoring.wording import UNKNOWN, age, known

TITLE = "Metrics"
QUESTION = "Is the machine healthy?"

LOG_FILE = "bnml.log"
FEW_CYCLES = 500
WORKERS_STALE_S = 60.0


def draw(desk: Desk) -> None:
    """Draw the panel; raises `StateError`."""
    workers = workers_of(desk.book.kv("heartbeat"), desk.market_now)
    _health(desk, workers, backups_of(desk.book.kv("backup_status"), desk.now))
    _cycles(desk)
    _workers(workers)
    _alerts(desk)
    _log(desk)
    _prometheus(desk)


def _health(desk: Desk, workers: Workers, backups: Backups) -> None:
    alive = sum(line.verdict == "alive" for line in workers.lines)
    told = f"told {ago(workers.age_s)}" if workers.lines else "none told yet"
    better = alive == len(workers.lines) if workers.lines else None
    parts.tiles(
        (
            parts.Tile("Workers alive", f"{alive} of {len(workers.lines)}", told, better),
            _backup_tile(desk, backups),
            parts.Tile("Backups kept", str(backups.count), f"newest {bytes_text(backups.size_bytes)}"),
            _restore_tile(desk, backups),
            parts.Tile("Thread troubles", str(workers.troubles), workers.last_trouble or "none since the start"),
        )
    )


def _backup_tile(desk: Desk, backups: Backups) -> parts.Tile:
    if backups.made_at is None:
        note = backups.last_error or "by hand: bnml-doctor backups create"
        return parts.Tile("Last backup", "never" if backups.is_enabled else "off", note, False)
    if backups.last_error:
        return parts.Tile("Last backup", ago(backups.age_s), f"newest FAILED: {backups.last_error}", False)
    due = f", next in {age(max(backups.due_in_s, 0.0))}" if known(backups.due_in_s) else ""
    return parts.Tile("Last backup", ago(backups.age_s), f"{desk.look.moment(backups.made_at)}, verified{due}")


def _restore_tile(desk: Desk, backups: Backups) -> parts.Tile:
    if backups.restored_at is None:
        return parts.Tile("Last verified restore", "never", "rehearse one: bnml-dod-check")
    note = f"{desk.look.moment(backups.restored_at)} {backups.restored_id}"
    return parts.Tile("Last verified restore", ago(backups.restored_age_s), note)


def _cycles(desk: Desk) -> None:
    cycles = desk.cycles() or desk.book.cycles()[:FEW_CYCLES]
    stamp = (cycles[0].id, cycles[-1].id) if cycles else ()
    key = f"metrics cycles {desk.look.timeframe} {desk.filters.since} {desk.filters.until}"
    stages = desk.shaped(key, lambda: stage_times(cycles), changes_with=stamp)
    if not stages:
        parts.heading("Cycle times")
        parts.empty("No finished cycle tells its times yet.", "They come with the first cycle, within a minute.")
        return
    _cycle_chart(desk, cycles, stages[-1])
    rows = [(it.stage, it.cycles, _ms(it.p50_ms), _ms(it.p95_ms), _ms(it.worst_ms)) for it in stages]
    parts.table("metrics-stages", ("stage", "cycles", "p50", "p95", "longest"), rows)


def _cycle_chart(desk: Desk, cycles: tuple[CycleRow, ...], whole: StageTimes) -> None:
    parts.heading("Cycle times", f"{whole.cycles:,} cycles")
    times = desk.shaped(
        f"metrics times {desk.look.timeframe} {desk.filters.since} {desk.filters.until}",
        lambda: cycle_times(cycles),
        changes_with=(cycles[0].id, cycles[-1].id),
    )
    words = (
        f"{WHOLE_CYCLE.capitalize()}: half within {_ms(whole.p50_ms)}, 95 % within {_ms(whole.p95_ms)}, "
        f"longest {_ms(whole.worst_ms)}. Alarming: a steady rise."
    )
    figure = cycle_chart(times, whole.p95_ms, desk.look.axis, dark=desk.look.dark)
    parts.chart("metrics-cycles", figure, words)


def _workers(workers: Workers) -> None:
    stale = " STALE" if workers.age_s > WORKERS_STALE_S else ""
    parts.heading("Workers", f"as told {ago(workers.age_s)}{stale}" if workers.lines else "")
    if not workers.lines:
        parts.empty("No worker has been told of yet.", "They are told by a bot that runs with bnml-bot.")
        return
    rows = [
        (
            line.name,
            line.verdict,
            ago(line.beat_age_s),
            line.restarts,
            line.restarts_left,
            "yes" if line.is_needed else "no",
            line.last_error or "none",
        )
        for line in workers.lines
    ]
    columns = ("worker", "state", "last beat", "restarts", "restarts left", "entries need it", "last error")
    parts.table("metrics-workers", columns, rows)


def _alerts(desk: Desk) -> None:
    parts.heading("Recent alerts", "newest first, at most 50")
    alerts = alerts_of(desk.book.kv("recent_alerts"))
    if not alerts:
        parts.empty("No alert yet.", "Whether the channels work: bnml-doctor check.")
        return
    level = st.selectbox("Alerts from level", LEVELS, index=len(LEVELS) - 1, key="alerts", bind="query-params")
    shown = at_least(alerts, str(level))
    if not shown:
        parts.empty(f"None of {len(alerts)} alerts is {level} or above.", "Choose a lower level.")
        return
    columns = ("level", "title", "state", "since", "times", "ended", "why", "do", "channels", "id")
    parts.table("metrics-alerts", columns, [_alert_row(desk, alert) for alert in shown])


def _alert_row(desk: Desk, alert: AlertLine) -> tuple[str | int, ...]:
    since = f"{ago((desk.now - alert.at).total_seconds())}, {desk.look.moment(alert.at)}" if alert.at else UNKNOWN
    return (
        alert.level,
        alert.title,
        alert.state,
        since,
        alert.count,
        desk.look.moment(alert.ended_at) if alert.ended_at else UNKNOWN,
        alert.why or UNKNOWN,
        alert.next_action or UNKNOWN,
        alert.channels or "log only",
        f"#{alert.id}",
    )


def _log(desk: Desk) -> None:
    parts.heading("Log", f"newest lines of {LOG_FILE}, times in UTC")
    tail = log_tail.read_tail(Path(desk.settings.monitoring.logs_dir) / LOG_FILE)
    if not tail.lines:
        parts.empty(
            f"Nothing to show: {tail.problem or 'the log is empty'}.", "The bot writes it under monitoring.logs_dir."
        )
        return
    level = str(st.selectbox("Log from level", log_tail.LEVELS, index=1, key="log", bind="query-params"))
    shown = log_tail.at_least(tail.lines, level)
    cut = f"the newest {len(tail.lines):,} records of {bytes_text(tail.size_bytes)}" if tail.is_cut else "all records"
    if not shown:
        parts.empty(f"No record of level {level} or above among {cut}.", "Choose a lower level.")
        return
    rows = LazyRows(shown, lambda line: (line.at, line.level, line.logger, line.text))
    parts.table("metrics-log", ("time", "level", "from", "text"), rows, caption=f"{len(shown):,} of {cut}")


def _prometheus(desk: Desk) -> None:
    kept = desk.shaped("metrics facts", lambda: read_facts(StateReader(desk.book.path), desk.market_now))
    values = metric_values(replace(kept, at=desk.market_now), desk.settings.base_quote)
    parts.heading("Prometheus", f"{len(values)} values as /metrics gives them; those of the API stand there alone")
    if kept.problem:
        parts.empty("The figures could not be read.", kept.problem)
        return
    rows = [(value.name, value.labels or UNKNOWN, value.text, value.meaning) for value in values]
    parts.table("metrics-prometheus", ("metric", "labels", "value", "meaning"), rows)


def _ms(value: float) -> str:
    return f"{value:,.1f} ms" if known(value) else UNKNOWN
