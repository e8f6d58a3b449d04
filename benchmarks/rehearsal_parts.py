"""The two processes of a rehearsal, the sandbox and the bot, and what is said to the sandbox's control port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.rehearsal_bot import SEED_VARIABLE, SHARE_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0

Json = dict[str, object]


@dataclass(frozen=True)
class Plan:
    """One rehearsal: which market, how fast, which faults, how many kills. `share` of symbol-minutes are bought."""

    folder: Path
    symbols: tuple[str, ...]
    quote: str
    source: str
    profile: str
    seed: int
    speed: float
    share: float
    begin: str | None = None
    end: str | None = None
    kills: int = 0

    @property
    def database(self) -> Path:
        """The bot's book."""
        return self.folder / "bn_ml.db"


@dataclass
class Sandbox:
    """The running exchange."""

    process: subprocess.Popen[str]
    url: str
    ws_url: str
    control_url: str
    keys: Mapping[str, str]

    @classmethod
    def start(cls, plan: Plan) -> Sandbox:
        """Start the command and read where it listens from its first line."""
        span = [*(("--from", plan.begin) if plan.begin else ()), *(("--to", plan.end) if plan.end else ())]
        arguments = [
            "--json", "--port", "0", "--seed", str(plan.seed), "--source", plan.source, "--speed", f"{plan.speed:g}",
            "--quote", plan.quote, "--balance", f"{plan.quote}=1000", "--balance", "BNB=0.5",
            "--fault-profile", plan.profile, *span,
        ]  # fmt: skip
        with (plan.folder / "sandbox.err").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.sandbox", *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        keys = {"BINANCE_API_KEY": told["api_key"], "BINANCE_API_SECRET": told["api_secret"]}
        return cls(process, told["base_url"], told["ws_url"], told["control_url"], keys)

    def ask(self, path: str, wish: Json | None = None) -> Json:
        """Read from the control port, or tell it something."""
        body = None if wish is None else json.dumps(wish).encode()
        request = urllib.request.Request(f"{self.control_url}/{path}", data=body)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            told: Json = json.load(answer)
            return told

    def now_ms(self) -> int:
        """Give the market's instant."""
        return int(str(self.ask("clock")["now_ms"]))

    def stop(self) -> None:
        """End the process."""
        end(self.process)


@dataclass
class Bot:
    """The running bot; `recoveries_s` are the seconds from each start to its first look at a recovered book.

    `unreachable` counts the starts that found no exchange and ended.
    """

    plan: Plan
    config: Path
    keys: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    recoveries_s: list[float] = field(default_factory=list)
    unreachable: int = 0

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.plan.folder / "bot.out"

    def start(self) -> None:
        """Start the live command."""
        environ = {
            **os.environ,
            **self.keys,
            "OMP_NUM_THREADS": "1",
            SEED_VARIABLE: str(self.plan.seed),
            SHARE_VARIABLE: str(self.plan.share),
            "BNML_SANDBOX_SPEED": f"{self.plan.speed:g}",
        }
        arguments = ["--live", "--config", str(self.config), "--disable-retrain", "--no-dashboard"]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.rehearsal_bot", *arguments],
                cwd=ROOT,
                stdout=out,
                stderr=out,
                env=environ,
            )

    def wait_recovered(self) -> bool:
        """Wait until the book is recovered, and keep how long that took; False when the bot ended instead."""
        began, seen = time.monotonic(), self._recovered()
        while time.monotonic() - began < PATIENCE_S:
            if self._recovered() > seen:
                self.recoveries_s.append(time.monotonic() - began)
                return True
            if self.is_down():
                return False
            time.sleep(0.02)
        return False

    def is_down(self) -> bool:
        """Whether the process has ended."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, as a power loss would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> int:
        """Ask for an orderly end and give the exit code."""
        return -1 if self.process is None else end(self.process)

    def _recovered(self) -> int:
        return self.log.read_bytes().count(b"recovered positions=") if self.log.exists() else 0


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """SIGTERM, and SIGKILL after a while; gives the exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def write_config(plan: Plan, sandbox: Sandbox) -> Path:
    """Write the bot's configuration: every limit at its default but those that would end trading for the day."""
    settings: Json = {
        "environment": "live",
        "base_quote": plan.quote,
        "exchange": {
            "base_url": sandbox.url,
            "ws_url": sandbox.ws_url,
            "rate_limit_ms": 10,
            "timeout_ms": 1000,
            "weight_budget_pct": 0.9,
            "orders": {"max_notional_per_day_usdt": 20000, "stop_replace_min_interval_sec": 10},
        },
        "universe": {"training_symbols": list(plan.symbols), "auto_train_missing": False},
        "scanner": {
            "scan_interval_sec": 60,
            "min_score": 0,
            "min_confidence": 0.1,
            "depth_min_usdt": 0,
            "spread_max_pct": 0.01,
        },
        "model": {"models_dir": str(plan.folder / "models"), "drift": {"benchmark_symbol": plan.symbols[0]}},
        "santrade_intelligence": {"benchmark_symbol": plan.symbols[0]},
        "risk": {
            "capital_total": 1000,
            "max_live_capital_usdt": 1000,
            "max_position_size_usdt": 80,
            "symbol_cooldown_min": 0,
            "min_net_profit_pct": 0,
            "max_daily_risk_pct": 0.5,
            "max_weekly_risk_pct": 1.0,
            "max_correlation": 1.0,
            "max_cluster_exposure_pct": 0.5,
            "max_holding_period": 1,
            "circuit_breakers": {
                "max_consecutive_losses": 20,
                "loss_pause_hours": 1,
                "volatility_spike_ratio": 20,
                "volatility_benchmark_symbol": plan.symbols[0],
            },
        },
        "monitoring": {"logs_dir": str(plan.folder / "logs"), "metrics_dir": str(plan.folder / "metrics")},
        "storage": {"sqlite_path": str(plan.database), "backup": {"base_dir": str(plan.folder / "backups")}},
    }
    path = plan.folder / "bot.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path
