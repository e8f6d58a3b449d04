"""Whether the models can be traded on, how their training goes, and what history it has to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from bn_ml.domain.market import Symbol, Timeframe, from_ms
from bn_ml.errors import MarketDataError, ModelError, StateError
from bn_ml.state_reader import StateReader
from data_manager.feature_engineer import FeatureEngineer
from data_manager.history import HistoryStore
from ml_engine.bundle_store import BundleStore
from ml_engine.training_attempts import TrainingAttempts
from ml_engine.training_locks import running_session
from scripts.doctor_findings import Check, Diagnosis, bad, doubtful, good, listed
from scripts.doctor_situation import Situation
from scripts.explain_sources import open_store
from scripts.training_status import RUNNING, shared_status, stored

EXAMINED_S = 2.2
"""How long bundles or series are read, seconds; what is left is said to be unread."""
_TRAIN = "train them: bnml-trainer --symbol SYMBOL (the running bot trains missing and stale ones by itself)"


@dataclass
class Sorted:
    """Bundles by what they are good for, each symbol with a word about it."""

    tradable: list[str] = field(default_factory=list)
    refused: dict[Symbol, str] = field(default_factory=dict)
    outdated: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def checks(situation: Situation) -> list[Check]:
    """Give what is asked of models, training and history."""
    return [
        Check("bundles", partial(bundles, situation)),
        Check("training", partial(training, situation)),
        Check("history", partial(history, situation)),
    ]


def bundles(situation: Situation) -> Iterator[Diagnosis]:
    """Tell for which symbols the bot could buy, and why not for the others; signatures and digests are verified."""
    store = open_store(situation.settings, feature_hash=FeatureEngineer(situation.settings.model).feature_hash)
    symbols = wanted(situation)
    found = _judged(situation, store, symbols)
    for symbol, why in found.refused.items():
        fix = f"train it again: bnml-trainer --symbol {symbol}, or bring the models back from a backup; until then HOLD"
        yield bad("bundles", why, fix)
    limit = situation.settings.model.max_bundle_age_hours
    for names, what in (
        (found.stale, f"older than model.max_bundle_age_hours {limit:g}"),
        (found.outdated, "trained on other features than today's"),
        (found.missing, "no bundle"),
    ):
        if names:
            yield doubtful("bundles", f"{what}, HOLD: {listed(names)}", _TRAIN)
    if found.unread:
        yield good("bundles", f"{len(found.unread)} not read, there are too many for this check")
    summary = f"{len(found.tradable)} of {len(symbols)} tradable"
    summary += f", no proven skill: {listed(found.unproven)}" if found.unproven else ""
    if found.tradable or not symbols:
        yield good("bundles", summary)
    elif found.unproven:
        fix = "nothing to mend: without proven skill the bot holds; more history or another universe may help"
        yield doubtful("bundles", summary, fix)


def training(situation: Situation) -> Iterator[Diagnosis]:
    """Tell what became of the last training and which symbols failed."""
    models = Path(situation.settings.model.models_dir)
    failed = {symbol: attempt for symbol, attempt in TrainingAttempts(models).all().items() if attempt.failures}
    error, state = _last_run(situation, models)
    fix = "read the log of the trainer, mend the cause and run bnml-trainer --symbol SYMBOL"
    if failed:
        names = [f"{symbol} ({attempt.failures} times in a row)" for symbol, attempt in failed.items()]
        yield doubtful("training", f"failed for {listed(names)}{f': {error}' if error else ''}", fix)
    elif error:
        yield doubtful("training", f"the last run told: {error}", fix)
    elif not situation.settings.model.retraining.enabled:
        yield doubtful("training", "model.retraining.enabled is false, bundles grow old", "set it to true")
    else:
        session = running_session(models)
        yield good("training", f"under way: {session}" if session else f"the last run: {state}")


def history(situation: Situation) -> Iterator[Diagnosis]:
    """Tell what is stored for training and replay, and which files cannot be read."""
    data = situation.settings.data
    replays = data.paper_market_data_mode == "replay" and not situation.is_live
    store = HistoryStore(data.replay_dir if replays else data.history_dir)
    stored_symbols = store.symbols() if store.root.is_dir() else ()
    if not stored_symbols:
        seen = f"{store.root}: nothing stored"
        fix = "fetch some: bnml-data download --symbol SYMBOL --days 365"
        yield bad("history", f"{seen} to replay", fix) if replays else good("history", f"{seen}, training fetches it")
        return
    unreadable, newest_ms, read = _series(situation, store, stored_symbols)
    for problem in unreadable:
        yield bad("history", problem, "fetch it again: bnml-data repair, or move the file away")
    if not unreadable:
        last = f", newest bar of {from_ms(newest_ms):%Y-%m-%d %H:%M} UTC" if newest_ms > 0 else ""
        yield good("history", f"{store.root}: {len(stored_symbols)} symbols{last} ({read} files read)")


def wanted(situation: Situation) -> tuple[Symbol, ...]:
    """Give the symbols the configuration names, and those it would find by itself that have a bundle already."""
    universe = situation.settings.universe
    named = [Symbol(name) for name in universe.training_symbols]
    if universe.discovery.enabled:
        named += open_store(situation.settings).symbols()
    left_out = set(universe.exclude)
    return tuple(dict.fromkeys(symbol for symbol in named if symbol not in left_out))


def _judged(situation: Situation, store: BundleStore, symbols: Sequence[Symbol]) -> Sorted:
    """Read bundle after bundle while there is time."""
    until = situation.clock.monotonic() + EXAMINED_S
    found = Sorted()
    for symbol in symbols:
        if situation.clock.monotonic() > until:
            found.unread.append(symbol)
        else:
            _sort(situation, store, symbol, found)
    return found


def _sort(situation: Situation, store: BundleStore, symbol: Symbol, found: Sorted) -> None:
    try:
        metadata = store.load(symbol).metadata
    except ModelError as error:
        if error.reason == "no_bundle":
            found.missing.append(symbol)
        elif error.reason == "feature_mismatch":
            found.outdated.append(symbol)
        else:
            found.refused[symbol] = str(error) if str(symbol) in str(error) else f"{symbol}: {error}"
        return
    age = metadata.age(situation.clock.now())
    if age > timedelta(hours=situation.settings.model.max_bundle_age_hours):
        found.stale.append(f"{symbol} ({age.total_seconds() / 86_400:.1f} days)")
    elif not metadata.tradable.verdict:
        found.unproven.append(f"{symbol} ({', '.join(metadata.tradable.reasons) or 'no reason kept'})")
    else:
        found.tradable.append(symbol)


def _last_run(situation: Situation, models: Path) -> tuple[str, str]:
    """Give the last error of a training, empty without one, and in which state the newest run was left."""
    records = [shared_status(models)]
    if situation.database.exists():
        try:
            records.append(stored(StateReader(situation.database).kv("training_status")))
        except StateError:
            # What is wrong with the book is told by its own check.
            records.append(None)
    known = [record for record in records if record is not None and record.started_at]
    if not known:
        return "", "none yet"
    newest = max(known, key=lambda record: record.updated_at or "")
    failed = newest.status != RUNNING and newest.last_error
    return (newest.last_error if failed else ""), f"{newest.status} at {newest.updated_at}"


def _series(situation: Situation, store: HistoryStore, symbols: Sequence[Symbol]) -> tuple[list[str], int, int]:
    """Look into stored files while there is time; gives problems, the newest close in ms, and how many were read."""
    until = situation.clock.monotonic() + EXAMINED_S
    problems: list[str] = []
    newest_ms = read = 0
    for symbol, timeframe in ((name, item) for name in symbols for item in store.timeframes(name)):
        if situation.clock.monotonic() > until:
            break
        read += 1
        try:
            newest_ms = max(newest_ms, _last_close_ms(store, symbol, timeframe))
        except MarketDataError as error:
            problems.append(str(error))
    return problems[:3], newest_ms, read


def _last_close_ms(store: HistoryStore, symbol: Symbol, timeframe: Timeframe) -> int:
    last_ms = store.describe(symbol, timeframe).last_ms
    return last_ms + timeframe.ms if last_ms >= 0 else 0
