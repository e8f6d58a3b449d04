"""The two processes of a rehearsal, the sandbox and the bot, and what is said to the sandbox's control port."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.rehearsal_start import SEED_VARIABLE, SHARE_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
REFUSED, UNREACHABLE = 3, 4
REFUSALS_TO_MEND = 3
"""After how many starts refused for its clock the exchange's clock is set right."""
RECOVERED = "recovered positions="
CLOCK_OFF_MS = 950
"""The exchange's clock is then off by what the preflight refuses, give or take what measuring leaves in doubt."""
_WAITED = re.compile(r"stay away.* wait_s=([0-9.]+)")

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

    def clock_off_ms(self) -> int:
        """Give how far the exchange's clock is off, 0 when that keeps no bot from starting."""
        offset_ms = int(str(self.ask("clock")["offset_ms"]))
        return offset_ms if abs(offset_ms) >= CLOCK_OFF_MS else 0

    def set_clock_right(self, offset_ms: int) -> None:
        """Take an offset off the exchange's clock."""
        self.ask("clock", {"jump_ms": -offset_ms})

    def stop(self) -> None:
        """End the process."""
        end(self.process)


@dataclass(frozen=True)
class Recovery:
    """Wall seconds from a start to a recovered book, and how many of them are nothing the bot could have helped.

    `told_to_wait_s`: the exchange had asked to stay away. `queued_s`: other programs had the processors, as far as the
    system tells. `cpu_s` is what the bot computed.
    """

    seconds: float
    told_to_wait_s: float
    queued_s: float
    cpu_s: float

    @property
    def own_s(self) -> float:
        """What the bot itself took."""
        return max(self.seconds - self.told_to_wait_s - self.queued_s, 0.0)

    def told(self) -> list[float]:
        """Give all, the bot's own last, two decimals each."""
        parts = (self.seconds, self.told_to_wait_s, self.queued_s, self.cpu_s, self.own_s)
        return [round(part, 2) for part in parts]


@dataclass
class Bot:
    """The running bot, each of its recoveries, and how its starts ended that nobody asked to end, by exit code.

    `off_clock` counts those that were refused because the exchange's clock was indeed off; after some of them in a row
    it is set right, as a time service would make the two agree.
    """

    plan: Plan
    config: Path
    sandbox: Sandbox
    process: subprocess.Popen[bytes] | None = None
    recoveries: list[Recovery] = field(default_factory=list)
    ends: Counter[int] = field(default_factory=Counter)
    off_clock: int = 0
    told: int = 0

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.plan.folder / "bot.out"

    def start(self) -> None:
        """Start the live command."""
        environ = {
            **os.environ,
            **self.sandbox.keys,
            "OMP_NUM_THREADS": "1",
            SEED_VARIABLE: str(self.plan.seed),
            SHARE_VARIABLE: str(self.plan.share),
            "BNML_SANDBOX_SPEED": f"{self.plan.speed:g}",
        }
        arguments = ["--live", "--config", str(self.config), "--disable-retrain", "--no-dashboard"]
        self.told = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.rehearsal_start", *arguments],
                cwd=ROOT,
                stdout=out,
                stderr=out,
                env=environ,
            )

    def wait_recovered(self) -> bool:
        """Wait until the book is recovered, and keep how long that took; False when the bot ended instead."""
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE_S:
            said = self.last_words()
            if RECOVERED in said:
                before = said[: said.index(RECOVERED)]
                waited_s = sum(float(told) for told in _WAITED.findall(before))
                self.recoveries.append(Recovery(time.monotonic() - began, waited_s, *self._processor_s()))
                return True
            if self.is_down():
                return False
            time.sleep(0.02)
        return False

    def _processor_s(self) -> tuple[float, float]:
        """Give how long its main thread stood in line for a processor, and how long it had one; zeros if untold."""
        pid = 0 if self.process is None else self.process.pid
        try:
            ran_ns, queued_ns, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
        except (OSError, ValueError):
            return 0.0, 0.0
        return queued_ns / 1e9, ran_ns / 1e9

    def last_words(self) -> str:
        """Give what it has said since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as said:
            said.seek(self.told)
            return said.read().decode(errors="replace")

    def note_end(self) -> str:
        """Count an end nobody asked for; gives what was wrong with it, "" where its supervisor just starts it again.

        That is when it found no exchange, or was refused for a clock that is off indeed, and for that alone.
        """
        code = -1 if self.process is None else self.process.wait()
        self.ends[code] += 1
        lines = self.last_words().splitlines()
        if code == UNREACHABLE:
            return ""
        failures = {line.split(":")[0] for line in lines if line.startswith("FAIL ")}
        if code == REFUSED and failures == {"FAIL clock"} and (offset_ms := self.sandbox.clock_off_ms()):
            self.off_clock += 1
            if self.off_clock % REFUSALS_TO_MEND == 0:
                self.sandbox.set_clock_right(offset_ms)
            return ""
        return f"the bot ended by itself with exit code {code}: {lines[-1][:200] if lines else 'no word'}"

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
