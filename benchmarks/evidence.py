"""Six months of recorded bars through `bnml-backtest`: the default configuration, 30 symbols, retrained every week.

`make evidence` runs it, twice, and lets the independent checker read the book. It prints one JSON line: hashes,
figures, time, memory, and whether both runs wrote the same bytes. The recorded bars are looked for in
`$BNML_TEST_DATA`, else in `../shared/data` beside the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bn_ml.domain.market import Symbol, Timeframe
from bn_ml.journal import export_journal
from data_manager.history import HistoryStore
from tests.checker.book_checker import check_book
from tests.checker.findings import Limits

ROOT = Path(__file__).resolve().parents[1]
SPAN = ("2023-01-01", "2023-07-01")
QUOTE = "USDT"
FILTERS = "exchangeInfo-spot-2023-08-13.json.gz"
COMPARED = (
    "backtest_summary.json",
    "backtest_summary.csv",
    "trades.csv",
    "equity.csv",
    "proof.json",
    "run.json",
    "trainings.json",
    "report.json",
    "report.html",
)
SHOWN = ("total_return", "max_drawdown", "trade_count", "win_rate", "profit_factor", "fees", "exposure")


@dataclass(frozen=True)
class Run:
    """One finished backtest: its exit code, wall and CPU seconds, and SHA-256 of what it wrote, by name."""

    code: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    hashes: dict[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evidence and print the JSON line; 0 only if every demand holds."""
    arguments = _arguments(argv)
    data = Path(os.environ.get("BNML_TEST_DATA", ROOT.parent / "shared" / "data")) / "spot_2022_2023"
    if not data.is_dir():
        print(f"recorded bars not found at {data}: set BNML_TEST_DATA", file=sys.stderr)
        return 2
    work = arguments.work_dir
    work.mkdir(parents=True, exist_ok=True)
    history = import_bars(data, work / "history")
    config = write_config(work / "bot.yaml", history, arguments.symbols)
    runs = [run(work / f"run{number}", config, history, arguments) for number in range(1, arguments.runs + 1)]
    failures = judge(runs, work / "run1", config)
    for failure in failures:
        print(f"does not hold: {failure}", file=sys.stderr)
    print(json.dumps({**told(runs, work / "run1"), "holds": not failures}, sort_keys=True))
    return 0 if not failures else 1


def import_bars(data: Path, history: Path) -> Path:
    """Import the bars, and the venue's filters of the time where they are recorded beside them."""
    filters = data.parent / "exchange_info" / FILTERS
    for source in (data, *([filters] if filters.is_file() else [])):
        command = [sys.executable, "-m", "scripts.market_data", "import", str(source), "--history-dir", str(history)]
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)
    return history


def write_config(path: Path, data: Path, symbols: int) -> Path:
    """Write the default configuration for every stored symbol (the first `symbols` of them)."""
    store = HistoryStore(data)
    names = [str(symbol) for symbol in store.symbols() if store.has(Symbol(symbol), Timeframe.M15)]
    universe = {"training_symbols": names[:symbols]}
    settings = {"base_quote": QUOTE, "universe": universe, "data": {"paper_market_data_mode": "replay"}}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def run(folder: Path, config: Path, data: Path, arguments: argparse.Namespace) -> Run:
    """Run the command in a process of its own."""
    if not arguments.resume:
        shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "scripts.run_backtest", "--config", str(config), "--data-dir", str(data)]
    command += ["--from", arguments.begin, "--to", arguments.end, "--out-dir", str(folder)]
    command += [] if arguments.hpo else ["--no-hpo"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = time.monotonic() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{folder.name}: exit {code} after {spent:.0f} s", file=sys.stderr, flush=True)
    return Run(
        code, round(spent, 1), round(cpu, 1), round(after.ru_maxrss / 1024, 1), hashes(folder) if not code else {}
    )


def hashes(folder: Path) -> dict[str, str]:
    """Give the SHA-256 of every file that is compared, and of the exported journal."""
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in COMPARED}
    return {**found, "journal": export_journal(folder / "book.db", folder / "journal.jsonl")}


def judge(runs: Sequence[Run], folder: Path, config: Path) -> list[str]:
    """Give every demand that does not hold."""
    failures = [f"run {number}: exit {run.code}" for number, run in enumerate(runs, 1) if run.code]
    if failures:
        return failures
    for name in runs[0].hashes:
        if any(run.hashes[name] != runs[0].hashes[name] for run in runs):
            failures.append(f"{name} differs between the runs")
    return failures + list(check_book(folder / "book.db", Limits.of(config)).violations)


def told(runs: Sequence[Run], folder: Path) -> dict[str, object]:
    """Give what is shown of the runs."""
    shown: dict[str, object] = {
        "runs": [{"wall_s": run.wall_s, "cpu_s": run.cpu_s, "largest_process_mb": run.peak_mb} for run in runs]
    }
    if runs and not any(run.code for run in runs):
        together = "".join(runs[0].hashes[name] for name in sorted(runs[0].hashes))
        shown["sha256"] = hashlib.sha256(together.encode()).hexdigest()
        shown["hashes"] = runs[0].hashes
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        shown["headline"] = {name: report["headline"].get(name) for name in SHOWN}
        shown["verdict"] = report["verdict"]
    return shown


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "artifacts" / "evidence")
    parser.add_argument("--runs", type=int, default=2, help="how often the whole is done; their files must be equal")
    parser.add_argument("--symbols", type=int, help="only the first so many symbols")
    parser.add_argument("--from", dest="begin", default=SPAN[0])
    parser.add_argument("--to", dest="end", default=SPAN[1])
    parser.add_argument("--hpo", action="store_true", help="search parameters at each date: ten times the time")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
