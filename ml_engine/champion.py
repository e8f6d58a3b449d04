"""The bundle in service as it meets a training that wants its place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.errors import ModelError
from bn_ml.prediction_log import PredictionLog, log_beside
from bn_ml.settings import Settings
from ml_engine.bundle_metadata import ChallengePart
from ml_engine.bundle_store import BundleStore
from ml_engine.challenge import Terms, challenge, unopposed
from ml_engine.live_quality import Said
from ml_engine.trainer import Trained


def meet_champion(
    store: BundleStore, trained: Trained, settings: Settings, *, now: datetime, required: bool
) -> ChallengePart:
    """Say whether a training replaces the bundle in service of its symbol; one that does not load is replaced."""
    symbol = trained.symbol
    try:
        champion = store.load(symbol)
    except ModelError as error:
        return unopposed("there was no bundle" if error.reason == "no_bundle" else f"the old one is unusable: {error}")
    terms = Terms(
        required=required and settings.model.retraining.champion_challenger,
        max_age=timedelta(hours=settings.model.retraining.max_model_age_hours),
        now=now,
        seed=settings.model.random_state,
    )
    since_ms = to_ms(champion.metadata.label_end)
    told = _recorded(Path(settings.storage.sqlite_path), symbol, since_ms, trained.sample.data_end)
    return challenge(trained, champion, told, terms)


def _recorded(state: Path, symbol: Symbol, since_ms: int, until_ms: int) -> Sequence[Said]:
    log = PredictionLog(log_beside(state))
    try:
        return log.read(symbol, since_ms, until_ms)
    finally:
        log.close()
