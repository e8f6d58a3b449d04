"""Training many symbols: one process each, every outcome told, a failure of one never stops the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

from lightgbm.basic import LightGBMError

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.errors import BnMlError, MarketDataError, ModelError
from bn_ml.settings import Settings
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_store import BundleStore
from ml_engine.calibration import check_method
from ml_engine.trainer import EnsembleTrainer, Tell, Trained
from ml_engine.training_bundle import publish_trained
from ml_engine.training_data import TrainingMarket
from ml_engine.training_figures import interval, number
from ml_engine.training_progress import (
    COMPLETED,
    FAILED,
    TRAINED,
    UP_TO_DATE,
    WITH_ERRORS,
    Message,
    SymbolOutcome,
    TrainingFinished,
    TrainingProgress,
)
from ml_engine.training_report import ENSEMBLE

Emit = Callable[[Message], None]
# What data, a library or the disk may do to one symbol; anything else is a fault of this program and stops the run.
FAILURES = (BnMlError, LightGBMError, ValueError, ArithmeticError, RuntimeError, OSError, MemoryError)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingJob:
    """What every symbol of a run shares; sent whole to each worker process."""

    settings: Settings
    market: TrainingMarket
    quick: bool
    trained_at: datetime
    trained_by: str
    signing_key: Path | None = None

    def store(self) -> BundleStore:
        """Open the models folder."""
        model = self.settings.model
        return BundleStore(
            model.models_dir,
            feature_hash=FeatureEngineer(model).feature_hash,
            trusted_keys=model.trusted_keys,
            keep_versions=model.keep_versions,
            signing_key=self.signing_key,
        )


def symbols_to_train(
    store: BundleStore, symbols: Sequence[Symbol], *, now: datetime, max_age_hours: float
) -> tuple[tuple[Symbol, ...], tuple[Symbol, ...]]:
    """Divide symbols into those without a usable bundle younger than the limit, and the rest."""
    fresh = tuple(symbol for symbol in symbols if _is_fresh(store, symbol, now, timedelta(hours=max_age_hours)))
    return tuple(symbol for symbol in symbols if symbol not in fresh), fresh


def run_session(job: TrainingJob, symbols: Sequence[Symbol], emit: Emit, *, jobs: int) -> list[SymbolOutcome]:
    """Train the symbols and give their outcomes in the given order; `emit` hears everything as it happens."""
    check_method(job.settings.model.ensemble.calibration)
    clock = SystemClock()
    started = clock.monotonic()
    outcomes: dict[str, SymbolOutcome] = {}
    steps = _serial(job, symbols, emit) if jobs <= 1 or len(symbols) <= 1 else _parallel(job, symbols, jobs)
    for outcome in steps:
        outcomes[outcome.symbol] = outcome
        emit(outcome)
        done, total = len(outcomes), len(symbols)
        left = (clock.monotonic() - started) / done * (total - done)
        emit(TrainingProgress(outcome.symbol, "done", done, total, done, eta_s=round(left, 1)))
    return [outcomes[symbol] for symbol in symbols]


def finished(outcomes: Sequence[SymbolOutcome]) -> TrainingFinished:
    """Sum up a run."""
    named = {
        result: tuple(outcome.symbol for outcome in outcomes if outcome.result == result)
        for result in (TRAINED, FAILED, UP_TO_DATE)
    }
    failed = named[FAILED]
    status = COMPLETED if not failed else WITH_ERRORS if len(failed) < len(outcomes) else FAILED
    return TrainingFinished(status, named[TRAINED], failed, named[UP_TO_DATE])


def train_one(job: TrainingJob, symbol: Symbol, tell: Tell = lambda phase: None) -> SymbolOutcome:
    """Train and publish one symbol; what went wrong becomes a failed outcome, the old bundle stays."""
    clock = SystemClock()
    started = clock.monotonic()
    settings = job.settings
    trainer = EnsembleTrainer(settings.model, settings.risk, quick=job.quick, max_gap_bars=settings.data.max_gap_bars)
    try:
        trained = trainer.train(symbol, job.market, tell)
        tell("publish")
        bundle = publish_trained(
            job.store(), trained, settings.model, settings.risk, trained_at=job.trained_at, trained_by=job.trained_by
        )
    except FAILURES as error:
        return SymbolOutcome(symbol, FAILED, reasons=(_reason(error),), seconds=clock.monotonic() - started)
    return _outcome(trained, bundle, settings, clock.monotonic() - started)


def _serial(job: TrainingJob, symbols: Sequence[Symbol], emit: Emit) -> Iterator[SymbolOutcome]:
    total = len(symbols)
    for place, symbol in enumerate(symbols):

        def tell(phase: str, symbol: Symbol = symbol, place: int = place) -> None:
            emit(TrainingProgress(symbol, phase, place + 1, total, place))

        yield train_one(job, symbol, tell)


def _parallel(job: TrainingJob, symbols: Sequence[Symbol], jobs: int) -> Iterator[SymbolOutcome]:
    """Yield outcomes as they come; a worker that dies fails the symbols it had not finished."""
    pool = ProcessPoolExecutor(
        min(jobs, len(symbols)), mp_context=get_context("spawn"), initializer=_start_worker, initargs=(job,)
    )
    with pool:
        futures = {pool.submit(_train_in_worker, symbol): symbol for symbol in symbols}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield SymbolOutcome(futures[future], FAILED, reasons=("the training process died (out of memory?)",))


_WORKER_JOB: list[TrainingJob] = []


def _start_worker(job: TrainingJob) -> None:
    _WORKER_JOB[:] = [job]


def _train_in_worker(symbol: Symbol) -> SymbolOutcome:
    return train_one(_WORKER_JOB[0], symbol)


def _outcome(trained: Trained, bundle: ModelBundle, settings: Settings, seconds: float) -> SymbolOutcome:
    figures = trained.figures[ENSEMBLE]
    return SymbolOutcome(
        symbol=trained.symbol,
        result=TRAINED,
        tradable=trained.verdict.tradable,
        reasons=trained.verdict.reasons,
        version=bundle.version,
        recipe=trained.recipe,
        rows=len(trained.sample.data),
        skill=(number(figures.skill.value), *map(_float, interval(figures.skill))),
        slope=(number(trained.gates.slope.value), *map(_float, interval(trained.gates.slope))),
        log_loss=number(figures.log_loss),
        prior_log_loss=number(figures.prior_log_loss),
        ece=number(figures.ece),
        buy_precision=number(figures.classes["BUY"].precision),
        buy_base_rate=number(figures.classes["BUY"].base_rate),
        weights=dict(trained.vote.weights),
        calibration=trained.vote.final_map.method,
        files=os.fspath(Path(settings.model.models_dir) / trained.symbol.key),
        seconds=round(seconds, 2),
    )


def _float(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _reason(error: Exception) -> str:
    if isinstance(error, (ModelError, MarketDataError)):
        return f"{error.reason}: {error}"
    return f"{type(error).__name__}: {error}"


def _is_fresh(store: BundleStore, symbol: Symbol, now: datetime, limit: timedelta) -> bool:
    try:
        return store.load(symbol).metadata.age(now) <= limit
    except ModelError:
        return False
