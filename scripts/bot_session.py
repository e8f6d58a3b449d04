"""One run of the bot: configuration, lock, banner, signals, the loop, an orderly end and a summary."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from bn_ml.config import LoadedSettings, load_settings
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Symbol
from bn_ml.env import Secrets, load_env
from bn_ml.errors import ConfigError, ExchangeError, LockHeld, StateError, Transient
from bn_ml.settings import Settings
from monitoring.logger import configure_logging
from scripts import cli
from scripts.accounts import LiveAccount, PaperAccount, open_live_account
from scripts.bot_banner import banner, summary
from scripts.companions import Companions, NoCompanions, Surroundings, open_companions
from scripts.dashboard_child import DashboardChild, DashboardFlags, dashboard_plan
from scripts.live_start import LiveStart
from scripts.memory_arenas import share_one_heap
from scripts.replay_progress import ReplayProgress
from scripts.training_worker import TrainingWorker
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import World, open_live_world, open_world
from trader.preflight import Finding, Severity, failed, missing_keys, rejected_key

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """One run: what was asked for, the settings it led to, its environment variables, log folder and way to end."""

    arguments: argparse.Namespace
    loaded: LoadedSettings
    environ: Mapping[str, str]
    logs: Path
    stop: threading.Event


def run_session(arguments: argparse.Namespace) -> int:
    """Run the bot as the arguments say; gives the exit code."""
    share_one_heap()
    environ = load_env(Path.cwd())
    loaded = load_settings(arguments.config, environ=environ, overrides=_overrides(arguments))
    settings = loaded.settings
    mode = _market_mode(arguments, settings)
    hidden = Secrets.from_environ(environ).hidden()
    log_file = configure_logging(settings.monitoring, arguments.log_level or settings.log_level, secrets=hidden)
    for warning in loaded.warnings:
        log.warning(warning)
    session = Session(arguments, loaded, environ, log_file.parent, threading.Event())
    with orderly_end(session.stop):
        if settings.environment != "live":
            return _trade(session, open_world(settings, mode, session.stop))
        secrets = Secrets.from_environ(environ)
        absent = missing_keys(secrets.binance_api_key, secrets.binance_api_secret)
        return _refuse(absent) if absent else _trade_live(session)


def _trade_live(session: Session) -> int:
    settings = session.loaded.settings
    try:
        account = open_live_account(settings, session.environ, session.stop)
        loaded = replace(session.loaded, settings=account.priced(settings))
        exchange = account.exchange
        world = open_live_world(settings, account.clock, exchange.weight, exchange.patience)
        return _trade(replace(session, loaded=loaded), world, account)
    except (Transient, ConfigError):
        raise
    except ExchangeError as error:
        return _refuse(rejected_key(error))


def _trade(session: Session, world: World, account: LiveAccount | None = None) -> int:
    arguments, settings = session.arguments, session.loaded.settings
    beside = open_companions(
        Surroundings(
            settings,
            world,
            account or PaperAccount(),
            session.environ,
            session.logs,
            with_backups=not arguments.once,
            spare=_dashboards(session),
        )
    )
    trains = _trains(arguments, session.loaded, world)
    worker = TrainingWorker(settings, world, config=arguments.config, enabled=trains)
    bot = _opened(session, world, beside, worker)
    try:
        with beside.at_work(bot, worker.trainer):
            try:
                start = None if account is None else LiveStart(bot, account, session.loaded, Path.cwd(), beside.tests)
                return _run(session, bot, worker, beside, start)
            finally:
                worker.stop()
    finally:
        bot.close()


def _dashboards(session: Session) -> tuple[DashboardChild, ...]:
    """Give the dashboard to start with the bot, nothing for one cycle alone or when it is not wanted."""
    arguments = session.arguments
    if arguments.once:
        return ()
    flags = DashboardFlags(
        off=arguments.no_dashboard, port=arguments.dashboard_port, address=arguments.dashboard_address
    )
    config = str(arguments.config or "")
    plan = dashboard_plan(session.loaded.settings, flags, session.environ, config=config, logs=session.logs)
    return () if plan is None else (DashboardChild(plan),)


def _opened(session: Session, world: World, beside: Companions | NoCompanions, worker: TrainingWorker) -> TradingBot:
    progress = ReplayProgress(world, stream=sys.stderr) if world.is_replay else None
    extras = Extras(
        background=(worker, *beside.background),
        observers=(worker, *beside.observers),
        watchers=(*((progress.watch,) if progress else ()), *beside.watchers),
        symbols=_symbols(session.arguments),
        beat=beside.beat,
        restarts_spent=beside.restarts_spent,
    )
    try:
        return open_bot(session.loaded.settings, world, extras, beside.account)
    except LockHeld:
        raise
    except StateError as error:
        beside.failed(error)
        raise


def _run(
    session: Session,
    bot: TradingBot,
    worker: TrainingWorker,
    beside: Companions | NoCompanions,
    start: LiveStart | None,
) -> int:
    arguments = session.arguments
    try:
        if start is not None and not _may_start(start, session.stop):
            return cli.PREFLIGHT
        worker.attach(bot)
        print(banner(bot, session.loaded), file=sys.stderr)
        beside.started(f"{bot.world.source.name}, {len(bot.symbols)} symbols")
        bot.engine.run(_Stopper(session.stop, bot.world), 1 if arguments.once else arguments.max_cycles)
        for export in bot.exports:
            export.flush()
        _say_summary(bot, as_json=arguments.json)
        return _exit_code(bot)
    except StateError:
        log.critical("the books cannot be trusted or written; stopped")
        raise


def _may_start(start: LiveStart, stop: threading.Event) -> bool:
    """Recover, then run the whole preflight and tell it; announces the start when nothing forbids it."""
    try:
        start.bot.engine.recover(stop.is_set)
        if stop.is_set():
            return True
        findings = start.findings()
        start.account.exchange.patience.end_start()
    except Transient:
        raise
    except ExchangeError as error:
        findings = rejected_key(error)
    print("\n".join(finding.line() for finding in findings), file=sys.stderr)
    if failed(findings):
        _refuse(findings)
        return False
    start.announce()
    return True


def _refuse(findings: tuple[Finding, ...]) -> int:
    lines = [finding.line() for finding in findings if finding.severity is Severity.FAIL]
    return cli.complain("\n".join(["live trading refused:", *lines]), cli.PREFLIGHT)


def _market_mode(arguments: argparse.Namespace, settings: Settings) -> str:
    """Give where prices come from; live trading knows only live ones."""
    mode: str = arguments.market_data or settings.data.paper_market_data_mode
    if settings.environment == "live" and (arguments.market_data or "live") != "live":
        raise ConfigError([f"--market-data {mode}: live trading uses live market data only; leave the flag out"])
    return mode


def _overrides(arguments: argparse.Namespace) -> Mapping[str, object]:
    chosen: dict[str, object] = {}
    if arguments.paper or arguments.live:
        chosen["environment"] = "live" if arguments.live else "paper"
    if arguments.market_data:
        chosen["data.paper_market_data_mode"] = arguments.market_data
    if arguments.log_level:
        chosen["log_level"] = arguments.log_level
    return chosen


def _trains(arguments: argparse.Namespace, loaded: LoadedSettings, world: World) -> bool:
    settings = loaded.settings
    wanted = settings.universe.auto_train_missing or settings.model.retraining.enabled
    return wanted and not (arguments.disable_retrain or arguments.once or world.is_replay)


def _symbols(arguments: argparse.Namespace) -> tuple[Symbol, ...]:
    try:
        return tuple(Symbol(name) for name in arguments.symbol or ())
    except ValueError as error:
        raise ConfigError([f"--symbol: {error}"]) from error


class _Stopper:
    """Says when the loop ends: told to, or at the end of a replay."""

    def __init__(self, stop: threading.Event, world: World) -> None:
        self._stop = stop
        self._world = world

    def __call__(self) -> bool:
        ends_at = self._world.ends_at
        return self._stop.is_set() or (ends_at is not None and self._world.clock.now() >= ends_at)


def _say_summary(bot: TradingBot, *, as_json: bool) -> None:
    figures, text = summary(bot)
    cli.show(figures, as_json=as_json, text=text)


def _exit_code(bot: TradingBot) -> int:
    halted = bot.store.control().state is ControlState.HALTED
    return cli.TRADING_HALTED if halted and not bot.world.is_replay else cli.DONE


@contextmanager
def orderly_end(stop: threading.Event) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks for an orderly end, a second one ends the process at once (130)."""

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            os._exit(cli.INTERRUPTED)
        print(f"stopping after the current step (signal {number}); again to stop at once", file=sys.stderr)
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
