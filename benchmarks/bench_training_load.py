"""How much training beside it slows the loop: one running bot, its cycles with and without a real training child.

`python -m benchmarks.bench_training_load` runs it alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import yaml

from benchmarks.bench_base import ONE_THREAD, ROOT, Result, say, smaller
from benchmarks.bench_bundles import Ensemble
from benchmarks.bench_market import store_walks, symbols
from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.errors import StateError
from bn_ml.state_reader import StateReader
from ml_engine.bundle_store import BundleStore
from ml_engine.retraining import TRAINER, TrainingSupervisor

WATCHED = 10
TRAINED = 6
TRAINED_BARS = 24_000
ROUNDS = 3
BLOCK_S = 15.0
# The market runs so fast that every cycle meets a new bar of every symbol.
SPEED, SCAN_S = 3600.0, 900
IDLE, ONE_CORE, ALL_CORES = "idle", "one core", "all cores"
BARS = {ONE_CORE: 1.1, ALL_CORES: 1.5}


def measure(ensemble: Ensemble, folder: Path, *, rounds: int = ROUNDS, block_s: float = BLOCK_S) -> list[Result]:
    """P16: the 99th percentile of a cycle while training runs, against the idle one of the same run."""
    jobs = {IDLE: 0, ONE_CORE: 1, ALL_CORES: os.cpu_count() or 1}
    say(f"a bot of {WATCHED} symbols, {rounds} rounds of {len(jobs)} blocks of {block_s:.0f} s")
    trainer = _trainer_config(folder)
    found = {name: _Cycles() for name in jobs}
    with _running_bot(ensemble, folder) as book:
        for _ in range(rounds):
            for name, count in jobs.items():
                with _training(trainer, count):
                    found[name].durations_ms += _watched(book, block_s)
    idle = found[IDLE]
    return [_result(name, found[name], idle, bar) for name, bar in BARS.items()]


@dataclass
class _Cycles:
    """Wall milliseconds of cycles."""

    durations_ms: list[float] = field(default_factory=list)

    def at(self, share: float) -> float:
        return float(np.quantile(self.durations_ms, share))


def _result(name: str, busy: _Cycles, idle: _Cycles, bar: float) -> Result:
    count = os.cpu_count() or 1
    note = (
        f"{len(busy.durations_ms)} cycles of {WATCHED} symbols against {len(idle.durations_ms)} idle ones in turns, "
        f"median {busy.at(0.5):.0f} against {idle.at(0.5):.0f} ms; trainer at nice 15 on {name} of {count}"
    )
    label = "P16_cycle_p99_training_on_" + name.replace(" ", "_")
    return smaller(label, busy.at(0.99), idle.at(0.99), bar=bar, runs=len(busy.durations_ms), unit="ms", note=note)


def _watched(book: StateReader, seconds: float) -> list[float]:
    """Give the durations of the cycles that began and ended within the next seconds."""
    first = book.summary().cycles
    time.sleep(seconds)
    rows = book.cycles(limit=max(book.summary().cycles - first - 1, 0))
    if not rows:
        raise RuntimeError("the bot made no cycle in a whole block")
    return [sum(_stages(row.data.get("durations_ms"))) for row in rows]


def _stages(found: object) -> Iterator[float]:
    if not isinstance(found, dict):
        raise RuntimeError(f"a cycle without durations: {found!r}")
    yield from map(float, found.values())


@contextmanager
def _training(config: Path, jobs: int) -> Iterator[None]:
    """Keep the real trainer busy on so many cores for the block; none leaves the machine alone."""
    if not jobs:
        yield
        return
    command = [sys.executable, str(TRAINER), "--progress-json", "--nice", "15", "--train-all", "--no-challenge"]
    supervisor = TrainingSupervisor(command=[*command, "--config", str(config), "--jobs", str(jobs), "--no-hpo"])
    if not supervisor.start():
        raise RuntimeError(f"the trainer did not start: {supervisor.poll()}")
    time.sleep(6.0)
    yield
    running = supervisor.running
    supervisor.stop()
    if not running:
        raise RuntimeError(f"the training ended before its block did: {supervisor.poll()}")


@contextmanager
def _running_bot(ensemble: Ensemble, folder: Path) -> Iterator[StateReader]:
    names = symbols(WATCHED)
    config = _bot_config(folder, names)
    _publish(ensemble, folder / "load_models", names)
    flags = ["--config", str(config), "--paper", "--market-data", "synthetic", "--disable-retrain", "--no-dashboard"]
    with (folder / "load_bot.out").open("wb") as out:
        bot = subprocess.Popen(
            [sys.executable, "-m", "scripts.run_bot", *flags, "--log-level", "WARNING"],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            stdout=out,
            stderr=out,
        )
        try:
            book = StateReader(folder / "load.db")
            _wait_for_cycles(bot, book, 10)
            yield book
        finally:
            bot.terminate()
            bot.wait(30)


def _wait_for_cycles(bot: subprocess.Popen[bytes], book: StateReader, count: int) -> None:
    for _ in range(600):
        time.sleep(0.2)
        if bot.poll() is not None:
            raise RuntimeError(f"the bot ended with {bot.returncode}, see load_bot.out")
        try:
            if book.summary().cycles >= count:
                return
        except StateError:
            continue
    raise RuntimeError("the bot made no cycles in two minutes")


def _publish(ensemble: Ensemble, models: Path, names: Sequence[Symbol]) -> None:
    """Save bundles that are valid from now on."""
    ensemble.save(models, names, attach=False)
    store = BundleStore(models, feature_hash=ensemble.feature_hash)
    now = SystemClock().now()
    for name in names:
        bundle = store.load(name)
        dates = {"trained_at": now, "valid_from": now, "label_end": now - timedelta(hours=1)}
        store.save(replace(bundle, metadata=bundle.metadata.model_copy(update=dates)))


def _bot_config(folder: Path, names: Sequence[Symbol]) -> Path:
    return _written(
        folder / "load_bot.yaml",
        {
            "universe": {"training_symbols": [str(name) for name in names], "auto_train_missing": False},
            "data": {"synthetic_speed": SPEED},
            "scanner": {"scan_interval_sec": SCAN_S, "exit_interval_sec": 60},
            "model": {
                "models_dir": str(folder / "load_models"),
                "max_bundle_age_hours": 8760,
                "ensemble": {"min_buy_proba": 0.95},
            },
            "storage": {"sqlite_path": str(folder / "load.db")},
            "monitoring": {"logs_dir": str(folder / "load_logs"), "metrics_dir": str(folder / "load_metrics")},
        },
    )


def _trainer_config(folder: Path) -> Path:
    names = symbols(TRAINED)
    store_walks(folder / "load_history", names, TRAINED_BARS)
    return _written(
        folder / "load_trainer.yaml",
        {
            "universe": {"training_symbols": [str(name) for name in names]},
            "data": {"paper_market_data_mode": "replay", "replay_dir": str(folder / "load_history")},
            "model": {"models_dir": str(folder / "load_trained")},
            "storage": {"sqlite_path": str(folder / "load_unused.db")},
        },
    )


def _written(path: Path, content: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    from benchmarks.run import summarise

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=BLOCK_S, help="length of a block")
    wanted = parser.parse_args(argv)
    os.environ.update(ONE_THREAD)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bnml-load-") as folder:
        results = measure(Ensemble(), Path(folder), rounds=wanted.rounds, block_s=wanted.seconds)
    summarise(results, (), time.perf_counter() - began)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
