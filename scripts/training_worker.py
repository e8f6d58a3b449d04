"""Training in the background of the loop: starts the trainer for missing or old bundles and reports what it does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.events import Event
from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import ModelError
from bn_ml.settings import Settings
from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_progress import FAILED, TRAINED, Message, SymbolOutcome, TrainingFinished, TrainingProgress
from scripts.wiring import PaperBot, World

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """The `training_status` record."""

    status: str = "idle"
    phase: str = ""
    trigger: str = ""
    started_at: str | None = None
    updated_at: str | None = None
    current_symbol: str = ""
    current_index: int = 0
    symbols_requested: int = 0
    symbols_queued: int = 0
    symbols_completed: int = 0
    symbols_trained: int = 0
    symbols_errors: int = 0
    symbols_skipped_up_to_date: int = 0
    symbols_kept_champion: int = 0
    progress_pct: float = 0.0
    eta_s: float | None = None
    last_error: str = ""
    hpo_enabled: bool = False


class TrainingWorker:
    """Collected at the start of every cycle; never waits, never raises into the loop."""

    def __init__(self, settings: Settings, world: World, *, config: Path | None, enabled: bool) -> None:
        """Train with the bot's own configuration and market data."""
        self._settings = settings
        self._world = world
        self._config = config
        self._enabled = enabled
        self._supervisor = TrainingSupervisor(nice=settings.model.retraining.nice)
        self._bot: PaperBot | None = None
        self._status = TrainingStatus()
        self._next_look: datetime | None = None

    def attach(self, bot: PaperBot) -> None:
        """Name the bot whose book keeps the status."""
        self._bot = bot

    def stop(self) -> None:
        """End a running training."""
        self._supervisor.stop()

    def collect(self, now: datetime) -> Sequence[Event]:
        """Take over the trainer's messages, keep the status, and start a run when one is due."""
        if not self._enabled or self._bot is None:
            return ()
        before = self._status
        for message in self._supervisor.poll():
            self._status = replace(self._follow(message), updated_at=iso(now))
        if not self._supervisor.running and (self._next_look is None or now >= self._next_look):
            self._start_if_due(now)
        if self._status != before:
            self._bot.store.put("training_status", _fields(self._status), now)
        return ()

    def _start_if_due(self, now: datetime) -> None:
        retraining = self._settings.model.retraining
        self._next_look = now + timedelta(seconds=retraining.check_interval_sec)
        missing, stale = self._due(now)
        if not missing and not (stale and retraining.enabled):
            return
        self._next_look = now + timedelta(hours=retraining.cooldown_hours)
        wanted = missing or stale
        arguments = [
            *(part for symbol in wanted for part in ("--symbol", str(symbol))),
            "--market-data", self._mode(),
            "--until", iso(now),
            "--no-hpo",
            "--jobs", str(retraining.max_cpu),
            *(("--quick",) if missing else ()),
            *(("--config", str(self._config)) if self._config else ()),
        ]  # fmt: skip
        if self._supervisor.start(arguments):
            log.info("training started symbols=%s", ",".join(map(str, wanted)))
            trigger = "missing_models" if missing else "periodic"
            self._status = TrainingStatus(
                "running",
                "start",
                trigger,
                iso(now),
                iso(now),
                symbols_requested=len(wanted),
                symbols_queued=len(wanted),
            )

    def _mode(self) -> str:
        name = self._world.source.name
        return {"binance": "live", "synthetic_fallback": "synthetic"}.get(name, name)

    def _due(self, now: datetime) -> tuple[list[Symbol], list[Symbol]]:
        """Give the symbols without any bundle, and those whose bundle is older than allowed."""
        missing, stale = list[Symbol](), list[Symbol]()
        limit = timedelta(hours=self._settings.model.retraining.max_model_age_hours)
        excluded = set(self._settings.universe.exclude)
        for name in self._settings.universe.training_symbols:
            if name in excluded or self._bot is None:
                continue
            try:
                valid_from = self._bot.predictor.bundle_at(Symbol(name), now).metadata.valid_from
            except ModelError:
                missing.append(Symbol(name))
                continue
            if now - valid_from > limit:
                stale.append(Symbol(name))
        return missing, stale

    def _follow(self, message: Message) -> TrainingStatus:
        status = self._status
        if isinstance(message, TrainingProgress):
            return replace(
                status,
                phase=message.phase,
                current_symbol=message.symbol,
                current_index=message.index,
                symbols_completed=message.completed,
                symbols_queued=max(message.total - message.completed, 0),
                progress_pct=round(100.0 * message.completed / max(message.total, 1), 1),
                eta_s=message.eta_s,
            )
        if isinstance(message, SymbolOutcome):
            return self._count(message)
        return self._ended(message)

    def _count(self, outcome: SymbolOutcome) -> TrainingStatus:
        status = self._status
        log.info(
            "training outcome symbol=%s verdict=%s %s seconds=%.0f",
            outcome.symbol,
            outcome.verdict,
            " ".join(outcome.reasons),
            outcome.seconds,
        )
        if outcome.result == TRAINED:
            return replace(status, symbols_trained=status.symbols_trained + 1)
        if outcome.result == FAILED:
            error = f"{outcome.symbol}: {'; '.join(outcome.reasons)}"
            return replace(status, symbols_errors=status.symbols_errors + 1, last_error=error)
        return replace(status, symbols_skipped_up_to_date=status.symbols_skipped_up_to_date + 1)

    def _ended(self, message: TrainingFinished) -> TrainingStatus:
        level = logging.WARNING if message.error or message.failed else logging.INFO
        log.log(level, "training ended status=%s %s", message.status, message.error)
        error = message.error or self._status.last_error
        done = 100.0 if not message.error else self._status.progress_pct
        return replace(self._status, status=message.status, phase="", progress_pct=done, eta_s=None, last_error=error)


def _fields(status: TrainingStatus) -> dict[str, object]:
    return {name: getattr(status, name) for name in TrainingStatus.__slots__}
