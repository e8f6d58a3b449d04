"""One run of the trainer: choose the symbols, read the market, train, and tell every step."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.settings import Settings
from data_manager.bars import Bars
from ml_engine.acceleration import training_jobs
from ml_engine.bundle_signing import key_file
from ml_engine.retraining_triggers import AUTO_LOOP, MANUAL
from ml_engine.training_data import History, load_market
from ml_engine.training_locks import session_lock
from ml_engine.training_progress import UP_TO_DATE, Message, SymbolOutcome, TrainingProgress
from ml_engine.training_session import TrainingJob, finished, run_session, symbols_to_train
from scripts.market_basket import basket
from scripts.training_command import Run, emitter, symbols_of
from scripts.training_market import open_history, training_clock, training_end
from scripts.training_status import SharedStatus, begun

log = logging.getLogger("bnml.trainer")

# Runs of the bot's own child are shown by the bot.
TRIGGERS = {"bnml-trainer": MANUAL, "bnml-trainer-auto": AUTO_LOOP, "bnml-runpod-train-only": "runpod_train_only"}

Emit = Callable[[Message], None]


def train(arguments: argparse.Namespace, settings: Settings, *, trained_by: str) -> Run:
    """Train what is due and give every outcome; raises `MarketDataError` when there is no market data at all."""
    wanted = symbols_of(arguments, settings)
    emit = emitter(arguments)
    job, source = _job(arguments, settings, wanted, emit, arguments.started_by or trained_by)
    due, fresh = _divided(arguments, settings, job, wanted)
    log.info(
        "training %d of %d symbols from %s until %s, %s, %s",
        len(due),
        len(wanted),
        source,
        job.trained_at.isoformat(),
        "quick" if arguments.quick else "full",
        "with a search for parameters" if job.searches else "fixed parameters (no search)",
    )
    with session_lock(Path(settings.model.models_dir), job.trained_by) as alone:
        heard = _shared(emit, job, len(due)) if alone else emit
        outcomes = run_session(job, due, heard, jobs=jobs_of(arguments, settings))
        everything = (*outcomes, *(SymbolOutcome(symbol, UP_TO_DATE) for symbol in fresh))
        total = finished(everything)
        heard(total)
    return Run(everything, total, source)


def jobs_of(arguments: argparse.Namespace, settings: Settings) -> int:
    """Give how many symbols are trained at once: as asked for, else as `model.acceleration.cpu_n_jobs` says."""
    return arguments.jobs or training_jobs(settings.model.acceleration)


class _ToldHistory:
    """Tells which symbol's bars are read: a first download takes its time."""

    def __init__(self, history: History, emit: Emit, total: int) -> None:
        self._history = history
        self._emit = emit
        self._total = total
        self._begun: list[Symbol] = []

    def history(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        if symbol not in self._begun:
            self._begun.append(symbol)
            self._emit(TrainingProgress(symbol, "history", len(self._begun), self._total, 0))
        return self._history.history(symbol, timeframe, start_ms, end_ms)


def _job(
    arguments: argparse.Namespace, settings: Settings, wanted: Sequence[Symbol], emit: Emit, trained_by: str
) -> tuple[TrainingJob, str]:
    clock = training_clock(settings, arguments.until)
    history, source = open_history(settings, clock)
    end_ms = training_end(settings, clock, arguments.until, history, wanted)
    around = basket(settings)
    told = _ToldHistory(history, emit, len({*wanted, *around}))
    job = TrainingJob(
        settings=settings,
        market=load_market(told, wanted, around, settings.model, end_ms=end_ms),
        quick=arguments.quick,
        trained_at=from_ms(end_ms),
        trained_by=trained_by,
        signing_key=key_file(Path(settings.model.models_dir), os.environ),
        challenges=not arguments.no_challenge,
        hpo=not arguments.no_hpo,
    )
    return job, source


def _divided(
    arguments: argparse.Namespace, settings: Settings, job: TrainingJob, wanted: Sequence[Symbol]
) -> tuple[Sequence[Symbol], Sequence[Symbol]]:
    """Give the symbols to train and those whose bundle is young enough.

    A symbol asked for by name is trained unless the flag says otherwise.
    """
    missing_only = arguments.train_missing_only or (settings.universe.train_missing_only and not arguments.symbol)
    if arguments.train_all or not missing_only:
        return wanted, ()
    limit = arguments.max_model_age_hours or settings.model.retraining.max_model_age_hours
    return symbols_to_train(job.store(), wanted, now=job.trained_at, max_age_hours=limit)


def _shared(emit: Emit, job: TrainingJob, due: int) -> Emit:
    """Tell the run also to the bot, when it is not the bot's own."""
    trigger = TRIGGERS.get(job.trained_by)
    if trigger is None:
        return emit
    clock = SystemClock()
    shown = SharedStatus(Path(job.settings.model.models_dir), begun(trigger, due, clock.now(), hpo=job.searches), clock)

    def both(message: Message) -> None:
        emit(message)
        shown.hear(message)

    return both
