"""Soaks the paper bot: thousands of cycles in compressed time, faults around it, and what it holds and takes meanwhile.

One JSON line tells the figures. Exit code 1 when a bar is missed: memory grows by 1 KiB a cycle or more, open files or
threads do not stay as many, or a fault around the loop makes its 99th percentile more than 1.1 times the undisturbed
one. Beside each ratio stands its 90 % range by resampling: on a busy machine a few hundred cycles differ by chance.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from benchmarks.rehearsal_parts import Plan, Sandbox
from benchmarks.rehearsal_start import SEED_VARIABLE, SHARE_VARIABLE
from benchmarks.soak_figures import Sample, figures
from benchmarks.soak_plan import SoakPlan

ROOT = Path(__file__).resolve().parents[1]
SYMBOLS = tuple(f"{base}/USDC" for base in ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE"))
SHARE = 0.02
BAR_S = 900
ENDS_WITHIN_S = 10.0
QUIET_S = 120.0
"""A bot without a finished cycle for so long has failed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one soak; gives 0 when every bar is kept."""
    arguments = _parsed(argv)
    with tempfile.TemporaryDirectory(prefix="bnml-soak-") as scratch:
        folder = Path(arguments.keep or scratch).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        result = soak(_plan(arguments, folder), seed=arguments.seed)
    print(json.dumps(result, sort_keys=True))
    return 1 if result["violations"] else 0


def soak(plan: SoakPlan, *, seed: int) -> dict[str, object]:
    """Run sandbox, receiver and bot for the plan's cycles; gives the figures and which bars were missed."""
    began = time.monotonic()
    market = Plan(
        plan.folder, SYMBOLS, "USDC", source="synthetic", profile="none", seed=seed, speed=plan.speed, share=SHARE
    )
    sandbox = Sandbox.start(market)
    try:
        with _receiver() as webhook:
            told = SoakPlan(
                **{**_fields(plan), "webhook": f"http://127.0.0.1:{webhook}", "control": sandbox.control_url}
            )
            code, ended_s = _run(told, _config(told, sandbox), seed)
    finally:
        sandbox.stop()
    result = figures(_samples(plan), plan)
    broken = [*result.pop("violations")]
    if code != 0:
        broken.append(f"the bot ended with exit code {code}")
    if ended_s > ENDS_WITHIN_S:
        broken.append(f"the bot took {ended_s:.1f} s to end")
    result |= {"ended_s": round(ended_s, 2), "wall_minutes": round((time.monotonic() - began) / 60, 1)}
    return {**result, "seed": seed, "speed": plan.speed, "violations": broken}


def _run(plan: SoakPlan, config: Path, seed: int) -> tuple[int, float]:
    """Run the bot until it has made its cycles, then end it; gives exit code and how long the end took."""
    flags = ("--config", str(config), "--paper", "--market-data", "live", "--disable-retrain", "--no-dashboard")
    with (plan.folder / "bot.err").open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak_bot", str(plan.write(plan.folder / "plan.json")), *flags],
            cwd=ROOT,
            stdout=out,
            stderr=out,
            env=_environ(plan, seed),
        )
    samples, seen, moved = plan.folder / "samples.jsonl", 0, time.monotonic()
    try:
        while process.poll() is None and seen < plan.cycles:
            time.sleep(0.5)
            found = samples.read_bytes().count(b"\n") if samples.exists() else 0
            moved = time.monotonic() if found > seen else moved
            seen = found
            if time.monotonic() - moved > max(QUIET_S, 5 * plan.scan_s / plan.speed):
                break
        asked = time.monotonic()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return process.wait(60), time.monotonic() - asked
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _environ(plan: SoakPlan, seed: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BINANCE", "BNML", "TELEGRAM"))}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "BNML_ALERT_WEBHOOK_URL": f"{plan.webhook}/hook",
        SEED_VARIABLE: str(seed),
        SHARE_VARIABLE: str(SHARE),
    }


def _config(plan: SoakPlan, sandbox: Sandbox) -> Path:
    folder = plan.folder
    settings = {
        "base_quote": "USDC",
        # The pause between requests is real time: compressed, it would be minutes of the market.
        "exchange": {"base_url": sandbox.url, "ws_url": sandbox.ws_url, "enableRateLimit": plan.speed == 1.0},
        "universe": {"training_symbols": list(SYMBOLS), "auto_train_missing": False},
        "scanner": {"scan_interval_sec": plan.scan_s, "min_score": 0.0, "min_confidence": 0.0},
        "risk": {"method": "vol_target", "max_position_size_usdt": 30.0},
        "model": {"models_dir": str(folder / "models"), "ensemble": {"skill_gate": False, "ev_gate": False}},
        "storage": {
            "sqlite_path": str(folder / "bn_ml.db"),
            "backup": {"base_dir": str(folder / "backups"), "interval_minutes": 1, "keep_last": 3, "keep_daily": 0},
        },
        "monitoring": {
            "logs_dir": str(folder / "logs"),
            "metrics_dir": str(folder / "metrics"),
            "alerting": {"webhook": {"enabled": True}, "dedupe_sec": 10, "max_per_hour": 100000, "timeout_sec": 5},
        },
    }
    path = folder / "bot.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def _samples(plan: SoakPlan) -> list[Sample]:
    lines = (plan.folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [Sample(**json.loads(line)) for line in lines[: plan.cycles]]


@contextmanager
def _receiver() -> Iterator[int]:
    """Give the port of a webhook that answers or, once told `/hang`, does not."""
    answers = threading.Event()
    answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path in ("/hang", "/answer"):
                answers.clear() if self.path == "/hang" else answers.set()
            else:
                answers.wait()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        answers.set()
        server.shutdown()
        server.server_close()


def _fields(plan: SoakPlan) -> dict[str, object]:
    return {name: getattr(plan, name) for name in SoakPlan.__slots__}


def _plan(arguments: argparse.Namespace, folder: Path) -> SoakPlan:
    scan_s = 15 if arguments.hours else 60
    speed = 1.0 if arguments.hours else arguments.speed
    cycles = int(arguments.hours * 3600 / scan_s) if arguments.hours else arguments.cycles
    # One bar's cycles are one block: each block holds one cycle with bars to fetch, in its middle.
    return SoakPlan(folder, cycles, BAR_S // scan_s, cycles // 4, speed, scan_s)


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    made = argparse.ArgumentParser(prog="soak", description="Soak the paper bot beside a sandbox.")
    made.add_argument("--cycles", type=int, default=2000, help="cycles in compressed time")
    made.add_argument("--speed", type=float, default=200.0, help="market seconds per second")
    made.add_argument("--hours", type=float, default=0.0, help="instead: so many real hours at speed 1")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--keep", metavar="FOLDER", help="keep everything there")
    return made.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
