"""Training in the background of the loop: starts the trainer when a trigger asks for it and reports what it does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.events import BundleAdopted, BundleRefused, Event
from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import ModelError, StateError
from bn_ml.settings import Settings
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_locks import running_session
from ml_engine.training_progress import KEPT, STOPPED, Message, SymbolOutcome, TrainingFinished
from scripts.background import put_back
from scripts.model_records import keep_challenge
from scripts.retraining_facts import RetrainingFacts
from scripts.training_runs import ChildFlags, TrainingRuns
from scripts.training_status import RUNNING, TrainingStatus, begun, fields_of, followed, shared_status, stored
from scripts.wiring import TradingBot
from scripts.worlds import World

log = logging.getLogger(__name__)

LOOKS_BEFORE_ROLLBACK = 1
# Symbols that want training beside why they are not trained now, for whoever asks why nothing happens.
WAITING = "retraining_waiting"


class TrainingWorker:
    """Collected at the start of every cycle; never waits, never raises into the loop.

    As an observer of facts it also notes the bundles adopted, whoever trained them, and those refused.
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
        self._enabled = enabled
        self.trainer = supervisor or TrainingSupervisor(nice=settings.model.retraining.nice)
        self._runs = TrainingRuns(settings, self.trainer, _flags(settings, world, config))
        self._facts = RetrainingFacts(Path(settings.storage.sqlite_path), self._serving)
        self._bot: TradingBot | None = None
        self._status = TrainingStatus()
        self._written: TrainingStatus | None = None
        self._next_look: datetime | None = None
        self._refused: dict[Symbol, int] = {}
        self._elsewhere = False
        self._told_waiting: dict[str, str] = {}

    @property
    def waiting(self) -> Mapping[Symbol, str]:
        """Symbols that want training and why they are not trained now."""
        return self._runs.waiting

    def attach(self, bot: TradingBot) -> None:
        """Name the bot whose book keeps the status; a run that book still calls running died with its bot."""
        self._bot = bot
        content = bot.store.get("training_status")
        self._status = stored(content)
        self._written = None if content is None else self._status
        if self._status.status == RUNNING:
            self._status = replace(self._status, status=STOPPED, phase="", eta_s=None)
        waiting = bot.store.get(WAITING)
        self._told_waiting = dict(waiting) if isinstance(waiting, dict) else {}

    def emit(self, event: Event) -> None:
        """Take notice of a fact."""
        if isinstance(event, BundleAdopted):
            reason = f"{event.symbol} version {event.version}"
            at = iso(event.at)
            self._status = replace(self._status, updated_at=at, models_reloaded_at=at, reload_reason=reason)
            self._refused.pop(event.symbol, None)
        elif isinstance(event, BundleRefused) and event.reason == "bundle_refused":
            self._refused[event.symbol] = 0

    def stop(self) -> None:
        """End a running training and keep what became of it."""
        now = self._world.clock.now()
        self._take(self._runs.stop(now), now)
        try:
            self._keep(now)
        except StateError as error:
            log.warning("the end of the training was not recorded: %s", error)

    def collect(self, now: datetime) -> Sequence[Event]:
        """Take over the trainer's messages, keep the status, and start a run when one is due."""
        if self._bot is None:
            return ()
        self._take(self._runs.poll(now), now)
        if self._enabled and (self._next_look is None or now >= self._next_look):
            self._next_look = now + timedelta(seconds=self._settings.model.retraining.check_interval_sec)
            self._put_back(self._bot, now)
            if not self._runs.running:
                self._look(self._bot, now)
        if not (self._runs.running or self._world.is_replay):
            self._show_elsewhere(Path(self._settings.model.models_dir))
        self._keep(now)
        return ()

    def _look(self, bot: TradingBot, now: datetime) -> None:
        run = self._runs.look(self._facts.gather(_candidates(self._settings, bot), now), now)
        if run is not None:
            self._show(begun(run.plan.trigger, len(run.plan.batch), now, hpo=run.hpo))

    def _show(self, status: TrainingStatus) -> None:
        """Show a run's record beside what is known of adopted bundles."""
        mine = self._status
        self._status = replace(status, models_reloaded_at=mine.models_reloaded_at, reload_reason=mine.reload_reason)

    def _show_elsewhere(self, models_dir: Path) -> None:
        """Show the run another process is at, and once how it ended."""
        under_way = bool(running_session(models_dir))
        found = shared_status(models_dir) if under_way or self._elsewhere else None
        if found is not None and under_way and found.status == RUNNING:
            self._elsewhere = True
            self._show(found)
        elif not under_way and self._elsewhere:
            self._elsewhere = False
            ended = found or self._status
            self._show(replace(ended, status=STOPPED, phase="", eta_s=None) if ended.status == RUNNING else ended)

    def _put_back(self, bot: TradingBot, now: datetime) -> None:
        """Publish the version in service again where a newer one on disk was refused and stays so.

        Without it the bot would find no bundle at its next start. One that is still being copied gets a look's time.
        """
        for symbol, looks in list(self._refused.items()):
            self._refused[symbol] = looks + 1
            if looks == LOOKS_BEFORE_ROLLBACK:
                put_back(bot.bundles, bot.predictor, symbol, now)

    def _serving(self, symbol: Symbol, now: datetime) -> BundleMetadata | None:
        """Give the metadata of the bundle that answers for a symbol, None when there is none."""
        if self._bot is None:
            return None
        try:
            return self._bot.predictor.bundle_at(symbol, now).metadata
        except ModelError:
            return None

    def _take(self, messages: Sequence[Message], now: datetime) -> None:
        for message in messages:
            self._status = followed(self._status, message, now)
            _tell(message)
            if isinstance(message, SymbolOutcome) and message.result == KEPT and self._bot is not None:
                keep_challenge(self._bot.store, message, now)

    def _keep(self, now: datetime) -> None:
        if self._bot is not None and self._status != self._written:
            self._bot.store.put("training_status", fields_of(self._status), now)
            self._written = self._status
        waiting = {str(symbol): why for symbol, why in self._runs.waiting.items()}
        if self._bot is not None and waiting != self._told_waiting:
            self._bot.store.put(WAITING, waiting, now)
            self._told_waiting = waiting


def _tell(message: Message) -> None:
    if isinstance(message, SymbolOutcome):
        reasons = " ".join(message.reasons)
        log.info(
            "training outcome symbol=%s verdict=%s %s seconds=%.0f",
            message.symbol,
            message.verdict,
            reasons,
            message.seconds,
        )
    elif isinstance(message, TrainingFinished):
        level = logging.WARNING if message.error or message.failed else logging.INFO
        log.log(level, "training ended status=%s %s", message.status, message.error)


def _flags(settings: Settings, world: World, config: Path | None) -> ChildFlags:
    retraining = settings.model.retraining
    name = world.source.name
    mode = "live" if name.startswith("binance") else {"synthetic_fallback": "synthetic"}.get(name, name)
    common = [
        *("--market-data", mode, "--jobs", str(retraining.max_cpu), "--started-by", "bnml-bot"),
        *(("--config", str(config)) if config else ()),
    ]
    return ChildFlags(common, hpo=retraining.hpo and settings.model.hpo.enabled, quick_first=True, until_now=True)


def _candidates(settings: Settings, bot: TradingBot) -> list[Symbol]:
    """Give the symbols kept trained, the configured ones first."""
    universe = settings.universe
    configured = [Symbol(name) for name in universe.training_symbols if name not in universe.exclude]
    discovered = bot.scanner.discovered if universe.discovery.train else ()
    return list(dict.fromkeys((*configured, *discovered)))[: universe.train_max_symbols]
