"""The models panel: the verdict on each bundle, its held-out figures, drift, inputs, and how training stands."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from monitoring.ages import ago
from monitoring.bundle_figures import BundleFigures
from monitoring.charts_models import importance_chart, skill_chart
from monitoring.desk import Desk
from monitoring.desk_bundles import bundles_on_disk
from monitoring.panels import parts
from monitoring.views_metrics import bytes_text
from monitoring.views_models import (
    MODEL_ROUTE,
    Drift,
    ModelLine,
    Training,
    challenges_of,
    columns_of,
    importances_of,
    model_lines,
    training_of,
    verdict_sentence,
)
from monitoring.wording import UNKNOWN, age, known, percent, signed_percent

TITLE = "Models"
QUESTION = "Which symbols may trade, and why not the others?"

COLUMNS = (
    "symbol",
    "verdict",
    "reasons",
    "skill",
    "90 % interval",
    "accuracy",
    "always the largest class",
    "BUY precision",
    "BUY base rate",
    "held-out rows",
    "calibration error",
    "age",
    "trained",
    "drift",
    "votes",
    "bundle",
    "data",
)
MOST_CHALLENGES = 50


def draw(desk: Desk) -> None:
    """Draw the panel; raises `StateError`."""
    bundles = bundles_on_disk(desk)
    records = desk.book.metrics()
    lines = model_lines(bundles, records, desk.book.kv("drift_status"), desk.market_now)
    expected = len(desk.settings.universe.training_symbols)
    _training(desk, training_of(desk.book.kv("training_status"), desk.book.kv("retraining_waiting"), desk.market_now))
    if not lines:
        parts.empty(
            f"0/{expected} tradable: no bundle yet.",
            "The bot trains missing ones by itself; by hand: bnml-trainer --symbol BTC/USDC.",
        )
        return
    parts.heading("Verdicts", verdict_sentence(lines, expected))
    parts.table("models-verdicts", COLUMNS, [_row(desk, line) for line in lines])
    if any(known(line.skill) for line in lines):
        words = (
            f"{len(lines)} bundles: skill on rows no member, map or threshold saw, with its 90 % interval. "
            "Alarming: an interval that reaches 0 or lies left of it."
        )
        parts.chart("models-skill", skill_chart(lines, dark=desk.look.dark), words)
    _one_bundle(desk, lines, bundles)
    _challenges(desk)
    _archives(desk, lines)


def _training(desk: Desk, training: Training) -> None:
    parts.heading("Training", _training_words(desk, training))
    if known(training.progress) and training.requested:
        label = f"{percent(training.progress, 0)} of {training.requested} symbols"
        parts.html(f"{parts.bar(training.progress, label=label)} {escape(label)}")
    left = f"about {age(training.eta_s)} left" if training.eta_s >= 0 else "no estimate"
    parts.tiles(
        (
            parts.Tile("Trained", str(training.trained), f"of {training.requested} asked for"),
            parts.Tile("Champion kept", str(training.kept_champion), "the new one was not better"),
            parts.Tile("Up to date", str(training.up_to_date), "nothing to train"),
            parts.Tile(
                "Failed", str(training.errors), training.last_error or "no error", False if training.errors else None
            ),
            parts.Tile("Waiting", str(training.queued), left),
        )
    )
    if training.waiting:
        rows = [(symbol, why) for symbol, why in training.waiting]
        parts.table("models-waiting", ("symbol", "why no retraining now"), rows)


def _training_words(desk: Desk, training: Training) -> str:
    if training.status == "never":
        return "none yet; it starts by itself when a bundle is missing"
    heard = f"last heard {ago(training.silent_s)}"
    if not training.requested:
        return f"{training.status}: nothing had to be trained yet"
    if training.is_cut_off:
        return f"CUT OFF: {heard} at {training.phase or 'start'}; the bot takes it up again, or: bnml-trainer"
    if training.is_running:
        return f"running: {training.symbol or 'starting'}, {training.phase}, {heard}, asked for by {training.trigger}"
    started = desk.look.moment(training.started_at) if training.started_at else UNKNOWN
    return f"{training.status}, begun {started}, {heard}, asked for by {training.trigger or UNKNOWN}"


def _row(desk: Desk, line: ModelLine) -> tuple[str | float | int, ...]:
    trained = desk.look.moment(line.trained_at) if line.trained_at else UNKNOWN
    return (
        line.symbol,
        line.verdict,
        line.problem or ", ".join(line.reasons) or "none",
        signed_percent(line.skill),
        f"{signed_percent(line.skill_low)} to {signed_percent(line.skill_high)}",
        percent(line.accuracy),
        percent(line.largest_class_share),
        percent(line.buy_precision),
        percent(line.buy_base_rate),
        line.held_out_rows,
        f"{_figure(line.ece)}, noise {_figure(line.ece_floor)}",
        ago(line.age_s),
        trained,
        _drift_words(line.drift),
        ", ".join(f"{name} {percent(share, 0)}" for name, share in line.weights) or UNKNOWN,
        f"v{line.version}",
        line.source or UNKNOWN,
    )


def _drift_words(drift: Drift) -> str:
    if drift.status == "DRIFT":
        since = f" since {drift.since:%Y-%m-%d %H:%M} UTC" if drift.since else ""
        return f"DRIFT {drift.kind} {_figure(drift.score)} over {_figure(drift.limit)}{since}"
    beyond = f", beyond: {', '.join(drift.beyond)}" if drift.beyond else ""
    return f"{drift.status}{beyond}"


def _one_bundle(desk: Desk, lines: Sequence[ModelLine], bundles: Sequence[BundleFigures]) -> None:
    names = [line.symbol for line in lines]
    wanted = next((name for name in desk.filters.symbols if name in names), names[0])
    symbol = str(
        st.selectbox("One bundle in depth", names, index=names.index(wanted), key="bundle", bind="query-params")
    )
    line = lines[names.index(symbol)]
    metadata = next((bundle.metadata for bundle in bundles if bundle.model_key == line.model_key), {})
    first, last = line.span
    span = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}" if first and last else "span unknown"
    parts.heading(symbol, f"{line.rows:,} rows, {span}, calibration {line.calibration or UNKNOWN}")
    parts.tiles(
        (
            parts.Tile("Log-loss", _figure(line.log_loss), f"class shares alone {_figure(line.prior_log_loss)}, nats"),
            parts.Tile("Skill", signed_percent(line.skill), f"{signed_percent(line.skill_low)} at the lower end"),
            parts.Tile(
                "Accuracy", percent(line.accuracy), f"always the largest class {percent(line.largest_class_share)}"
            ),
            parts.Tile("BUY precision", percent(line.buy_precision), f"base rate {percent(line.buy_base_rate)}"),
            parts.Tile("Size", bytes_text(line.size_bytes) if line.files else UNKNOWN, f"{line.files} files"),
            parts.Tile("Drift", line.drift.status, ", ".join(line.drift.worst_features) or "no input stands out"),
        )
    )
    weights = importances_of(metadata)
    columns = columns_of(metadata)
    if weights:
        words = (
            f"{len(weights)} of {len(columns)} inputs that count most, by {weights[0].basis}. First: {weights[0].name}."
        )
        parts.chart("models-importances", importance_chart(weights, dark=desk.look.dark), words)
    elif columns:
        parts.empty(f"This bundle keeps no weights of its {len(columns)} inputs.", f"Its inputs: {', '.join(columns)}.")


def _challenges(desk: Desk) -> None:
    symbol = desk.filters.symbols[0] if len(desk.filters.symbols) == 1 else ""
    found = challenges_of(desk.book.metrics(), symbol)[:MOST_CHALLENGES]
    if not found:
        return
    parts.heading("Champion against challenger", "log-loss in nats on the same rows, lower is better; newest first")
    rows = [
        (
            desk.look.moment(item.at),
            item.symbol,
            f"v{item.version}",
            item.outcome,
            _figure(item.champion_loss),
            _figure(item.challenger_loss),
            _figure(item.prior_loss),
            item.rows,
            item.reason or UNKNOWN,
        )
        for item in found
    ]
    columns = ("at", "symbol", "bundle", "outcome", "champion", "challenger", "class shares", "rows", "why")
    parts.table("models-challenges", columns, rows)


def _archives(desk: Desk, lines: Sequence[ModelLine]) -> None:
    api = desk.settings.public_api
    address = f"http://{api.host}:{api.port}{MODEL_ROUTE}"
    size = bytes_text(sum(line.size_bytes for line in lines))
    parts.heading("Archives", f"{sum(bool(line.files) for line in lines)} bundles, {size}; served by bnml-api")
    rows = [("all", address), *((line.symbol, f"{address}?model_key={line.model_key}") for line in lines if line.files)]
    parts.table("models-archives", ("bundle", "download as zip"), rows)


def _figure(value: float) -> str:
    return f"{value:.4f}" if known(value) else UNKNOWN
