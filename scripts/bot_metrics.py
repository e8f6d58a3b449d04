"""The bot's figures of itself joined to it: counted facts, measured calls, what is unusual, the file and the record."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.events import Event, ScanFinished
from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import ModelError, StateError
from bn_ml.ports import AlertSink, Clock, Exchange, MarketView
from bn_ml.settings import Settings
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from data_manager.source import RemoteVenue
from ml_engine.bundle_metadata import BundleMetadata
from monitoring.cycle_anomalies import CycleAnomalies
from monitoring.measured_exchange import MeasuredExchange
from monitoring.metrics_export import MetricsExport
from monitoring.performance_decay import DecayWatch
from monitoring.retrain_counts import RetrainCounts
from monitoring.runtime_metrics import RUNTIME_METRICS, RuntimeMetrics
from scripts.accounts import Account
from scripts.service_records import DecayLook
from scripts.venue_facts import clock_offset_s
from scripts.wiring import TradingBot
from scripts.worlds import World
from trader.cycle_report import CycleReport

log = logging.getLogger(__name__)

FRESH_S = 30.0
"""A streamed quote older than this says nothing of the spread."""
AlertCounts = Callable[[], Mapping[tuple[str, str, str], int]]
"""Gives how many alerts came to which end since the start, by level, channel and result."""


class BotMetrics:
    """Observer of facts and watcher of cycles; nothing here may hold the loop up or end it.

    `account` is the bot's account with an exchange that is measured, `counts` takes what others have to count, `worker`
    writes the file. Not for replays, whose time is not that of any reader.
    """

    def __init__(
        self,
        settings: Settings,
        world: World,
        account: Account,
        alerts: AlertSink,
        told: AlertCounts = dict,
    ) -> None:
        """Begin to count; `attach` names the bot before its first cycle. `told` gives what became of alerts so far."""
        self.counts = RuntimeMetrics(world.clock.now())
        self._told = told
        self.account: Account = MeasuredAccount(account, self.counts, world.clock)
        state = Path(settings.storage.sqlite_path)
        self._reader = StateReader(state)
        self._clock = world.clock
        self._source = world.source
        self._inner = account
        self._weight = world.source.weight if isinstance(world.source, RemoteVenue) else None
        self._anomalies = CycleAnomalies(alerts, lambda limit: self._reader.trades(limit=limit))
        retraining = settings.model.retraining
        self._decay = DecayLook(state, DecayWatch(alerts, retraining.degradation_trigger_pct))
        self.worker = MetricsExport(
            Path(settings.monitoring.metrics_dir),
            self._reader,
            world.clock,
            chores=(self._anomalies.judge, self._decay),
        )
        self._retrain = RetrainCounts()
        self._bot: TradingBot | None = None
        self._weight_seen = 0.0

    def attach(self, bot: TradingBot) -> None:
        """Take up what the bot's book holds: sides of unfinished orders, usual ranges, trainings counted before."""
        self._bot = bot
        for record in self._reader.open_orders():
            self.counts.remember_order(record.intent.client_id, record.intent.side.value)
        tuple(self._retrain.take(bot.store.get("training_status")))
        try:
            self._anomalies.remember(self._reader)
        except StateError as error:
            log.warning("the usual ranges begin anew: %s", error)

    def emit(self, event: Event) -> None:
        """Take notice of a fact."""
        self.counts.emit(event)
        self._anomalies.emit(event)
        if isinstance(event, ScanFinished):
            self._weigh()

    def watch(self, report: CycleReport) -> None:
        """Count a finished cycle and keep the snapshot; judging it and writing the file goes on beside the loop."""
        bot = self._bot
        if bot is None:
            return
        self.counts.count_cycle(report)
        for trigger, result, number in self._retrain.take(bot.store.get("training_status")):
            self.counts.count_retrain(trigger, result, number)
        self.counts.follow_alerts(self._told())
        self._set_gauges(bot, report)
        bot.store.put(RUNTIME_METRICS, self.counts.snapshot(report.at), report.at)
        self._decay.serve(_serving(bot, report))
        self._anomalies(report, _streamed_spreads(bot, self._clock.now()))
        self.worker.wake()

    def _set_gauges(self, bot: TradingBot, report: CycleReport) -> None:
        self._weigh()
        self.counts.set_gauge("weight_ratio", self._weight_seen if self._weight else None)
        self._weight_seen = 0.0
        offset_s = clock_offset_s(self._source, self._inner)
        self.counts.set_gauge("clock_offset_ms", None if offset_s is None else offset_s * 1000)
        quoted_at = _quoted_at(bot, report, self._clock.now())
        self.counts.set_gauge("quote_at", None if quoted_at is None else iso(quoted_at))
        if bot.prices is not None:
            self.counts.follow_stream(bot.prices.figures().connections)

    def _weigh(self) -> None:
        """Look at the request weight where most of it has just been used."""
        if self._weight is not None and self._weight.budget > 0:
            self._weight_seen = max(self._weight_seen, self._weight.used / self._weight.budget)


class MeasuredAccount:
    """An account whose exchange is timed and whose failures are counted; otherwise the account it is made of."""

    def __init__(self, account: Account, counts: RuntimeMetrics, clock: Clock) -> None:
        """Measure the exchange of `account`."""
        self._account = account
        self._counts = counts
        self._clock = clock

    @property
    def mode(self) -> str:
        """What rows are marked with."""
        return self._account.mode

    @property
    def name(self) -> str:
        """The account the book belongs to."""
        return self._account.name

    def open(self, settings: Settings, store: StateStore, market: MarketView, clock: Clock) -> Exchange:
        """Give the measured exchange of the account."""
        return MeasuredExchange(self._account.open(settings, store, market, clock), self._counts, self._clock)

    def clock_offset_s(self) -> float | None:
        """Give the exchange's clock minus ours, None while unknown."""
        return self._account.clock_offset_s()

    def banned_until(self) -> datetime | None:
        """Give the end of the exchange's last ban, None when it never asked to stay away."""
        return self._account.banned_until()


def _serving(bot: TradingBot, report: CycleReport) -> Sequence[BundleMetadata]:
    """Give the bundles that answered in a cycle's scan."""
    items = (*report.scan.opportunities, *report.scan.refused) if report.scan else ()
    found = []
    for item in items:
        try:
            found.append(bot.predictor.bundle_at(item.symbol, report.at).metadata)
        except ModelError:
            continue
    return found


def _streamed_spreads(bot: TradingBot, now: datetime) -> Mapping[Symbol, float]:
    """Give the spreads of the streamed quotes that are fresh; none without a stream."""
    if bot.prices is None:
        return {}
    board = bot.prices.board
    quotes = [board.quote(symbol) for symbol, age_s in board.ages().items() if age_s <= FRESH_S]
    return {quote.symbol: float(quote.spread_frac) for quote in quotes if quote is not None}


def _quoted_at(bot: TradingBot, report: CycleReport, now: datetime) -> datetime | None:
    """Give when the oldest streamed quote of what is held was true, else the newest of all streamed or scanned ones."""
    ages = bot.prices.board.ages() if bot.prices is not None else {}
    known = {symbol: age for symbol, age in ages.items() if math.isfinite(age)}
    held = [known[symbol] for symbol in _held(bot) if symbol in known]
    if held or known:
        return now - timedelta(seconds=max(held) if held else min(known.values()))
    items = (*report.scan.opportunities, *report.scan.refused) if report.scan else ()
    return max((item.quote.at for item in items if item.quote is not None), default=None)


def _held(bot: TradingBot) -> Sequence[Symbol]:
    return [position.symbol for position in bot.store.open_positions()]
