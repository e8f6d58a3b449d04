"""What both trainers share: the road from flags to a finished run and its result."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import cli

if TYPE_CHECKING:
    from bn_ml.domain.market import Symbol
    from bn_ml.settings import Settings
    from ml_engine.training_progress import Message, SymbolOutcome, TrainingFinished

log = logging.getLogger("bnml.trainer")


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
    signal.signal(signal.SIGTERM, _interrupt)


def load(arguments: argparse.Namespace) -> Settings:
    """Load the settings with the trainers' flags laid over them."""
    from bn_ml.config import load_settings

    chosen = {"model.models_dir": arguments.models_dir, "data.paper_market_data_mode": arguments.market_data}
    overrides = {key: str(value) for key, value in chosen.items() if value is not None}
    loaded = load_settings(arguments.config, overrides=overrides)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    return loaded.settings


def run_once(arguments: argparse.Namespace, settings: Settings, *, trained_by: str) -> Run:
    """Choose the symbols, read the market, train, and give every outcome."""
    from bn_ml.domain.market import from_ms
    from ml_engine.bundle_signing import key_file
    from ml_engine.training_data import load_market
    from ml_engine.training_progress import UP_TO_DATE, SymbolOutcome
    from ml_engine.training_session import TrainingJob, finished, run_session, symbols_to_train
    from scripts.market_basket import basket
    from scripts.training_market import open_history, training_clock, training_end

    wanted = _symbols(arguments, settings)
    clock = training_clock(settings, arguments.until)
    history, source = open_history(settings, clock)
    end_ms = training_end(settings, clock, arguments.until, history, wanted)
    trained_at = from_ms(end_ms)
    market = load_market(history, wanted, basket(settings), settings.model, end_ms=end_ms)
    signing_key = key_file(Path(settings.model.models_dir), os.environ)
    job = TrainingJob(settings, market, arguments.quick, trained_at, trained_by, signing_key)
    due, fresh = wanted, wanted[:0]
    if _missing_only(arguments, settings):
        limit = arguments.max_model_age_hours or settings.model.retraining.max_model_age_hours
        due, fresh = symbols_to_train(job.store(), wanted, now=trained_at, max_age_hours=limit)
    log.info(
        "training %d of %d symbols from %s until %s, %s, fixed parameters (no search)",
        len(due),
        len(wanted),
        source,
        from_ms(end_ms).isoformat(),
        "quick" if arguments.quick else "full",
    )
    emit = _emit_json if arguments.progress_json else _emit_text
    outcomes = run_session(job, due, emit, jobs=arguments.jobs or max(1, (os.cpu_count() or 1) - 1))
    everything = (*outcomes, *(SymbolOutcome(symbol, UP_TO_DATE) for symbol in fresh))
    total = finished(everything)
    if arguments.progress_json:
        emit(total)
    return Run(everything, total, source)


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


def _symbols(arguments: argparse.Namespace, settings: Settings) -> tuple[Symbol, ...]:
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


def _missing_only(arguments: argparse.Namespace, settings: Settings) -> bool:
    """Whether young bundles stay: a named symbol is trained unless the flag says otherwise."""
    if arguments.train_all:
        return False
    return bool(arguments.train_missing_only or (settings.universe.train_missing_only and not arguments.symbol))


def _emit_json(message: Message) -> None:
    from ml_engine.training_progress import encode

    print(encode(message), flush=True)


def _emit_text(message: Message) -> None:
    from ml_engine.training_progress import TrainingProgress

    if isinstance(message, TrainingProgress):
        eta = f", about {message.eta_s:.0f} s left" if message.eta_s else ""
        log.info("[%d/%d] %s %s%s", message.index, message.total, message.symbol, message.phase, eta)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
