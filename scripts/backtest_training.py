"""The trainings of a walk-forward backtest: at each date on what was known then, kept in the run's own store."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bn_ml.domain.market import Symbol, iso, to_ms
from bn_ml.hardware import usable_cores
from bn_ml.settings import AccelerationSettings
from ml_engine.acceleration import training_jobs
from ml_engine.training_data import load_market
from ml_engine.training_progress import FAILED, KEPT, TRAINED, Message, SymbolOutcome
from ml_engine.training_session import TrainingJob, run_session
from scripts.backtest_plan import BacktestPlan
from scripts.market_basket import basket
from scripts.training_market import open_history, training_clock

log = logging.getLogger("bnml.backtest")

TRAININGS = "trainings.json"
TRAINED_BY = "bnml-backtest"
Tell = Callable[[datetime, int, int, str], None]
"""Hears date, how many trainings are done, how many there are in all, and the symbol just done."""


@dataclass(slots=True)
class TrainingRecord:
    """What became of each training of a run, kept on disk so that an interrupted run goes on where it stopped."""

    path: Path
    fingerprint: str
    results: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, plan: BacktestPlan) -> TrainingRecord:
        """Read the record of this very run; another run's is not taken."""
        path = plan.folder / TRAININGS
        record = cls(path, plan.fingerprint)
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept.get("fingerprint") == plan.fingerprint:
                record.results = dict(kept["results"])
        return record

    def has(self, at: datetime, symbol: Symbol) -> bool:
        """Whether a symbol was trained as of a date, with whatever result."""
        return f"{iso(at)} {symbol}" in self.results

    def note(self, at: datetime, outcome: SymbolOutcome) -> None:
        """Write one result down."""
        verdict = ("tradable" if outcome.tradable else "no skill") if outcome.result == TRAINED else outcome.result
        why = f": {outcome.reasons[0]}" if outcome.reasons and outcome.result == FAILED else ""
        self.results[f"{iso(at)} {outcome.symbol}"] = f"{verdict}{why}"
        text = json.dumps({"fingerprint": self.fingerprint, "results": self.results}, indent=1, sort_keys=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(self.path)

    def told(self) -> str:
        """Give the sum in words."""
        counts = {name: sum(text == name for text in self.results.values()) for name in ("tradable", "no skill", KEPT)}
        failed = len(self.results) - sum(counts.values())
        parts = (
            f"{counts['tradable']} tradable",
            f"{counts['no skill']} without skill",
            f"{counts[KEPT]} times the old one kept",
            f"{failed} failed",
        )
        return f"trained as of each date, {len(self.results)} trainings: {', '.join(parts)}"


def train_walk_forward(plan: BacktestPlan, tell: Tell, stop: threading.Event) -> TrainingRecord:
    """Train every symbol as of every date of the schedule; what is recorded already is not trained again.

    Told to stop, it ends once the trainings under way are finished.
    """
    record = TrainingRecord.open(plan)
    total, symbols = len(plan.trainings) * len(plan.symbols), plan.symbols
    for number, at in enumerate(plan.trainings):
        due = tuple(symbol for symbol in symbols if not record.has(at, symbol))
        before = number * len(symbols) + len(symbols) - len(due)
        if due and not stop.is_set():
            _train(plan, at, due, _Hearer(record, at, before, total, tell, stop))
    return record


@dataclass(slots=True)
class _Hearer:
    """Notes each outcome as it happens and tells it; what fails while being stopped is left to be trained again."""

    record: TrainingRecord
    at: datetime
    done: int
    total: int
    tell: Tell
    stop: threading.Event

    def __call__(self, message: Message) -> None:
        if isinstance(message, SymbolOutcome) and not (self.stop.is_set() and message.result == FAILED):
            self.record.note(self.at, message)
            self.done += 1
            self.tell(self.at, self.done, self.total, message.symbol)


def _jobs(settings: AccelerationSettings) -> int:
    """Give how many symbols are trained at once: nobody trades meanwhile, so by default as many as there are cores."""
    return usable_cores() if settings.cpu_n_jobs == "auto" else training_jobs(settings)


def _train(plan: BacktestPlan, at: datetime, due: tuple[Symbol, ...], hear: _Hearer) -> None:
    settings = plan.settings
    history, source = open_history(settings, training_clock(settings, at))
    log.debug("training %d symbols as of %s from %s", len(due), iso(at), source)
    job = TrainingJob(
        settings=settings,
        market=load_market(history, due, basket(settings), settings.model, end_ms=to_ms(at)),
        quick=False,
        trained_at=at,
        trained_by=TRAINED_BY,
        challenges=settings.model.retraining.champion_challenger,
        hpo=plan.searches,
        keeps_all=True,
    )
    jobs = _jobs(settings.model.acceleration)
    for first in range(0, len(due), jobs):
        if not hear.stop.is_set():
            run_session(job, due[first : first + jobs], hear, jobs=jobs)
