"""Start-up: `--help` of every command against the exchange library alone, and what the trading process imports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.bench_base import ROOT, Result, child, memory_mb, python, say, smaller

BIN = Path(sys.executable).parent
RUNS = 5
TARGET_S, HARD_S = 0.2, 0.3
ABSENT = ("sklearn", "xgboost", "lightgbm", "optuna", "torch", "pandas")
TRADING = "import scripts.bot_session, scripts.wiring"
STATUS = "\nprint(open('/proc/self/status').read())"
FULL_ML = "import numpy, pandas, sklearn.ensemble, sklearn.calibration, xgboost, lightgbm, joblib"


def commands() -> Mapping[str, str]:
    """Give the installed commands of the project and their `module:function`."""
    chosen, inside = dict[str, str](), False
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if line.startswith("["):
            inside = line == "[project.scripts]"
        elif inside and "=" in line:
            name, target = (part.strip().strip('"') for part in line.split("=", 1))
            chosen[name] = target
    return chosen


def measure() -> list[Result]:
    """P11 and P12."""
    ccxt = median(python("import ccxt").cpu_s for _ in range(RUNS))
    helped = {name: _help(name, target) for name, target in commands().items()}
    worst = max(helped, key=lambda name: helped[name])
    slow = [name for name, seconds in helped.items() if seconds > TARGET_S]
    say("--help, CPU ms: " + ", ".join(f"{name} {seconds * 1e3:.0f}" for name, seconds in helped.items()))
    note = f"worst of {len(helped)} commands: {worst}; over {TARGET_S} s: {', '.join(slow) or 'none'}"
    ms = [helped[worst] * 1e3, ccxt * 1e3, helped["bnml-kill-switch"] * 1e3]
    return [
        smaller("P11_help_worst_command", ms[0], ms[1], bar=0.5, runs=RUNS, unit="ms CPU", note=note),
        smaller("P11_help_kill_switch", ms[2], ms[1], bar=0.5, runs=RUNS, unit="ms CPU"),
        Result("P11_help_cpu", ms[0], ms[1], ms[0] / ms[1], TARGET_S * 1e3, "ours <=", "ms CPU", RUNS, note),
        *_imports(),
    ]


def _help(name: str, target: str) -> float:
    entry = BIN / name
    command = [str(entry)] if entry.is_file() else [sys.executable, "-m", target.split(":")[0]]
    spent = []
    for _ in range(RUNS):
        done = child([*command, "--help"])
        if done.code:
            raise RuntimeError(f"{name} --help ended with {done.code}:\n{done.output[-800:]}")
        spent.append(done.cpu_s)
    return median(spent)


def _imports() -> list[Result]:
    ours = [python(TRADING) for _ in range(RUNS)]
    full = [python(FULL_ML) for _ in range(RUNS)]
    loaded = python(f"{TRADING}\nimport sys\nprint(*[name for name in {ABSENT} if name in sys.modules])").output.split()
    cpu = [median(run.cpu_s for run in runs) for runs in (ours, full)]
    peak = [memory_mb("VmHWM", status=python(f"{code}{STATUS}").output) for code in (TRADING, FULL_ML)]
    note = f"in sys.modules of {', '.join(ABSENT)}: {', '.join(loaded) or 'none'}"
    return [
        smaller("P12_import_trading_process", cpu[0], cpu[1], bar=0.35, runs=RUNS, unit="s CPU"),
        smaller("P12_import_memory", peak[0], peak[1], bar=None, runs=1, unit="MB"),
        Result(
            "P12_libraries_loaded", len(loaded), len(ABSENT), len(loaded) / len(ABSENT), 0.0, "ours ==", "modules", 1,
            note,
        ),
    ]  # fmt: skip
