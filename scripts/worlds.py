"""Which clock and which market the bot lives in, chosen once at the start.

| | clock | market |
|---|---|---|
| live prices | system; live trading: the venue's | Binance |
| generated prices | scaled | synthetic |
| recorded bars | simulated, bar by bar | replay |
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bn_ml.clock import ScaledClock, SimulatedClock, SystemClock
from bn_ml.domain.market import Timeframe, from_ms, iso
from bn_ml.errors import ConfigError
from bn_ml.patience import Patience
from bn_ml.ports import Clock
from bn_ml.settings import Settings
from bn_ml.weight import WeightMeter
from data_manager.open_source import account_source, open_source, replay_source, synthetic_source
from data_manager.source import DataSource

log = logging.getLogger(__name__)

GENERATED = ("synthetic", "synthetic_fallback")


@dataclass(frozen=True, slots=True)
class World:
    """The clock, the market and, in a replay, where it ends."""

    clock: Clock
    source: DataSource
    ends_at: datetime | None = None

    @property
    def is_replay(self) -> bool:
        """Whether time jumps from bar to bar."""
        return self.ends_at is not None


def open_world(settings: Settings, mode: str, stop: threading.Event) -> World:
    """Choose clock and market source once, for the life of the process.

    A book that was already traded on generated or recorded prices goes on where its last fact stands, so time never
    runs backwards for it.
    """
    reached = last_recorded(Path(settings.storage.sqlite_path))
    if mode == "replay":
        return _replay_world(settings, reached)
    notice = ""
    if mode == "auto":
        probe = open_source(settings, SystemClock(stop), "auto")
        if probe.name not in GENERATED:
            return World(SystemClock(stop), probe)
        mode, notice = "synthetic", probe.notice
    if mode == "synthetic":
        wall = SystemClock(stop).now()
        clock = ScaledClock(max(wall, reached or wall), settings.data.synthetic_speed, stop=stop)
        source = synthetic_source(settings, clock)
        source.notice = notice or source.notice
        return World(clock, source)
    wall_clock = SystemClock(stop)
    return World(wall_clock, open_source(settings, wall_clock, mode))


def open_live_world(settings: Settings, clock: Clock, weight: WeightMeter, patience: Patience) -> World:
    """Give the world of live trading: the exchange's own time and prices, over the request weight orders draw on."""
    return World(clock, account_source(settings, clock, weight, patience))


def last_recorded(path: Path) -> datetime | None:
    """Give the instant of the newest fact in a book, None when there is none."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            row = connection.execute("SELECT max(at_ms) FROM journal").fetchone()
    except sqlite3.Error:
        # Whatever is wrong with the file, opening the store says it in full.
        return None
    return None if row is None or row[0] is None else from_ms(row[0])


def _replay_world(settings: Settings, reached: datetime | None) -> World:
    data = settings.data
    step = Timeframe(settings.model.multi_timeframe.base_timeframe).length
    begin, end = data.replay_from, data.replay_to
    if begin is None or end is None:
        raise ConfigError(
            ["data.replay_from and data.replay_to: a replay needs both, for example 2023-06-01 and 2023-09-01"]
        )
    if reached is not None and reached + step >= end:
        log.warning(
            "nothing is left to replay: this book stands at %s, the replay ends at %s; for another replay point "
            "storage.sqlite_path to a new file",
            iso(reached),
            iso(end),
        )
    clock = SimulatedClock(max(begin, reached or begin), step)
    return World(clock, replay_source(settings, clock), end)
