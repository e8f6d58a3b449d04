"""The road from the flags of `bnml-backtest` to a finished run and its report."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import threading
from collections.abc import Mapping

from evidence.entry_notes import read_entry_notes
from evidence.report_making import Market, report_of, write_report
from evidence.run_card import BOOK_FILE
from scripts import cli
from scripts.backtest_plan import BacktestPlan, make_plan
from scripts.backtest_run import Finished, bars_inside, describe, results_in, run_backtest
from scripts.bot_session import orderly_end


def command(arguments: argparse.Namespace) -> int:
    """Run a backtest, prove and report it; gives the exit code."""
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
    market = Market(bars_inside(plan), plan.settings, seed=plan.seed, later=finished.later)
    data = report_of(finished.book, finished.run, read_entry_notes(plan.folder / BOOK_FILE), market)
    proof = json.dumps(data["proof"], indent=1, sort_keys=True)
    (plan.folder / "proof.json").write_text(proof + "\n", encoding="utf-8")
    write_report(data, plan.folder / "report.html")
    return data


def _text(data: Mapping[str, object], plan: BacktestPlan) -> str:
    said = data["verdict"]
    words = [said["sentence"], said["advice"]] if isinstance(said, Mapping) else [said]
    return "\n".join([*map(str, words), results_in(plan.folder)])
