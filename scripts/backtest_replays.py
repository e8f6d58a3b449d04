"""The replays of a backtest: long ones beside each other, each in a process of its own, short ones in turn."""

from __future__ import annotations

import io
import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TextIO

from bn_ml.domain.market import Symbol
from bn_ml.errors import StateError
from bn_ml.hardware import usable_cores
from bn_ml.settings import Settings
from scripts.replay_progress import ReplayProgress
from scripts.wiring import Extras, open_bot
from scripts.worlds import open_world

LONG_BARS = 100_000
"""Symbol-bars from which a process of its own is worth its start."""

LOOK_S = 0.5


def replay_all(runs: Sequence[Settings], stop: threading.Event, stream: TextIO, *, bars: int) -> bool:
    """Replay every configuration to its end, each into its own book; False when told to stop before.

    `bars` is the number of symbol-bars of one replay. Raises `StateError` when a replay beside this one failed.
    """
    if bars < LONG_BARS or usable_cores() < 2:
        return all(replay(run, stop, stream, before=number, runs=len(runs)) for number, run in enumerate(runs))
    with _beside(runs[1:]) as others:
        if not replay(runs[0], stop, stream):
            return False
        return all(_ended(other, stop) for other in others)


def replay(settings: Settings, stop: threading.Event, stream: TextIO, *, before: int = 0, runs: int = 1) -> bool:
    """Run the bot until the end of the span; False when it was told to stop before."""
    world = open_world(settings, "replay", stop)
    progress = ReplayProgress(world, stream=stream, before=before, runs=runs)
    symbols = tuple(map(Symbol, settings.universe.training_symbols))
    bot = open_bot(settings, world, Extras(watchers=(progress.watch,), symbols=symbols))
    # A replay that was cut off starts anew from its first bar: nothing of it has to survive a power failure.
    bot.store.session.execute("PRAGMA synchronous = OFF")
    try:
        bot.engine.run(lambda: stop.is_set() or (world.ends_at is not None and world.clock.now() >= world.ends_at))
        for export in bot.exports:
            export.flush()
    finally:
        bot.close()
    return not stop.is_set()


@contextmanager
def _beside(runs: Sequence[Settings]) -> Iterator[list[BaseProcess]]:
    """Replay in processes of their own; those still running at the end are ended."""
    context = multiprocessing.get_context("spawn")
    others: list[BaseProcess] = [context.Process(target=_alone, args=(run,), daemon=True) for run in runs]
    for other in others:
        other.start()
    try:
        yield others
    finally:
        for other in others:
            other.terminate()
            other.join()


def _alone(settings: Settings) -> None:
    # The one that started this process decides when it ends; a Ctrl-C reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replay(settings, threading.Event(), io.StringIO())


def _ended(other: BaseProcess, stop: threading.Event) -> bool:
    while other.is_alive() and not stop.is_set():
        other.join(LOOK_S)
    if stop.is_set():
        return False
    if other.exitcode:
        raise StateError(f"the replay beside this one ended with code {other.exitcode}; its error stands above")
    return True
