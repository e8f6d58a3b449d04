"""Reading the market's mood without a bot: the bot's own scan and intelligence, no account, no order, no book."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

from bn_ml.config import load_settings
from bn_ml.control import ProcessLock
from bn_ml.env import Secrets, load_env
from bn_ml.errors import ConfigError
from bn_ml.settings import Settings
from data_manager.data_manager import BinanceDataManager
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.mood_snapshot import MoodSnapshot
from ml_engine.predictor import MLEnsemblePredictor
from ml_engine.santrade_intelligence import describe
from monitoring.logger import configure_logging
from monitoring.mood_exports import MoodExports
from scanner.multi_pair_scanner import MultiPairScanner, ScanExtras
from scripts import cli
from scripts.market_mood import FileKeeper, ScanMood
from scripts.wiring import feature_feed, open_bundles
from scripts.worlds import World, open_world

log = logging.getLogger("bnml.santrade")


@dataclass(frozen=True, slots=True)
class Reader:
    """What one reading needs."""

    world: World
    scanner: MultiPairScanner
    mood: ScanMood
    predictor: MLEnsemblePredictor

    def read(self) -> MoodSnapshot | None:
        """Scan once and give the mood; None when the scan could not tell one."""
        now = self.world.clock.now()
        self.predictor.adopt(now)
        report = self.scanner.scan(now)
        for error in report.errors:
            log.warning("%s", error)
        return self.mood.intelligence.state.last


def run_session(arguments: argparse.Namespace) -> int:
    """Read until told to stop, or once; gives the exit code."""
    environ = load_env(Path.cwd())
    loaded = load_settings(arguments.config, environ=environ, overrides=_overrides(arguments))
    settings = loaded.settings
    hidden = Secrets.from_environ(environ).hidden()
    configure_logging(settings.monitoring, arguments.log_level or settings.log_level, secrets=hidden)
    for warning in loaded.warnings:
        log.warning(warning)
    if not settings.santrade_intelligence.enabled:
        raise ConfigError(["santrade_intelligence.enabled: false, there is no mood to read; set it to true"])
    stop = threading.Event()
    with _signals(stop):
        reader = open_reader(settings, stop)
        if arguments.once:
            return _say(reader.read(), as_json=arguments.json)
        return _repeat(reader, settings, arguments, stop)


def open_reader(settings: Settings, stop: threading.Event) -> Reader:
    """Open the market, the bundles and the intelligence; raises what the bot would raise on the same settings."""
    mode = "live" if settings.environment == "live" else settings.data.paper_market_data_mode
    if mode == "replay":
        raise ConfigError(
            ["data.paper_market_data_mode: a replay has no present mood; run bnml-bot, or choose live or synthetic"]
        )
    world = open_world(settings, mode, stop)
    market = BinanceDataManager(settings, world.source, clock=world.clock)
    engineer = FeatureEngineer(settings.model)
    predictor = MLEnsemblePredictor(
        settings.model,
        open_bundles(settings, engineer.feature_hash),
        feature_hash=engineer.feature_hash,
        fees_frac=settings.risk.fees_pct,
    )
    exports = MoodExports(Path(settings.monitoring.metrics_dir), each_cycle=True)
    mood = ScanMood(
        settings,
        market,
        FileKeeper(_state_path(settings, world), every=settings.santrade_intelligence.persist_every_updates),
        publish=lambda snapshot: exports.take(snapshot.as_dict()),
        source=world.source.name,
    )
    feed = feature_feed(settings, world, market, engineer, windows=predictor.window_bars)
    scanner = MultiPairScanner(settings, market, feed, predictor, extras=ScanExtras(mood=mood))
    return Reader(world, scanner, mood, predictor)


def _repeat(reader: Reader, settings: Settings, arguments: argparse.Namespace, stop: threading.Event) -> int:
    """Read at the interval; while a bot of this book runs it reads the mood itself, so nothing is done here."""
    every = arguments.interval_seconds or float(settings.santrade_intelligence.runtime_interval_sec)
    lock = ProcessLock(Path(settings.storage.sqlite_path))
    clock, idle = reader.world.clock, False
    while not stop.is_set():
        if lock.is_held():
            if not idle:
                log.info("idle: the running bot reads the mood itself")
            idle = True
        else:
            if idle:
                reader.mood.reload()
            idle = False
            _say(reader.read(), as_json=arguments.json)
        clock.sleep_until(clock.now() + timedelta(seconds=every))
    return cli.DONE


def _say(snapshot: MoodSnapshot | None, *, as_json: bool) -> int:
    if snapshot is None:
        return cli.complain("the mood could not be read, see the log", cli.FAILED)
    cli.show(snapshot.as_dict(), as_json=as_json, text=describe(snapshot))
    sys.stdout.flush()
    return cli.DONE


def _state_path(settings: Settings, world: World) -> Path:
    """Give the configured file on real prices, one of its own beside it on generated ones."""
    path = Path(settings.santrade_intelligence.state_path)
    return path if world.source.name.startswith("binance") else path.with_stem(f"{path.stem}-{world.source.name}")


def _overrides(arguments: argparse.Namespace) -> Mapping[str, object]:
    chosen: dict[str, object] = {}
    if arguments.paper or arguments.live:
        chosen["environment"] = "live" if arguments.live else "paper"
    if arguments.interval_seconds:
        chosen["santrade_intelligence.runtime_interval_sec"] = int(arguments.interval_seconds)
    return chosen


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """End after the present reading on SIGINT or SIGTERM."""

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
