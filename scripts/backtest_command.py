"""The road from the flags of `bnml-backtest` to a finished run and its report."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from evidence.entry_notes import read_entry_notes
from evidence.proof import Given, prove
from evidence.report_data import Extras, report_data
from evidence.report_html import report_html
from evidence.run_card import BOOK_FILE
from scripts import cli
from scripts.backtest_plan import BacktestPlan, make_plan
from scripts.backtest_run import Finished, bars_inside, describe, results_in, run_backtest
from scripts.bot_session import orderly_end


def command(arguments: argparse.Namespace) -> int:
    """Run a backtest, prove and report it; gives the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(
        level=arguments.log_level or "WARNING", stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    plan = make_plan(arguments)
    print(describe(plan), file=sys.stderr)
    stop = threading.Event()
    with orderly_end(stop):
        finished = run_backtest(plan, stop)
    if finished is None:
        return cli.complain("stopped; the same command goes on, what was trained is kept", cli.INTERRUPTED)
    data = _reported(plan, finished)
    figures = {name: data[name] for name in ("verdict", "headline")}
    cli.show(figures, as_json=arguments.json, text=_text(data, plan))
    return cli.DONE


def _reported(plan: BacktestPlan, finished: Finished) -> Mapping[str, object]:
    """Prove what the run shows and write proof.json, report.json and report.html."""
    notes = read_entry_notes(plan.folder / BOOK_FILE)
    given = Given(symbols=plan.symbols, notes=notes, runs=plan.settings.backtest.random_entry_runs)
    proof = prove(finished.book, bars_inside(plan), plan.settings, seed=plan.seed, given=given).as_dict()
    data = report_data(finished.book, finished.run, proof, Extras(references=notes.references))
    _write_json(plan.folder / "proof.json", proof)
    _write_json(plan.folder / "report.json", data)
    (plan.folder / "report.html").write_text(report_html(data), encoding="utf-8")
    return data


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _text(data: Mapping[str, object], plan: BacktestPlan) -> str:
    said = data["verdict"]
    words = [said["sentence"], said["advice"]] if isinstance(said, Mapping) else [said]
    return "\n".join([*map(str, words), results_in(plan.folder)])
