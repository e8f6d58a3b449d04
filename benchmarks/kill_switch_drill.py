"""The kill switch drill: the real bot, live on the sandbox with five positions, stopped by SIGSTOP; then pull.

Each run starts a fresh sandbox and a fresh bot, waits until five positions have their stops, stops the bot and times
`bnml-kill-switch` from the start of its process to its end, and inside it from there to the first cancel. One JSON line
tells all times and the median; exit code 1 when a run was not flat or the median is not below the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rehearsal_parts import ROOT, Bot, Json, Plan, Sandbox, write_config
from bn_ml.domain.positions import Position
from bn_ml.errors import StateError
from bn_ml.state_watch import BookView, BookWatch
from trader.protection import is_covered

SYMBOLS = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE")
QUOTE = "USDC"
POSITIONS = 5
BOUND_S = 3.0
PATIENCE_S = 240.0
FLAT = (0, 3)


@dataclass(frozen=True)
class Run:
    """One pull: wall seconds to flat, seconds of its own CPU, its exit code, and what was left at the exchange."""

    wall_s: float
    cpu_s: float
    code: int
    positions: int
    cancelled: int
    open_orders: int
    done_by: str


def main(argv: Sequence[str] | None = None) -> int:
    """Drill as often as asked; gives 0 when every run was flat and the median is below the bound."""
    parser = argparse.ArgumentParser(description="Time bnml-kill-switch against the sandbox with a stopped bot.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bot", choices=("stopped", "running", "dead"), default="stopped")
    arguments = parser.parse_args(argv)
    runs = [drill(arguments.seed + number, arguments.bot) for number in range(arguments.runs)]
    median = statistics.median(run.wall_s for run in runs)
    flat = all(run.code in FLAT and run.open_orders == 0 and run.positions >= POSITIONS for run in runs)
    told = {
        "runs": len(runs),
        "bot": arguments.bot,
        "done_by": [run.done_by for run in runs],
        "positions": [run.positions for run in runs],
        "cancelled": [run.cancelled for run in runs],
        "wall_s": [round(run.wall_s, 3) for run in runs],
        "cpu_s": [round(run.cpu_s, 3) for run in runs],
        "exit_codes": [run.code for run in runs],
        "open_orders_left": [run.open_orders for run in runs],
        "median_s": round(median, 3),
        "bound_s": BOUND_S,
        "all_flat": flat,
    }
    print(json.dumps(told))
    return 0 if flat and median < BOUND_S else 1


def drill(seed: int, state: str) -> Run:
    """Start everything anew, bring the bot with five protected positions into a state, and pull once."""
    with tempfile.TemporaryDirectory(prefix="bnml-drill-") as scratch:
        plan = _plan(Path(scratch), seed)
        sandbox = Sandbox.start(plan)
        bot = Bot(plan, write_config(plan, sandbox), sandbox.keys)
        try:
            bot.start()
            view = _protected(plan, bot)
            assert bot.process is not None
            if state == "stopped":
                bot.process.send_signal(signal.SIGSTOP)
            elif state == "dead":
                bot.kill()
            return _pulled(plan, sandbox, bot.config, len(view.positions))
        finally:
            bot.kill()
            sandbox.stop()


def _plan(folder: Path, seed: int) -> Plan:
    symbols = tuple(f"{base}/{QUOTE}" for base in SYMBOLS)
    return Plan(
        folder=folder,
        symbols=symbols,
        quote=QUOTE,
        source="synthetic",
        profile="none",
        seed=seed,
        speed=1.0,
        share=1.0,
    )


def _protected(plan: Plan, bot: Bot) -> BookView:
    """Wait until five positions rest on their stops."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if bot.is_down():
            raise RuntimeError(f"the bot ended: {bot.log.read_text()[-2000:]}")
        try:
            view = BookWatch(plan.database).look()
        except StateError:
            view = None
        if view is not None and sum(_is_covered(item, view) for item in view.positions) >= POSITIONS:
            return view
        time.sleep(0.1)
    raise RuntimeError(f"no five positions: {bot.log.read_text()[-2000:]}")


def _is_covered(position: Position, view: BookView) -> bool:
    return is_covered(position, tuple(item for item in view.orders if item.intent.position_id == position.position_id))


def _pulled(plan: Plan, sandbox: Sandbox, config: Path, positions: int) -> Run:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.kill_switch", "--config", str(config), "--json"],
        cwd=ROOT,
        env={**os.environ, **sandbox.keys},
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told: Json = json.loads(done.stdout)
    symbols = told["symbols"]
    assert isinstance(symbols, list)
    (plan.folder / "kill_switch.err").write_text(done.stderr)
    return Run(
        wall_s=wall_s,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        code=done.returncode,
        positions=positions,
        cancelled=sum(int(item["cancelled"]) for item in symbols),
        open_orders=_open_orders(sandbox),
        done_by=str(told["done_by"]).partition(" (")[0],
    )


def _open_orders(sandbox: Sandbox) -> int:
    orders = sandbox.ask("audit")["orders"]
    assert isinstance(orders, list)
    return sum(1 for order in orders if order["status"] in ("NEW", "PARTIALLY_FILLED", "PENDING_NEW"))


if __name__ == "__main__":
    raise SystemExit(main())
