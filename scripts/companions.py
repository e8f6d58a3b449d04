"""What goes on beside the loop of one bot: alerts, figures, backups, remote control, and who keeps them alive."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.backup_worker import BackupWorker
from bn_ml.clock import SystemClock
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import Event
from bn_ml.env import Secrets
from bn_ml.errors import Transient
from bn_ml.ports import Background, EventSink, Worker
from bn_ml.redaction import Redactor
from bn_ml.settings import Settings
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from data_manager.source import RemoteVenue
from ml_engine.retraining import TrainingSupervisor
from monitoring.alert_channels import ChannelTest
from monitoring.alert_rules import bot_started, bot_stopped
from monitoring.alerter import Alerter, AlertSource
from monitoring.dead_man import DeadMan
from monitoring.digest_notes import DigestNotes
from monitoring.stall_watchdog import LIMIT_S
from scripts.accounts import Account
from scripts.backup_records import BackupRecords
from scripts.bot_metrics import BotMetrics
from scripts.remote_requests import open_telegram_control
from scripts.supervision import Supervision
from scripts.training_health import TrainingHealth
from scripts.wiring import TradingBot
from scripts.worlds import World
from trader.cycle_report import CycleReport
from trader.engine import CycleWatcher

log = logging.getLogger(__name__)

STALL_AFTER_S = LIMIT_S
ENDING_S = 2.0
"""How long the workers get to end, and then the alerts to be told, seconds."""
RECENT_ALERTS = "recent_alerts"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a bot lives in: settings, world, account, environment variables, and the folder of its logs.

    `with_backups` is off for a bot that ends after one cycle; entries go on without the `spare` workers.
    """

    settings: Settings
    world: World
    account: Account
    environ: Mapping[str, str]
    logs: Path
    with_backups: bool = True
    spare: tuple[Worker, ...] = ()


class NoCompanions:
    """Nothing beside the loop: a replay is over before anybody could be told, and depends on no thread."""

    def __init__(self, account: Account) -> None:
        """Leave the account as it is."""
        self.account = account
        self.background: tuple[Background, ...] = ()
        self.observers: tuple[EventSink, ...] = ()
        self.watchers: tuple[CycleWatcher, ...] = ()

    def beat(self, step: str) -> None:
        """Do nothing."""

    def restarts_spent(self) -> bool:
        """Give False: there is no worker."""
        return False

    @contextmanager
    def at_work(self, bot: TradingBot, trainer: TrainingSupervisor) -> Iterator[None]:
        """Do nothing beside the block."""
        del bot, trainer
        yield

    def tests(self) -> tuple[ChannelTest, ...]:
        """Give nothing: there is no channel."""
        return ()

    def started(self, detail: str) -> None:
        """Tell nobody."""

    def failed(self, error: Exception) -> None:
        """Tell nobody."""


