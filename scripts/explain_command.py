"""`bnml-doctor explain`: why the bot decided as it did about one symbol; works beside a running bot and without one."""

from __future__ import annotations

import argparse
import logging
import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.domain.market import Symbol, from_ms, iso
from bn_ml.domain.signals import Signal
from bn_ml.env import load_env
from bn_ml.errors import ConfigError, ModelError, StateError
from bn_ml.prediction_log import PredictionRecord
from bn_ml.settings import Settings
from bn_ml.state_watch import BookWatch
from scripts import cli
from scripts.explain_recompute import recompute
from scripts.explain_sources import facts_of, gates_of, last_attempt, last_scan, logged, open_store
from scripts.explain_text import BundleFacts, Explanation, Gate, as_dict, as_text


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation; raises `StateError` when there is no book and no instant was given."""
    logging.basicConfig(level=arguments.log_level or "WARNING", format="%(levelname)s %(message)s")
    environ = load_env(Path.cwd())
    settings = load_settings(arguments.config, environ=environ).settings
    try:
        symbol = Symbol(arguments.symbol)
    except ValueError as error:
        raise ConfigError([f"explain: {error}"]) from error
    told = explain(settings, symbol, arguments.at, now=SystemClock().now())
    cli.show(as_dict(told), as_json=arguments.json, text=as_text(told))
    return cli.DONE


def explain(settings: Settings, symbol: Symbol, at: datetime | None, *, now: datetime) -> Explanation:
    """Give the explanation of the decision in force at `at`, else of the last one.

    From the prediction log; without a line there, worked out again. Raises `StateError` when neither the book nor `at`
    says which instant is meant.
    """
    state = Path(settings.storage.sqlite_path)
    reached, source, missing = now, "", ""
    try:
        view = BookWatch(state).look()
        reached, source = view.reached or now, view.data_source
    except StateError as error:
        if at is None:
            raise
        missing = str(error)
    record = None if missing else logged(state, symbol, at=at, reached=reached)
    if record is not None:
        told = _from_log(settings, record)
    else:
        told = _recomputed(settings, symbol, at or reached, source=source)
    if missing:
        return replace(told, risk_problem=missing)
    until = at or max(reached, now)
    scan = last_scan(state, record, until) if record is not None else None
    return replace(told, attempt=last_attempt(state, symbol, until), scan=scan)


def _from_log(settings: Settings, record: PredictionRecord) -> Explanation:
    close_at = from_ms(record.close_ms)
    bundle, problem = _bundle(settings, record.symbol, close_at)
    notes: tuple[str, ...] = ()
    if bundle is not None and record.version is not None and bundle.version != record.version:
        notes = (f"the bundle shown is version {bundle.version}; version {record.version} decided and is not kept",)
    return Explanation(
        symbol=str(record.symbol),
        close_at=close_at,
        origin=f"prediction log, prices {record.data_source or 'unknown'}, bundle version {record.version or 'none'}",
        action=record.action,
        reason=record.reason,
        probabilities=() if record.version is None else (record.sell, record.hold, record.buy),
        gates=gates_of(record),
        bundle=bundle,
        bundle_problem=problem,
        notes=notes,
    )


def _recomputed(settings: Settings, symbol: Symbol, at: datetime, *, source: str) -> Explanation:
    done = recompute(settings, symbol, at, source=source)
    signal = done.signal
    bundle, problem = _bundle(settings, symbol, at)
    if bundle is not None:
        bundle = replace(
            bundle, members=tuple(replace(item, probabilities=_said(signal, item.name)) for item in bundle.members)
        )
    own = signal.probabilities
    return Explanation(
        symbol=str(symbol),
        close_at=signal.at,
        origin=f"worked out again as of {iso(at)} from {done.source}; no prediction was logged, live spread unknown",
        action=signal.action.value,
        reason=signal.reason,
        probabilities=(own.sell, own.hold, own.buy) if signal.members else (),
        gates=tuple(Gate(gate.reason, _finite(gate.value), _finite(gate.limit), gate.passed) for gate in signal.gates),
        bundle=bundle,
        bundle_problem=problem,
        notes=(done.problem,) if done.problem else (),
    )


def _bundle(settings: Settings, symbol: Symbol, at: datetime) -> tuple[BundleFacts | None, str]:
    """Give the bundle valid at an instant, or why there is none."""
    try:
        return facts_of(open_store(settings).as_of(symbol, at), at, settings.model.ensemble), ""
    except ModelError as error:
        return None, f"{error.reason}: {error}"


def _said(signal: Signal, member: str) -> tuple[float, ...]:
    said = signal.members.get(member)
    return () if said is None else (said.sell, said.hold, said.buy)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
