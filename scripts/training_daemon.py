"""The retraining daemon: looks at the triggers once a cycle, and listens to the run that is due to its end.

It reads the bot's state database where there is one, never writes it, and idles while another process trains.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, iso
from bn_ml.settings import Settings
from ml_engine.retraining import TrainingSupervisor
from ml_engine.retraining_triggers import AUTO_LOOP, Plan, Policy
from ml_engine.training_progress import Message, SymbolOutcome, TrainingFinished
from scripts import cli, training_command
from scripts.retraining_facts import RetrainingFacts, ServingOnDisk
from scripts.training_runs import ChildFlags, TrainingRuns

log = logging.getLogger("bnml.trainer")

LISTENING = timedelta(seconds=0.5)


class TrainingDaemon:
    """Used by one thread; a signal that interrupts `run` is answered with `stop`."""

    def __init__(self, arguments: argparse.Namespace, settings: Settings) -> None:
        """Wire triggers, facts and the child process; nothing is started yet."""
        self._arguments = arguments
        self._settings = settings
        self._clock = SystemClock()
        self._runs = _runs(arguments, settings)
        self._facts = RetrainingFacts(Path(settings.storage.sqlite_path), ServingOnDisk(settings))
        self._told = ""

    def run(self) -> int:
        """Go on until the cycles are up or a run fails with `--fail-fast`; gives the exit code."""
        clock, arguments = self._clock, self._arguments
        clock.sleep_until(clock.now() + timedelta(seconds=arguments.startup_delay_seconds))
        pause, cycle = _pause(arguments, self._settings), 0
        while True:
            started = clock.now()
            code = self._cycle(started)
            cycle += 1
            if (code != cli.DONE and arguments.fail_fast) or cycle == arguments.max_cycles:
                return code
            clock.sleep_until(started + pause)

    def stop(self) -> None:
        """End a run under way; what it had not finished keeps its bundle."""
        self._runs.stop(self._clock.now())

    def _cycle(self, now: datetime) -> int:
        symbols = self._symbols()
        facts = self._facts.gather(symbols, self._arguments.until or now)
        asked = Plan(AUTO_LOOP, symbols) if self._arguments.train_all else None
        run = self._runs.look(facts, now, asked=asked)
        if run is None and not self._runs.starting_failed:
            self._say_waiting()
            return cli.DONE
        return self._report(self._heard())

    def _heard(self) -> list[Message]:
        """Follow the child to its end."""
        messages = self._listen()
        while self._runs.running:
            self._clock.sleep_until(self._clock.now() + LISTENING)
            messages += self._listen()
        return messages + self._listen()

    def _listen(self) -> list[Message]:
        heard = self._runs.poll(self._clock.now())
        emit = training_command.emitter(self._arguments)
        for message in heard:
            emit(message)
        return heard

    def _report(self, messages: Sequence[Message]) -> int:
        outcomes = tuple(message for message in messages if isinstance(message, SymbolOutcome))
        ends = [message for message in messages if isinstance(message, TrainingFinished)]
        finished = ends[-1] if ends else TrainingFinished("failed", error="the training process told no result")
        code = training_command.present(training_command.Run(outcomes, finished, "trainer"), self._arguments)
        return cli.complain(finished.error, cli.FAILED) if finished.error else code

    def _symbols(self) -> tuple[Symbol, ...]:
        """Give the symbols kept trained: those named, else the configured and those the bot discovered."""
        universe = self._settings.universe
        chosen = training_command.symbols_of(self._arguments, self._settings)
        if self._arguments.symbol or not (universe.discovery.enabled and universe.discovery.train):
            return chosen
        excluded = {Symbol(name) for name in universe.exclude}
        found = [symbol for symbol in self._facts.scanned() if symbol not in excluded]
        return tuple(dict.fromkeys((*chosen, *found)))[: universe.train_max_symbols]

    def _say_waiting(self) -> None:
        """Say what waits and why, once as long as it stays the same."""
        text = "; ".join(f"{symbol}: {why}" for symbol, why in self._runs.waiting.items()) or "nothing is due"
        if text != self._told:
            log.info("idle, %s", text)
        self._told = text


def _runs(arguments: argparse.Namespace, settings: Settings) -> TrainingRuns:
    policy = Policy.of(settings)
    # Whoever starts this command wants training, also where the bot's own is switched off.
    policy = replace(policy, train_missing=True, enabled=True)
    if arguments.interval_seconds is not None:
        policy = replace(policy, interval=timedelta(seconds=arguments.interval_seconds))
    if arguments.max_model_age_hours is not None:
        policy = replace(policy, max_age=timedelta(hours=arguments.max_model_age_hours))
    supervisor = TrainingSupervisor(nice=arguments.nice or settings.model.retraining.nice)
    return TrainingRuns(settings, supervisor, _child_flags(arguments, settings), policy=policy)


def _child_flags(arguments: argparse.Namespace, settings: Settings) -> ChildFlags:
    retraining = settings.model.retraining
    named = {
        "--config": arguments.config,
        "--models-dir": arguments.models_dir,
        "--market-data": arguments.market_data,
        "--log-level": arguments.log_level,
        "--until": None if arguments.until is None else iso(arguments.until),
        "--jobs": arguments.jobs or retraining.max_cpu,
        "--started-by": "bnml-trainer-auto",
    }
    common = [part for name, value in named.items() if value is not None for part in (name, str(value))]
    common += [
        flag for flag, wished in (("--quick", arguments.quick), ("--no-challenge", arguments.no_challenge)) if wished
    ]
    hpo = retraining.hpo and settings.model.hpo.enabled and not arguments.no_hpo
    return ChildFlags(tuple(common), hpo=hpo)


def _pause(arguments: argparse.Namespace, settings: Settings) -> timedelta:
    retraining = settings.model.retraining
    if arguments.interval_seconds is not None:
        return timedelta(seconds=arguments.interval_seconds)
    if arguments.train_all:
        return timedelta(hours=retraining.interval_hours)
    return timedelta(seconds=retraining.check_interval_sec)
