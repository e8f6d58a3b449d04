"""Runs a backtest: trains as of each date, replays the bot over the stored bars, and writes what came of it."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, iso
from bn_ml.errors import StateError
from bn_ml.settings import Settings
from data_manager.bars import Bars
from evidence.book import Book, read_book
from evidence.headline import total_return
from evidence.results import write_results
from evidence.run_card import BOOK_FILE, RUN_FILE, RunCard, write_run
from scripts.backtest_bars import BASE
from scripts.backtest_plan import BacktestPlan
from scripts.backtest_replays import replay_all
from scripts.backtest_training import TrainingRecord, train_walk_forward

STARTED, LATER_FILE = "started.txt", "later.db"
WRITTEN = (RUN_FILE, "backtest_summary.*", "trades.csv", "equity.csv", "proof.json", "report.html", "report.json")
ASSUMPTIONS = (
    "An order decided on closed bars meets the next bar's open, with spread and depth usual for the symbol's turnover.",
    "Inside a bar the price is taken to reach the stop before the target unless finer bars are stored.",
    "Resting orders fill at most a share of a bar's volume (backtest.max_participation_pct).",
    "Fees are taken from what is received, at risk.fees_pct; BNB discounts are not assumed.",
    "Models and data are looked up as of the simulated instant.",
    "Symbols are those of the configuration: what was delisted since is missing unless it is stored and configured.",
)


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished backtest: its card, its book, and the total return of the same run deciding one bar later."""

    run: RunCard
    book: Book
    later: float


def run_backtest(plan: BacktestPlan, stop: threading.Event, stream: TextIO = sys.stderr) -> Finished | None:
    """Run a plan to its end; None when told to stop. What was trained by then is not trained again."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    _make_room(plan)
    record = train_walk_forward(plan, _Told(stream), stop) if plan.walk_forward else None
    if stop.is_set() or not replay_all((plan.settings, _a_bar_late(plan)), stop, stream, bars=_count(plan)):
        return None
    run = _card(plan, record)
    book = read_book(plan.folder / BOOK_FILE)
    write_results(plan.folder, book)
    write_run(plan.folder, run)
    return Finished(run, book, total_return(read_book(plan.folder / LATER_FILE)))


def bars_inside(plan: BacktestPlan) -> dict[Symbol, Bars]:
    """Give the bars of the traded symbols."""
    return {symbol: plan.bars[symbol] for symbol in plan.symbols}


def _count(plan: BacktestPlan) -> int:
    """Count the symbol-bars of one replay."""
    return len(plan.symbols) * int((plan.end - plan.begin) / BASE.length)


def _make_room(plan: BacktestPlan) -> None:
    """Take away the book of an earlier run of this folder: a replay always starts from its first bar.

    Raises `StateError` for a book that no backtest wrote.
    """
    mark = plan.folder / STARTED
    if (plan.folder / BOOK_FILE).exists() and not mark.exists():
        raise StateError(f"{plan.folder / BOOK_FILE}: this book was not written by a backtest; give another --out-dir")
    for name in (f"{BOOK_FILE}*", f"{LATER_FILE}*", "*.telemetry.db*", "santrade_intelligence*", *WRITTEN):
        for path in plan.folder.glob(name):
            path.unlink()
    mark.write_text(plan.fingerprint + "\n", encoding="utf-8")


def _a_bar_late(plan: BacktestPlan) -> Settings:
    """Give the settings of the same run with every decision one bar older, in a book of its own."""
    settings = plan.settings
    late = settings.backtest.model_copy(update={"latency_bars": settings.backtest.latency_bars + 1})
    # Nothing is shared: the two may run at the same time.
    storage = settings.storage.model_copy(update={"sqlite_path": str(plan.folder / LATER_FILE)})
    monitoring = settings.monitoring.model_copy(update={"metrics_dir": plan.folder / "later_metrics"})
    return settings.model_copy(update={"backtest": late, "storage": storage, "monitoring": monitoring})


def _card(plan: BacktestPlan, record: TrainingRecord | None) -> RunCard:
    settings = plan.settings
    return RunCard(
        kind="backtest",
        begin=plan.begin,
        end=plan.end,
        quote_asset=settings.base_quote,
        symbols=tuple(map(str, plan.symbols)),
        models=record.told()
        if record
        else "bundles found in model.models_dir, each from the instant it was valid from",
        fees_frac=settings.risk.fees_pct,
        slippage_frac=settings.risk.slippage_pct,
        config_sha256=plan.config_sha256,
        data_sha256=plan.data_sha256,
        seed=plan.seed,
        left_out=plan.left_out,
        assumptions=ASSUMPTIONS,
    )


class _Told:
    """Tells each training on one line of a terminal, or every tenth on a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._clock = SystemClock()
        self._began = self._clock.monotonic()
        self._first = 0

    def __call__(self, at: object, done: int, total: int, symbol: str) -> None:
        self._first = self._first or done - 1
        spent = self._clock.monotonic() - self._began
        left = spent / max(done - self._first, 1) * (total - done)
        line = f"training {done}/{total} {symbol} as of {at:%Y-%m-%d} ETA {left:.0f} s"
        if self._stream.isatty():
            self._stream.write(f"\r{line:<78}" + ("\n" if done == total else ""))
        elif done % 10 == 0 or done == total:
            self._stream.write(line + "\n")
        self._stream.flush()


def describe(plan: BacktestPlan) -> str:
    """Tell in a few lines what is about to run."""
    lines = [
        f"backtest {iso(plan.begin)} to {iso(plan.end)}, {len(plan.symbols)} symbols, "
        f"{len(plan.trainings)} training dates, results in {plan.folder}"
    ]
    lines += [f"left out: {item.symbol}: {item.reason}" for item in plan.left_out]
    return "\n".join(lines)


def results_in(folder: Path) -> str:
    """Name what was written."""
    return f"written to {folder}: backtest_summary.json, trades.csv, equity.csv, report.html"
