"""Runs the real commands in their own processes, and kills them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
KEPT_TABLES = ("journal", "intents", "fills", "ledger", "control", "trades", "cycles", "venue_trades")

RELAXED = {
    "model": {
        "ensemble": {
            "min_buy_proba": 0.34,
            "min_sell_proba": 0.34,
            "min_margin": 0.0,
            "hold_bias": 0.0,
            "skill_gate": False,
            "ev_gate": False,
            "outlier_gate": False,
        }
    },
    "scanner": {"min_score": 0.0, "min_confidence": 0.0},
    # With the default sizes these gateless trades lose the 10 % that halts the bot before the replay ends. Smaller
    # positions, shorter pauses and no Kelly keep it trading; every limit stays in force.
    "risk": {"method": "vol_target", "max_position_size_usdt": 30.0, "circuit_breakers": {"loss_pause_hours": 2}},
}


@dataclass(frozen=True)
class Workshop:
    """A folder with imported bars, bundles, configurations and databases of one verification."""

    folder: Path
    symbols: tuple[str, ...]
    begin: str
    end: str
    changes: dict[str, object] = field(default_factory=dict)

    def config(self, kind: str, *, database: str = "unused") -> Path:
        """Write the configuration of a run with its own database; gives its path."""
        settings: dict[str, object] = {
            "base_quote": "USDT",
            "universe": {"training_symbols": list(self.symbols), "auto_train_missing": False},
            "data": {
                "paper_market_data_mode": "replay",
                "replay_dir": str(self.folder / "history"),
                "history_dir": str(self.folder / "history"),
                "replay_from": f"{self.begin}T00:00:00Z",
                "replay_to": f"{self.end}T00:00:00Z",
            },
            "model": {"models_dir": str(self.folder / "models"), "max_bundle_age_hours": 8760},
            "storage": {"sqlite_path": str(self.folder / f"{database}.db")},
            "monitoring": {
                "logs_dir": str(self.folder / "logs" / database),
                "metrics_dir": str(self.folder / "metrics" / database),
            },
        }
        if kind == "relaxed":
            settings = _merged(settings, RELAXED)
        settings = _merged(settings, self.changes)
        path = self.folder / f"{kind}-{database}.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    def new_book(self, database: str) -> Path:
        """Give the path of a book that does not exist yet; one from an earlier verification is removed."""
        book = self.folder / f"{database}.db"
        for leftover in self.folder.glob(f"{database}.db*"):
            leftover.unlink()
        return book

    def command(self, script: str, *arguments: str) -> int:
        """Run one command to its end; gives its exit code."""
        with (self.folder / f"{script}.out").open("ab") as out:
            done = subprocess.run(
                [sys.executable, "-m", f"scripts.{script}", *arguments], cwd=ROOT, stdout=out, stderr=out, check=False
            )
        return done.returncode


@dataclass(frozen=True)
class BotRun:
    """How a run of the bot ended."""

    code: int
    seconds: float
    tail: str
    kills: int = 0
    lost: tuple[str, ...] = ()


def run_bot(work: Workshop, config: Path) -> BotRun:
    """Run the bot over the whole replay."""
    started = time.monotonic()
    process, out = _start(work, config)
    code = process.wait()
    return BotRun(code, time.monotonic() - started, _tail(out))


def run_bot_with_kills(work: Workshop, config: Path, *, kills: int, seed: int) -> BotRun:
    """Run the replay, SIGKILL it at random moments and start again; counts rows seen before a kill and gone after."""
    dice = np.random.default_rng(seed)
    database = Path(yaml.safe_load(config.read_text())["storage"]["sqlite_path"])
    started, done, lost = time.monotonic(), 0, list[str]()
    while True:
        process, out = _start(work, config)
        if done < kills:
            # One kill in five hits the start-up and the recovery, the others the run itself.
            if dice.random() > 0.2:
                _wait_for_growth(process, database)
            time.sleep(float(dice.uniform(0.1, 3.0)))
            if process.poll() is None:
                seen = _rows(database)
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                after = _rows(database)
                lost += [f"{table}: {count} -> {after[table]}" for table, count in seen.items() if after[table] < count]
                continue
        code = process.wait()
        return BotRun(code, time.monotonic() - started, _tail(out), done, tuple(lost))


def _wait_for_growth(process: subprocess.Popen[bytes], database: Path) -> None:
    before = _rows(database).get("cycles", 0)
    while process.poll() is None and _rows(database).get("cycles", 0) <= before:
        time.sleep(0.05)


def _start(work: Workshop, config: Path) -> tuple[subprocess.Popen[bytes], Path]:
    out = work.folder / f"{config.stem}.bot.out"
    with out.open("ab") as file:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "scripts.run_bot", "--config", str(config),
                "--paper", "--market-data", "replay", "--no-dashboard", "--log-level", "WARNING",
            ],
            cwd=ROOT,
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    return process, out


def _rows(database: Path) -> dict[str, int]:
    if not database.exists():
        return {}
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {
            table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in KEPT_TABLES
            if table in names
        }
    finally:
        connection.close()


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])


def _merged(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        present = merged.get(key)
        merged[key] = _merged(present, value) if isinstance(present, dict) and isinstance(value, dict) else value
    return merged
