"""Training in the background of the loop: starts the trainer for missing or old bundles and reports what it does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.codecs import from_plain
from bn_ml.domain.events import BundleAdopted, Event
from bn_ml.domain.market import Symbol, from_ms, iso
from bn_ml.errors import ModelError, StateError
from bn_ml.settings import Settings
from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_progress import (
    FAILED,
    STOPPED,
    TRAINED,
    Message,
    SymbolOutcome,
    TrainingFinished,
    TrainingProgress,
)
from scripts.wiring import TradingBot
from scripts.worlds import World

log = logging.getLogger(__name__)

RUNNING = "running"
DISTANT_PAST = from_ms(0)


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
    models_reloaded_at: str | None = None
    reload_reason: str = ""


class TrainingWorker:
    """Collected at the start of every cycle; never waits, never raises into the loop.

    As an observer of facts it also notes the bundles adopted, whoever trained them.
    """

    def __init__(
        self,
        settings: Settings,
        world: World,
        *,
        config: Path | None,
        enabled: bool,
        supervisor: TrainingSupervisor | None = None,
    ) -> None:
        """Train with the bot's own configuration and market data; `supervisor` replaces the trainer's own command."""
        self._settings = settings
        self._world = world
        self._config = config
        self._enabled = enabled
        self._supervisor = supervisor or TrainingSupervisor(nice=settings.model.retraining.nice)
        self._bot: TradingBot | None = None
        self._status = TrainingStatus()
        self._written: TrainingStatus | None = None
        self._next_look: datetime | None = None
        self._tried: dict[Symbol, datetime] = {}

    def attach(self, bot: TradingBot) -> None:
        """Name the bot whose book keeps the status; a run that book still calls running died with its bot."""
        self._bot = bot
        content = bot.store.get("training_status")
        self._status = _kept(content)
        self._written = None if content is None else self._status
        if self._status.status == RUNNING:
            self._status = replace(self._status, status=STOPPED, phase="", eta_s=None)

    def emit(self, event: Event) -> None:
        """Take notice of a fact."""
        if isinstance(event, BundleAdopted):
            reason = f"{event.symbol} version {event.version}"
            at = iso(event.at)
            self._status = replace(self._status, updated_at=at, models_reloaded_at=at, reload_reason=reason)

    def stop(self) -> None:
        """End a running training and keep what became of it."""
        self._supervisor.stop()
        now = self._world.clock.now()
        self._take_messages(now)
        try:
            self._keep(now)
        except StateError as error:
            log.warning("the end of the training was not recorded: %s", error)

    def collect(self, now: datetime) -> Sequence[Event]:
        """Take over the trainer's messages, keep the status, and start a run when one is due."""
        if self._bot is None:
            return ()
        self._take_messages(now)
        due = self._next_look is None or now >= self._next_look
        if self._enabled and due and not self._supervisor.running:
            self._start_if_due(now)
        self._keep(now)
        return ()

    def _take_messages(self, now: datetime) -> None:
        for message in self._supervisor.poll():
            self._status = replace(self._follow(message), updated_at=iso(now))

    def _keep(self, now: datetime) -> None:
        if self._bot is not None and self._status != self._written:
            self._bot.store.put("training_status", _fields(self._status), now)
            self._written = self._status

    def _start_if_due(self, now: datetime) -> None:
        retraining = self._settings.model.retraining
        self._next_look = now + timedelta(seconds=retraining.check_interval_sec)
        missing, stale = self._due(now)
        wanted = missing or stale
        if not wanted:
            return
        self._tried.update(dict.fromkeys(wanted, now))
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
                RUNNING,
                "start",
                trigger,
                iso(now),
                iso(now),
                symbols_requested=len(wanted),
                symbols_queued=len(wanted),
                models_reloaded_at=self._status.models_reloaded_at,
                reload_reason=self._status.reload_reason,
            )

    def _mode(self) -> str:
        name = self._world.source.name
        if name.startswith("binance"):
            return "live"
        return {"synthetic_fallback": "synthetic"}.get(name, name)

    def _due(self, now: datetime) -> tuple[list[Symbol], list[Symbol]]:
        """Give the symbols of the next run: those without any bundle, and those whose bundle is older than allowed."""
        universe, retraining = self._settings.universe, self._settings.model.retraining
        missing, stale = list[Symbol](), list[Symbol]()
        for symbol in self._candidates(now):
            age = self._bundle_age(symbol, now)
            if age is None:
                missing.append(symbol)
            elif age > timedelta(hours=retraining.max_model_age_hours):
                stale.append(symbol)
        return (
            missing[: universe.auto_train_batch] if universe.auto_train_missing else [],
            stale[: retraining.batch_size] if retraining.enabled else [],
        )

    def _candidates(self, now: datetime) -> list[Symbol]:
        """Give the symbols kept trained, the configured ones first, without those tried within the cooldown."""
        universe = self._settings.universe
        if self._bot is None:
            return []
        configured = [Symbol(name) for name in universe.training_symbols if name not in universe.exclude]
        discovered = self._bot.scanner.discovered if universe.discovery.train else ()
        everything = list(dict.fromkeys((*configured, *discovered)))[: universe.train_max_symbols]
        since = now - timedelta(hours=self._settings.model.retraining.cooldown_hours)
        return [symbol for symbol in everything if self._tried.get(symbol, DISTANT_PAST) <= since]

    def _bundle_age(self, symbol: Symbol, now: datetime) -> timedelta | None:
        """Give how long a symbol's bundle has been in force, None when there is none."""
        if self._bot is None:
            return None
        try:
            return now - self._bot.predictor.bundle_at(symbol, now).metadata.valid_from
        except ModelError:
            return None

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


def _kept(content: object) -> TrainingStatus:
    """Read a stored status; one that cannot be read is as good as none."""
    try:
        return from_plain(TrainingStatus, content or {})
    except StateError as error:
        log.warning("the stored training status is not readable: %s", error)
        return TrainingStatus()
