"""Months of recorded bars through the real commands: twice, relaxed, killed twenty times, and checked from outside.

`make verify-replay` runs it. It ends with one JSON line of figures and exits 0 only if every demand holds. The recorded
bars are looked for in `$BNML_TEST_DATA`, else in `../shared/data` beside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bot_process import Workshop, run_bot, run_bot_with_kills
from benchmarks.truncation import truncation_figures
from bn_ml.journal import export_journal
from tests.checker.book_checker import check_book
from tests.checker.findings import Findings, Limits

ROOT = Path(__file__).resolve().parents[1]
SYMBOLS = tuple(
    f"{base}/USDT"
    for base in ["BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LINK", "LTC", "MATIC", "AVAX", "ATOM", "FTM"]
)
TRAIN_UNTIL = "2023-06-01"
REPLAY = ("2023-06-01", "2023-09-01")
CRASHES = ("2023-06-10", "2023-08-17")


@dataclass
class Verdict:
    """The figures of one verification and what did not hold."""

    figures: dict[str, object] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def demand(self, name: str, holds: bool, detail: object = None) -> None:
        """Note a demand and, if it does not hold, why."""
        self.figures[name] = holds
        if not holds:
            self.failures.append(f"{name}: {detail}")


def main() -> int:
    """Run everything and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "artifacts" / "verify-replay")
    parser.add_argument("--keep-models", action="store_true", help="reuse imported bars and trained bundles")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="decides the moments of the kills")
    parser.add_argument("--from", dest="begin", default=REPLAY[0])
    parser.add_argument("--to", dest="end", default=REPLAY[1])
    arguments = parser.parse_args()
    data = Path(os.environ.get("BNML_TEST_DATA", ROOT.parent / "shared" / "data")) / "spot_2022_2023"
    if not data.is_dir():
        print(f"recorded bars not found at {data}: set BNML_TEST_DATA", file=sys.stderr)
        return 2
    verdict = Verdict({"seed": arguments.seed})
    work = Workshop(arguments.work_dir, SYMBOLS, begin=arguments.begin, end=arguments.end)
    prepare(work, data, verdict, keep=arguments.keep_models)
    replay_twice(work, verdict, "strict")
    judge_relaxed(verdict, replay_twice(work, verdict, "relaxed"))
    replay_killed(work, verdict, kills=arguments.kills, seed=arguments.seed)
    started = time.monotonic()
    truncation = truncation_figures(work.folder / "history", SYMBOLS, seed=arguments.seed)
    say(f"truncation: {truncation} ({time.monotonic() - started:.0f} s)")
    verdict.figures.update(truncation)
    verdict.demand("truncation_clean", truncation["columns_differing"] == 0, truncation)
    for failure in verdict.failures:
        print(f"does not hold: {failure}", file=sys.stderr)
    verdict.figures["holds"] = not verdict.failures
    print(json.dumps(verdict.figures, sort_keys=True, default=str))
    return 0 if not verdict.failures else 1


def prepare(work: Workshop, data: Path, verdict: Verdict, *, keep: bool) -> None:
    """Import the bars and train the bundles, with the project's own commands."""
    if keep and (work.folder / "models").is_dir():
        return
    shutil.rmtree(work.folder, ignore_errors=True)
    work.folder.mkdir(parents=True)
    strict = work.config("strict")
    started = time.monotonic()
    imported = work.command("market_data", "import", str(data), "--config", str(strict))
    verdict.demand("import_exit_0", imported == 0, imported)
    say(f"imported in {time.monotonic() - started:.0f} s")
    started = time.monotonic()
    trained = work.command(
        "run_trainer", "--config", str(strict), "--train-all", "--no-hpo", "--until", TRAIN_UNTIL, "--jobs", "2"
    )
    verdict.demand("training_exit_0", trained == 0, trained)
    verdict.figures["training_s"] = round(time.monotonic() - started, 1)
    say(f"trained in {time.monotonic() - started:.0f} s")


def replay_twice(work: Workshop, verdict: Verdict, kind: str) -> Findings:
    """One configuration twice: exit 0, balanced books, every limit held, byte-identical journals."""
    hashes, findings = [], None
    for turn in ("1", "2"):
        name = f"{kind}{turn}"
        config, book = work.config(kind, database=name), work.new_book(name)
        result = run_bot(work, config)
        say(f"{kind} replay {turn}: exit {result.code} in {result.seconds:.0f} s")
        verdict.demand(f"{name}_exit_0", result.code == 0, result.tail)
        verdict.figures[f"{name}_s"] = round(result.seconds, 1)
        hashes.append(export_journal(book, work.folder / f"{name}.jsonl"))
        findings = check_book(book, Limits.of(config))
        verdict.demand(f"{name}_book", not findings.violations, findings.violations[:10])
    assert findings is not None
    verdict.demand(f"{kind}_journals_identical", hashes[0] == hashes[1], hashes)
    verdict.figures[f"{kind}_journal_sha256"] = hashes[0]
    verdict.figures[kind] = findings.figures
    return findings


def judge_relaxed(verdict: Verdict, findings: Findings) -> None:
    """Many trades must have happened, and the bot must not have been halted before either crash.

    Whether anything was held at the crash bars is decided by the models; `tests/integration/test_recorded_crashes.py`
    holds positions into both.
    """
    verdict.demand("relaxed_200_trades", findings.closed_positions >= 200, findings.closed_positions)
    verdict.demand("relaxed_never_halted", not findings.figures["halts"], findings.figures["halts"])
    for day in CRASHES:
        verdict.demand(f"ran_through_{day}", findings.ran_through(day), "no cycles on that day")


def replay_killed(work: Workshop, verdict: Verdict, *, kills: int, seed: int) -> None:
    """The relaxed replay killed at random moments: nothing acknowledged is lost, nothing doubled, books equal."""
    config, book = work.config("relaxed", database="killed"), work.new_book("killed")
    result = run_bot_with_kills(work, config, kills=kills, seed=seed)
    say(f"killed replay: {result.kills} kills, exit {result.code}, {len(result.lost)} rows lost")
    verdict.demand("killed_exit_0", result.code == 0, result.tail)
    verdict.demand("killed_count", result.kills == kills, result.kills)
    verdict.demand("killed_rows_kept", not result.lost, result.lost[:5])
    findings = check_book(book, Limits.of(config))
    verdict.figures["killed"] = findings.figures
    verdict.demand("killed_book", not findings.violations, findings.violations[:10])


def say(line: str) -> None:
    """Show progress on stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
