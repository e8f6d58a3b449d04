"""Runs of the trainer in a child process, begun when a trigger asks for one: the same in the bot and in the daemon."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.domain.market import Symbol, iso
from bn_ml.settings import Settings
from ml_engine.retraining import TrainingSupervisor
from ml_engine.retraining_triggers import MISSING, Plan, Policy, SymbolFacts, plan
from ml_engine.training_attempts import TrainingAttempts
from ml_engine.training_locks import running_session
from ml_engine.training_progress import (
    FAILED,
    STOPPED,
    UP_TO_DATE,
    Message,
    SymbolOutcome,
    TrainingFinished,
)

log = logging.getLogger(__name__)

LONGEST_PAUSE = timedelta(hours=6)
CRASHES_FORGIVEN = 2


@dataclass(frozen=True, slots=True)
class ChildFlags:
    """How the trainer is called: what every run is told, and whether it searches.

    With `quick_first` a first bundle is a quick one, with `until_now` nothing later than the start is used.
    """

    common: Sequence[str]
    hpo: bool
    quick_first: bool = False
    until_now: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A run under way: what it was begun for and which symbols have not ended yet."""

    plan: Plan
    at: datetime
    hpo: bool
    open: frozenset[Symbol]


class TrainingRuns:
    """At most one run at a time. Nothing here raises: what goes wrong becomes a message and a later attempt."""

    def __init__(
        self, settings: Settings, supervisor: TrainingSupervisor, flags: ChildFlags, *, policy: Policy | None = None
    ) -> None:
        """Train by the settings' policy, or another one."""
        self._models_dir = Path(settings.model.models_dir)
        self._policy = policy or Policy.of(settings)
        self._pause = timedelta(seconds=settings.model.retraining.check_interval_sec)
        self._supervisor = supervisor
        self._flags = flags
        self._attempts = TrainingAttempts(self._models_dir)
        self._run: Run | None = None
        self._crashes = 0
        self._not_before: datetime | None = None
        self._first = True
        self._waiting: Mapping[Symbol, str] = {}

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._supervisor.running

    @property
    def waiting(self) -> Mapping[Symbol, str]:
        """Symbols that want training and why they are not trained now, as of the last look."""
        return self._waiting

    @property
    def starting_failed(self) -> bool:
        """Whether the last look could not start its run; the next poll tells why."""
        return self._run is not None and not self.running

    def look(self, facts: Sequence[SymbolFacts], now: datetime, *, asked: Plan | None = None) -> Run | None:
        """Begin the run that is due, or the one `asked` for; nothing while one is under way here or elsewhere."""
        if self.running:
            return None
        found = asked or plan(self._policy, facts, self._attempts.all(), now, first=self._first)
        self._first = False
        held = self._held(now) if found.batch else ""
        self._waiting = {**found.waiting, **{name: held for name in found.batch if held}}
        if not found.batch or held:
            return None
        return self.start(found, now)

    def start(self, found: Plan, now: datetime) -> Run | None:
        """Begin a run; None when the child did not start."""
        quick = found.trigger == MISSING and self._flags.quick_first
        hpo = self._flags.hpo and not quick
        self._attempts.begin(found.batch, now)
        self._run = Run(found, now, hpo, frozenset(found.batch))
        if not self._supervisor.start(self._arguments(found.batch, now, quick=quick, hpo=hpo)):
            return None
        log.info("training started trigger=%s symbols=%s", found.trigger, ",".join(found.batch))
        return self._run

    def poll(self, now: datetime) -> list[Message]:
        """Give what the child said since the last call and take it into account; never waits."""
        messages = self._supervisor.poll()
        for message in messages:
            if isinstance(message, SymbolOutcome):
                self._attempts.end(Symbol(message.symbol), message.result, now)
                self._finish(Symbol(message.symbol))
            elif isinstance(message, TrainingFinished):
                self._ended(message, now)
        return messages

    def stop(self, now: datetime) -> list[Message]:
        """End a run under way; its unfinished symbols keep their bundles and may be tried again at once."""
        self._supervisor.stop()
        return self.poll(now)

    def _held(self, now: datetime) -> str:
        elsewhere = running_session(self._models_dir)
        if elsewhere:
            return f"running elsewhere: {elsewhere}"
        if self._not_before is not None and now < self._not_before:
            return f"the training process failed {self._crashes} times in a row, next start {iso(self._not_before)}"
        return ""

    def _finish(self, symbol: Symbol) -> None:
        if self._run is not None:
            self._run = replace(self._run, open=self._run.open - {symbol})

    def _ended(self, message: TrainingFinished, now: datetime) -> None:
        unfinished = self._run.open if self._run is not None else frozenset()
        if message.status == STOPPED:
            self._attempts.withdraw(unfinished)
        else:
            for symbol in sorted(unfinished):
                self._attempts.end(symbol, UP_TO_DATE if symbol in message.up_to_date else FAILED, now)
        self._crashes = self._crashes + 1 if message.error and message.status != STOPPED else 0
        pause = min(self._pause * 2 ** min(self._crashes, 16), LONGEST_PAUSE)
        self._not_before = now + pause if self._crashes >= CRASHES_FORGIVEN else None
        self._run = None

    def _arguments(self, symbols: Sequence[Symbol], now: datetime, *, quick: bool, hpo: bool) -> list[str]:
        return [
            *(part for symbol in symbols for part in ("--symbol", str(symbol))),
            *self._flags.common,
            *(("--until", iso(now)) if self._flags.until_now else ()),
            *(() if hpo else ("--no-hpo",)),
            *(("--quick",) if quick else ()),
        ]
