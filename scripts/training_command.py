"""What both trainers share: the road from flags to a finished run and its result."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import cli

if TYPE_CHECKING:
    from bn_ml.domain.market import Symbol
    from bn_ml.settings import Settings
    from ml_engine.training_progress import Message, SymbolOutcome, TrainingFinished

log = logging.getLogger("bnml.trainer")

LOG_FILE = "trainer.log"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: every outcome and the sum."""

    outcomes: tuple[SymbolOutcome, ...]
    finished: TrainingFinished
    source: str


def prepare(arguments: argparse.Namespace) -> None:
    """Make this process and its children polite: one thread each, low priority when asked, orderly on SIGTERM."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments.nice:
        os.nice(arguments.nice)
    logging.basicConfig(level=arguments.log_level or "INFO", stream=sys.stderr, format="%(levelname)s %(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)


def load(arguments: argparse.Namespace) -> Settings:
    """Load the settings with the trainers' flags laid over them."""
    from bn_ml.config import load_settings
    from bn_ml.env import Secrets, load_env
    from monitoring.logger import add_log_file

    chosen = {"model.models_dir": arguments.models_dir, "data.paper_market_data_mode": arguments.market_data}
    overrides = {key: str(value) for key, value in chosen.items() if value is not None}
    environ = load_env(Path.cwd())
    loaded = load_settings(arguments.config, environ=environ, overrides=overrides)
    add_log_file(loaded.settings.monitoring, secrets=Secrets.from_environ(environ).hidden(), file_name=LOG_FILE)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return loaded.settings


def run_once(arguments: argparse.Namespace, settings: Settings, *, trained_by: str) -> Run:
    """Choose the symbols, read the market, train, and give every outcome."""
    from scripts.training_once import train

    return train(arguments, settings, trained_by=trained_by)


def present(run: Run, arguments: argparse.Namespace) -> int:
    """Print the result and give the exit code: 1 when any symbol failed."""
    from dataclasses import asdict

    from scripts.training_table import table

    if not arguments.progress_json:
        content: Mapping[str, object] = {
            **asdict(run.finished),
            "source": run.source,
            "symbols": [{**asdict(outcome), "verdict": outcome.verdict} for outcome in run.outcomes],
        }
        cli.show(content, as_json=arguments.json, text=table(run.outcomes))
    if run.finished.failed:
        return cli.complain(f"failed: {', '.join(run.finished.failed)}", cli.FAILED)
    return cli.DONE


def symbols_of(arguments: argparse.Namespace, settings: Settings) -> tuple[Symbol, ...]:
    """Give the symbols asked for: those named, else the configured ones."""
    from bn_ml.domain.market import Symbol
    from bn_ml.errors import ConfigError

    try:
        named = [Symbol(text) for text in arguments.symbol or ()]
    except ValueError as error:
        raise ConfigError([f"--symbol: {error}"]) from error
    excluded = {Symbol(text) for text in settings.universe.exclude}
    configured = [Symbol(text) for text in settings.universe.training_symbols]
    chosen = named or [symbol for symbol in configured if symbol not in excluded]
    distinct = tuple(dict.fromkeys(chosen))
    return distinct if named else distinct[: settings.universe.train_max_symbols]


def emitter(arguments: argparse.Namespace) -> Callable[[Message], None]:
    """Give how messages are told: as lines of JSON on stdout, or as log lines."""
    return _emit_json if arguments.progress_json else _emit_text


def _emit_json(message: Message) -> None:
    from ml_engine.training_progress import encode

    print(encode(message), flush=True)


def _emit_text(message: Message) -> None:
    from ml_engine.training_progress import TrainingProgress

    if isinstance(message, TrainingProgress):
        eta = f", about {message.eta_s:.0f} s left" if message.eta_s else ""
        log.info("[%d/%d] %s %s%s", message.index, message.total, message.symbol, message.phase, eta)


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end.

    Not the plain exception: one that passes through certain imports makes the interpreter end by the signal whatever
    the exit code is.
    """


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted
