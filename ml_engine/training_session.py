"""Training many symbols: one process each, every outcome told, a failure of one never stops the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from lightgbm.basic import LightGBMError

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.errors import BnMlError, MarketDataError, ModelError
from bn_ml.settings import Settings
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.bundle_metadata import ChallengePart
from ml_engine.bundle_store import BundleStore
from ml_engine.champion import meet_champion
from ml_engine.search_memory import keep_search, last_search
from ml_engine.sequence_model import backend_of
from ml_engine.trainer import EnsembleTrainer, Tell, Trained
from ml_engine.training_backends import Work, spread
from ml_engine.training_bundle import publish_trained
from ml_engine.training_data import TrainingMarket
from ml_engine.training_figures import interval, number
from ml_engine.training_locks import symbol_lock
from ml_engine.training_progress import (
    COMPLETED,
    FAILED,
    KEPT,
    TRAINED,
    UP_TO_DATE,
    WITH_ERRORS,
    Message,
    SymbolOutcome,
    TrainingFinished,
    TrainingProgress,
)
from ml_engine.training_report import ENSEMBLE
from ml_engine.tuning_records import Tuned

Emit = Callable[[Message], None]
# What data, a library or the disk may do to one symbol; anything else is a fault of this program and stops the run.
FAILURES = (BnMlError, LightGBMError, ValueError, ArithmeticError, RuntimeError, OSError, MemoryError)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingJob:
    """What every symbol of a run shares; sent whole to each worker process.

    Without `challenges` whatever was trained is published, as long as no version was put back by hand. Without `hpo`
    nothing is searched. With `keeps_all` no earlier version is ever deleted.
    """

    settings: Settings
    market: TrainingMarket
    quick: bool
    trained_at: datetime
    trained_by: str
    signing_key: Path | None = None
    challenges: bool = True
    hpo: bool = True
    keeps_all: bool = False

    @property
    def searches(self) -> bool:
        """Whether parameters are searched where the last search is not young enough."""
        return self.hpo and self.settings.model.hpo.enabled and not self.quick

    def store(self) -> BundleStore:
        """Open the models folder."""
        model = self.settings.model
        return BundleStore(
            model.models_dir,
            feature_hash=FeatureEngineer(model).feature_hash,
            trusted_keys=model.trusted_keys,
            keep_versions=None if self.keeps_all else model.keep_versions,
            signing_key=self.signing_key,
        )


def symbols_to_train(
    store: BundleStore, symbols: Sequence[Symbol], *, now: datetime, max_age_hours: float
) -> tuple[tuple[Symbol, ...], tuple[Symbol, ...]]:
    """Divide symbols into those without a usable bundle younger than the limit, and the rest."""
    fresh = tuple(symbol for symbol in symbols if _is_fresh(store, symbol, now, timedelta(hours=max_age_hours)))
    return tuple(symbol for symbol in symbols if symbol not in fresh), fresh


def run_session(job: TrainingJob, symbols: Sequence[Symbol], emit: Emit, *, jobs: int) -> list[SymbolOutcome]:
    """Train the symbols and give their outcomes in the given order; `emit` hears everything as it happens.

    Raises `ConfigError` before anything is trained when a network of torch is demanded and torch is not installed.
    """
    if job.settings.model.lstm.enabled and not job.quick:
        backend_of(job.settings.model.lstm)
    clock = SystemClock()
    started = clock.monotonic()
    outcomes: dict[str, SymbolOutcome] = {}
    alone = job.settings.model.training.backend == "processes" and (jobs <= 1 or len(symbols) <= 1)
    steps = _serial(job, symbols, emit) if alone else _spread(job, symbols, emit, jobs)
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
        for result in (TRAINED, FAILED, UP_TO_DATE, KEPT)
    }
    failed = named[FAILED]
    status = COMPLETED if not failed else WITH_ERRORS if len(failed) < len(outcomes) else FAILED
    return TrainingFinished(status, named[TRAINED], failed, named[UP_TO_DATE], kept_champion=named[KEPT])


def train_one(job: TrainingJob, symbol: Symbol, tell: Tell = lambda phase: None) -> SymbolOutcome:
    """Train and publish one symbol; what went wrong becomes a failed outcome, the old bundle stays.

    A symbol another process trains at this moment is left to it.
    """
    clock = SystemClock()
    started = clock.monotonic()
    try:
        with symbol_lock(Path(job.settings.model.models_dir), symbol) as mine:
            if not mine:
                return SymbolOutcome(symbol, UP_TO_DATE, reasons=("another process trains it",))
            fitted = _fit(job, symbol, tell, last_search(job.store(), symbol))
            outcome = _settle(job, fitted, tell)
    except FAILURES as error:
        outcome = SymbolOutcome(symbol, FAILED, reasons=(_reason(error),))
    return replace(outcome, seconds=round(clock.monotonic() - started, 2))


@dataclass(frozen=True, slots=True, eq=False)
class FitJob:
    """What a cluster's workers need: the job without its key, and each symbol's last search."""

    job: TrainingJob
    searches: Mapping[Symbol, Tuned | None]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a worker hands back: a finished training, or why there is none, and how long it took."""

    trained: Trained | None
    reason: str
    seconds: float


def fit_elsewhere(work: FitJob, symbol: Symbol) -> Fitted:
    """Train one symbol without touching any store; for the workers of a cluster."""
    clock = SystemClock()
    started = clock.monotonic()
    try:
        trained = _fit(work.job, symbol, lambda phase: None, work.searches.get(symbol))
    except FAILURES as error:
        return Fitted(None, _reason(error), clock.monotonic() - started)
    return Fitted(trained, "", clock.monotonic() - started)


def _fit(job: TrainingJob, symbol: Symbol, tell: Tell, last: Tuned | None) -> Trained:
    settings = job.settings
    trainer = EnsembleTrainer(
        settings.model, settings.risk, quick=job.quick, max_gap_bars=settings.data.max_gap_bars, hpo=job.hpo
    )
    return trainer.train(symbol, job.market, tell, last)


def _settle(job: TrainingJob, trained: Trained, tell: Tell) -> SymbolOutcome:
    """Let a training meet the champion and publish it when it wins."""
    settings, store = job.settings, job.store()
    tell("challenge")
    verdict = meet_champion(store, trained, settings, now=job.trained_at, required=job.challenges)
    if not verdict.replaces:
        keep_search(store.models_dir, trained.symbol, trained.tuned)
        kept = _outcome(trained, settings, verdict)
        return replace(kept, result=KEPT, reasons=(verdict.reason,), version=verdict.champion_version)
    tell("publish")
    trained = replace(trained, challenge=verdict)
    bundle = publish_trained(
        store, trained, settings.model, settings.risk, trained_at=job.trained_at, trained_by=job.trained_by
    )
    return replace(_outcome(trained, settings, verdict), version=bundle.version)


def _serial(job: TrainingJob, symbols: Sequence[Symbol], emit: Emit) -> Iterator[SymbolOutcome]:
    total = len(symbols)
    for place, symbol in enumerate(symbols):

        def tell(phase: str, symbol: Symbol = symbol, place: int = place) -> None:
            emit(TrainingProgress(symbol, phase, place + 1, total, place))

        yield train_one(job, symbol, tell)


def _spread(job: TrainingJob, symbols: Sequence[Symbol], emit: Emit, jobs: int) -> Iterator[SymbolOutcome]:
    """Yield outcomes as they come; a worker that dies fails the symbol it was at."""
    training = job.settings.model.training
    done = 0

    def alive() -> None:
        emit(TrainingProgress("", f"training on {training.backend}", done, len(symbols), done))

    if training.backend == "dask":
        for outcome in _from_cluster(job, symbols, alive):
            done += 1
            yield outcome
        return
    local: Work[TrainingJob, SymbolOutcome] = Work(train_one, job, _died)
    for _, outcome in spread(local, symbols, training, jobs=jobs, alive=alive):
        done += 1
        yield outcome


def _from_cluster(job: TrainingJob, symbols: Sequence[Symbol], alive: Callable[[], None]) -> Iterator[SymbolOutcome]:
    """Let the cluster fit; judge, sign and publish here."""
    searches = {symbol: last_search(job.store(), symbol) for symbol in symbols}
    work: Work[FitJob, Fitted] = Work(
        fit_elsewhere,
        FitJob(replace(job, signing_key=None), searches),
        lambda symbol, why: Fitted(None, why, 0.0),
    )
    for symbol, fitted in spread(work, symbols, job.settings.model.training, jobs=len(symbols), alive=alive):
        yield replace(_settled(job, symbol, fitted), seconds=round(fitted.seconds, 2))


def _settled(job: TrainingJob, symbol: Symbol, fitted: Fitted) -> SymbolOutcome:
    if fitted.trained is None:
        return SymbolOutcome(symbol, FAILED, reasons=(fitted.reason,))
    try:
        with symbol_lock(Path(job.settings.model.models_dir), symbol) as mine:
            if not mine:
                return SymbolOutcome(symbol, UP_TO_DATE, reasons=("another process trains it",))
            return _settle(job, fitted.trained, lambda phase: None)
    except FAILURES as error:
        return SymbolOutcome(symbol, FAILED, reasons=(_reason(error),))


def _died(symbol: Symbol, why: str) -> SymbolOutcome:
    return SymbolOutcome(symbol, FAILED, reasons=(why,))


def _outcome(trained: Trained, settings: Settings, verdict: ChallengePart) -> SymbolOutcome:
    figures = trained.figures[ENSEMBLE]
    return SymbolOutcome(
        symbol=trained.symbol,
        result=TRAINED,
        tradable=trained.verdict.tradable,
        reasons=trained.verdict.reasons,
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
        challenge=verdict.model_dump(),
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
