"""The paper command in compressed time beside a sandbox, measuring each cycle while the things around it go wrong.

Everything is the product but three things: the clock runs as fast as the sandbox's (and a millisecond between the two
is no longer nothing, so their offset counts as none), entries are drawn by seed where the models would speak, and the
trainer is a child that says nothing.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from benchmarks.rehearsal_bot import DrawingPredictor
from benchmarks.soak_plan import CALM, DISK, STREAM, TRAINER, WEBHOOK, SoakPlan
from bn_ml.clock import SystemClock
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import to_ms
from bn_ml.exchange import ExchangeReader
from bn_ml.patience import Patience
from bn_ml.ports import Clock
from bn_ml.settings import Settings
from bn_ml.venue_clock import VenueClock
from bn_ml.weight import WeightMeter
from data_manager.open_source import account_source
from ml_engine.retraining import TrainingSupervisor
from monitoring.logger import SteadyFile
from scripts import bot_session, companions, run_bot, wiring
from scripts.companions import Companions, NoCompanions, Surroundings
from scripts.worlds import World
from trader.cycle_report import CycleReport
from trader.engine import TradingEngine

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
FULL = Path("/dev/full")
SILENT_CHILD = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(60)"
EXPORTS = ("latest_scan.csv", "latest_opportunities.csv", "latest_market_intelligence.csv", "bnml.prom")
KEYS = 8


@dataclass
class Mischief:
    """Does and undoes what goes wrong around the bot, between two cycles."""

    plan: SoakPlan
    trainer: TrainingSupervisor
    alerter: object = None
    now: str = CALM

    def turn_to(self, kind: str) -> None:
        """Undo what is wrong and do what is to be wrong next."""
        if kind != self.now:
            self._switch(self.now, on=False)
            self._switch(kind, on=True)
            self.now = kind

    def _switch(self, kind: str, *, on: bool) -> None:
        switches: dict[str, Callable[..., None]] = {
            WEBHOOK: self._webhook,
            STREAM: self._stream,
            TRAINER: self._train,
            DISK: self._disk,
        }
        if kind in switches:
            switches[kind](on=on)

    def _webhook(self, *, on: bool) -> None:
        tell(f"{self.plan.webhook}/{'hang' if on else 'answer'}", {})

    def _stream(self, *, on: bool) -> None:
        tell(f"{self.plan.control}/streams", {"freeze": on})

    def _train(self, *, on: bool) -> None:
        if on:
            self.trainer.start()
        else:
            self.trainer.kill()

    def _disk(self, *, on: bool) -> None:
        """Fill the disk under logs and exports, and take the folder of the backups away."""
        for name in EXPORTS:
            part = self.plan.folder / "metrics" / f".{name}.part"
            part.unlink(missing_ok=True)
            if on:
                part.symlink_to(FULL)
        backups, aside = self.plan.folder / "backups", self.plan.folder / "backups-aside"
        if on and backups.is_dir():
            backups.rename(aside)
            backups.write_text("in the way")
        elif not on and aside.is_dir():
            backups.unlink()
            aside.rename(backups)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, SteadyFile):
                handler.acquire()
                try:
                    with suppress(OSError):
                        handler.stream.close()
                    handler.stream = FULL.open("a", encoding="utf-8") if on else handler._open()
                finally:
                    handler.release()


class Probe:
    """Wraps the cycle: times it and writes a line of what the process holds after it."""

    def __init__(self, plan: SoakPlan, mischief: Mischief, cycle: Callable[[TradingEngine], CycleReport]) -> None:
        """Measure `cycle` as the plan says."""
        self._first_slot: int | None = None
        self._plan = plan
        self._mischief = mischief
        self._cycle = cycle
        self._number = 0
        self._out = (plan.folder / "samples.jsonl").open("a", encoding="utf-8", buffering=1)

    def __call__(self, engine: TradingEngine) -> CycleReport:
        """Run one cycle."""
        slot = self._slot(engine.account().at)
        kind = self._plan.kind_of(slot)
        self._mischief.turn_to(kind)
        self._offer()
        began = time.perf_counter()
        report = self._cycle(engine)
        took = time.perf_counter() - began
        line = {
            "cycle": self._number,
            "slot": slot,
            "kind": kind,
            "took_s": round(took, 6),
            **held(),
            "errors": len(report.errors),
        }
        self._out.write(json.dumps(line) + "\n")
        self._number += 1
        return report

    def _slot(self, now: datetime) -> int:
        """Count slots from the beginning of the first cycle's block; a cycle that took too long leaves some out."""
        slot = self._plan.slot_of(to_ms(now))
        if self._first_slot is None:
            self._first_slot = slot // self._plan.block * self._plan.block
        return slot - self._first_slot

    def _offer(self) -> None:
        """Give the alerts something to tell in every cycle, now and then something critical."""
        alerter = self._mischief.alerter
        if isinstance(alerter, Companions):
            level = AlertLevel.CRITICAL if self._number % 10 == 0 else AlertLevel.WARNING
            at = SystemClock().now()
            alerter.alerter.offer(Alert(at, level, f"soak:{self._number % KEYS}", f"soak cycle {self._number}"))


def held() -> dict[str, int]:
    """Give what this process holds: resident memory in KiB, open files, threads."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "rss_kib": pages * PAGE_KIB,
        "fds": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def tell(url: str, wish: dict[str, object]) -> None:
    """Say something to a control address on this machine."""
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(wish).encode()), timeout=30) as answer:
        answer.read()


def compressed_world(plan: SoakPlan, settings: Settings, mode: str, stop: threading.Event) -> World:
    """Give the sandbox's market under a clock that runs as fast as the sandbox's."""
    del mode
    clock: Clock = VenueClock(SystemClock(stop), speed=plan.speed, stop=stop)
    assert isinstance(clock, VenueClock)
    clock.measure(ExchangeReader(settings.exchange, clock).server_time)
    weight, patience = WeightMeter(clock, settings.exchange.weight_budget_pct), Patience(clock, settings.exchange)
    return World(clock, account_source(settings, clock, weight, patience))


def remembering(mischief: Mischief, around: Surroundings) -> Companions | NoCompanions:
    """Open the companions and remember them."""
    found = companions.open_companions(around)
    mischief.alerter = found
    return found


def main(argv: Sequence[str]) -> int:
    """Run the paper command as the plan in the file of the first argument says; gives its exit code."""
    plan = SoakPlan.read(Path(argv[0]))
    trainer = TrainingSupervisor(command=[sys.executable, "-c", SILENT_CHILD])
    mischief = Mischief(plan, trainer)
    probe = Probe(plan, mischief, TradingEngine.run_cycle)
    wiring.MLEnsemblePredictor = DrawingPredictor  # type: ignore[misc]
    wiring.clock_offset_s = lambda source, account: 0.0
    bot_session.open_world = partial(compressed_world, plan)
    bot_session.open_companions = partial(remembering, mischief)
    bot_session.TrainingWorker = partial(bot_session.TrainingWorker, supervisor=trainer)  # type: ignore[misc, assignment]
    TradingEngine.run_cycle = lambda engine: probe(engine)  # type: ignore[method-assign]
    return run_bot.main(argv[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