class Companions:
    """The workers of one bot and what connects them with its loop. Nothing runs before `at_work`.

    `account` is to be opened in place of the one given: its calls are measured. Raises `ConfigError` for a remote
    control that cannot work.
    """

    def __init__(self, around: Surroundings) -> None:
        """Prepare everything the settings ask for."""
        settings, clock = around.settings, around.world.clock
        secrets = Secrets.from_environ(around.environ)
        book = Path(settings.storage.sqlite_path)
        self._clock = clock
        self._source = around.world.source
        self.alerter = Alerter(
            settings.monitoring.alerting,
            secrets,
            SystemClock(),
            AlertSource(book=book, mode=_mode(around.account), quote_asset=settings.base_quote, clock=clock),
        )
        self.alerter.digest_notes = DigestNotes(StateReader(book), clock)
        self._figures = BotMetrics(settings, around.world, around.account, self.alerter, self.alerter.counts)
        wanted = settings.storage.backup.enabled and around.with_backups
        self._backups = BackupWorker(settings, SystemClock(), self.alerter) if wanted else None
        self._supervision = Supervision(
            clock,
            self.alerter,
            logs=around.logs,
            clean=Redactor(secrets.hidden()).clean,
            last_words=self._last_words,
            stall_after_s=STALL_AFTER_S,
        )
        self._supervision.supervisor.restarted = self._figures.counts.count_worker_restart
        self._cycled_s = float("-inf")
        self._longest_cycle_s = 2.0 * settings.scanner.scan_interval_sec + STALL_AFTER_S
        self._workers = tuple(self._own_workers(around, secrets, book))
        self._spare = around.spare
        self._trainer: TrainingSupervisor | None = None
        self._records: list[Background] = []
        self._is_told_started = False
        self.account = self._figures.account
        self.background: tuple[Background, ...] = (self,)
        self.observers: tuple[EventSink, ...] = (
            self.alerter,
            self._figures,
            *((self._backups,) if self._backups is not None else ()),
        )
        self.watchers: tuple[CycleWatcher, ...] = (self._figures.watch, self._note_cycle)

    def beat(self, step: str) -> None:
        """Take note that the loop is alive and at a step."""
        self._supervision.beat(step)

    def restarts_spent(self) -> bool:
        """Tell whether a worker is down that entries need, and may not be started again."""
        return self._supervision.restarts_spent()

    def collect(self, now: datetime) -> Sequence[Event]:
        """Take over what the workers have for the loop."""
        return [event for part in self._records for event in part.collect(now)]

    @contextmanager
    def at_work(self, bot: TradingBot, trainer: TrainingSupervisor) -> Iterator[None]:
        """Work beside an opened bot within the block; an error that ends it is told, then all workers end."""
        self._attach(bot, trainer)
        try:
            with self._supervision.watching(), self._supervision.guarded():
                yield
        except Exception as error:
            self._tell_failure(error)
            raise
        else:
            if self._is_told_started:
                self.alerter.offer(bot_stopped(self._clock.now(), "told to stop or done"))
        finally:
            self._supervision.stop(ENDING_S)

    def tests(self) -> tuple[ChannelTest, ...]:
        """Send a test message by every channel and give what became of each."""
        return self.alerter.test()

    def started(self, detail: str) -> None:
        """Tell people that the bot trades from here on."""
        self._is_told_started = True
        self.alerter.offer(bot_started(self._clock.now(), detail))

    def failed(self, error: Exception) -> None:
        """Tell people that the bot could not even be opened."""
        self.alerter.start()
        self._tell_failure(error)
        self.alerter.stop(ENDING_S)

    def _attach(self, bot: TradingBot, trainer: TrainingSupervisor) -> None:
        self._trainer = trainer
        self._figures.attach(bot)
        self._supervision.attach(bot.store)
        if isinstance(self._source, RemoteVenue):
            weight = self._source.weight
            self._supervision.watchdog.heed(lambda: weight.asked)
        for worker in (*self._workers, *((bot.prices,) if bot.prices is not None else ()), TrainingHealth(trainer)):
            self._supervision.take(worker)
        for worker in self._spare:
            self._supervision.take(worker, needed=False)
        self._records = [self._supervision, RecentAlerts(self.alerter, bot.store)]
        if self._backups is not None:
            self._records.append(BackupRecords(bot.store, self._backups))

    def _own_workers(self, around: Surroundings, secrets: Secrets, book: Path) -> Iterator[Worker]:
        """Give the workers, the one that tells of the others' end first."""
        yield self.alerter
        if secrets.heartbeat_url:
            every_s = around.settings.monitoring.alerting.heartbeat_interval_sec
            yield DeadMan(secrets.heartbeat_url, every_s, SystemClock(), self._well_age_s)
        yield self._figures.worker
        if self._backups is not None:
            yield self._backups
        control = open_telegram_control(around.environ, book=book, clock=self._clock, alerts=self.alerter)
        if control is not None:
            yield control

    def _well_age_s(self) -> float:
        """Give how long ago the loop was last seen well; a beat counts only while cycles are being completed."""
        since_cycle_s = self._clock.monotonic() - self._cycled_s
        return self._supervision.loop_age_s() if since_cycle_s <= self._longest_cycle_s else float("inf")

    def _note_cycle(self, report: CycleReport) -> None:
        del report
        self._cycled_s = self._clock.monotonic()

    def _last_words(self, alert: Alert) -> None:
        """Tell of the end and take the training child along: as an orphan it would keep the models locked."""
        if self._trainer is not None:
            self._trainer.kill()
        self.alerter.offer(alert)
        self.alerter.stop(ENDING_S)

    def _tell_failure(self, error: Exception) -> None:
        level = AlertLevel.WARNING if isinstance(error, Transient) else AlertLevel.CRITICAL
        title = f"the bot ends with an error: {type(error).__name__}"
        next_action = "the log has the details; resting stops stay on the exchange"
        self.alerter.offer(
            Alert(self._clock.now(), level, "crash", title, why=f"{error!s:.300}", next_action=next_action)
        )


class RecentAlerts:
    """Keeps the newest alerts in the book for readers; a `Background`."""

    def __init__(self, alerter: Alerter, store: StateStore) -> None:
        """Write what `alerter` told into `store`."""
        self._alerter = alerter
        self._store = store

    def collect(self, now: datetime) -> Sequence[Event]:
        """Write the list when it has changed; there is nothing to journal."""
        rows = self._alerter.take_recent()
        if rows is not None:
            self._store.put(RECENT_ALERTS, rows, now)
        return ()


def open_companions(around: Surroundings) -> Companions | NoCompanions:
    """Give what goes on beside a bot: nothing in a replay."""
    return NoCompanions(around.account) if around.world.is_replay else Companions(around)


def _mode(account: Account) -> str:
    """Give the word that marks every message."""
    return "TESTNET" if "testnet" in account.name else account.mode.upper()
