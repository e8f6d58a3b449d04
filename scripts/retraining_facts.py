"""What the triggers of retraining are judged by, read from the state database and the log beside it, read-only."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.codecs import from_json
from bn_ml.database import reading
from bn_ml.domain.market import Symbol, from_iso, to_ms
from bn_ml.domain.positions import Position
from bn_ml.errors import ModelError, StateError
from bn_ml.prediction_log import PredictionLog, log_beside
from bn_ml.settings import Settings
from bn_ml.state_reader import StateReader
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.live_quality import baseline, live_record
from ml_engine.retraining_triggers import QUICK, LiveRecord, SymbolFacts
from scripts.wiring import open_bundles

log = logging.getLogger(__name__)

# Reading a fortnight of predictions takes milliseconds: a loop takes them in turn.
SYMBOLS_PER_LOOK = 5
LONGEST_RECORD = timedelta(days=14)

Serving = Callable[[Symbol, datetime], BundleMetadata | None]


class RetrainingFacts:
    """Gathers the facts of symbols; without a readable database only the bundles themselves are known."""

    def __init__(self, state: Path, serving: Serving) -> None:
        """Name the state database and how to find the metadata of the bundle that serves (None without one)."""
        self._state = state
        self._serving = serving
        self._live: dict[Symbol, tuple[int, LiveRecord]] = {}
        self._turn = 0

    def gather(self, symbols: Sequence[Symbol], now: datetime) -> tuple[SymbolFacts, ...]:
        """Give the facts of the symbols, in the given order."""
        serving = {symbol: self._serving(symbol, now) for symbol in symbols}
        known = {symbol: metadata for symbol, metadata in serving.items() if metadata is not None}
        self._renew(known, now)
        drifting = self._drifting()
        return tuple(
            SymbolFacts(symbol)
            if (metadata := serving[symbol]) is None
            else SymbolFacts(
                symbol=symbol,
                trained_at=metadata.trained_at,
                label_end=metadata.label_end,
                baseline=baseline(metadata),
                live=self._live_of(symbol, metadata.version),
                drifting_since=drifting.get(symbol),
                provisional=metadata.recipe == QUICK,
            )
            for symbol in symbols
        )

    def scanned(self) -> tuple[Symbol, ...]:
        """Give the symbols of the bot's last scan, none without one."""
        rows = _object(self._value("latest_scan")).get("rows")
        names = [_object(row).get("symbol") for row in rows] if isinstance(rows, list) else []
        return tuple(Symbol(name) for name in names if isinstance(name, str))

    def _live_of(self, symbol: Symbol, version: int) -> LiveRecord:
        known = self._live.get(symbol)
        return known[1] if known is not None and known[0] == version else LiveRecord()

    def _renew(self, serving: Mapping[Symbol, BundleMetadata], now: datetime) -> None:
        """Work out the records of the next few symbols anew."""
        names = list(serving)
        if not names or not self._state.exists():
            return
        begin = self._turn % len(names)
        chosen = (names * 2)[begin : begin + min(SYMBOLS_PER_LOOK, len(names))]
        self._turn = begin + len(chosen)
        results = self._results(now - LONGEST_RECORD)
        told = PredictionLog(log_beside(self._state))
        for symbol in chosen:
            metadata = serving[symbol]
            since_ms = to_ms(max(metadata.valid_from, now - LONGEST_RECORD))
            span = (since_ms, to_ms(now))
            won = results.get((symbol, metadata.version), ())
            record = live_record(metadata, told.read(symbol, *span), told.outcomes(symbol, *span), won)
            self._live[symbol] = (metadata.version, record)
        told.close()

    def _results(self, since: datetime) -> Mapping[tuple[Symbol, int], Sequence[bool]]:
        """Give, by symbol and bundle version, whether each position closed since then won."""
        found: dict[tuple[Symbol, int], list[bool]] = defaultdict(list)
        try:
            with reading(self._state) as connection:
                rows = connection.execute(
                    "SELECT json FROM position_book WHERE status = 'CLOSED' AND closed_ms >= ?", (to_ms(since),)
                ).fetchall()
            for row in rows:
                position = from_json(Position, row["json"])
                if position.bundle_version is not None:
                    found[position.symbol, position.bundle_version].append(position.realized_quote > 0)
        except StateError:
            return {}
        return found

    def _drifting(self) -> Mapping[Symbol, datetime]:
        return drifting_symbols(self._value("drift_status"))

    def _value(self, key: str) -> object:
        try:
            return StateReader(self._state).kv(key) if self._state.exists() else None
        except StateError as error:
            log.warning("%s is not readable: %s", key, error)
            return None


class ServingOnDisk:
    """Finds the bundle in service in the models folder; one is read again only when its directory changed."""

    def __init__(self, settings: Settings) -> None:
        """Name the folder by the settings."""
        self._store = open_bundles(settings, FeatureEngineer(settings.model).feature_hash)
        self._known: dict[Symbol, BundleMetadata | None] = {}

    def __call__(self, symbol: Symbol, now: datetime) -> BundleMetadata | None:
        """Give the metadata of a symbol's bundle, None when there is none that may serve."""
        for changed in self._store.poll_changes():
            self._known.pop(changed, None)
        if symbol not in self._known:
            try:
                self._known[symbol] = self._store.load(symbol).metadata
            except ModelError as error:
                log.info("no usable bundle symbol=%s: %s", symbol, error)
                self._known[symbol] = None
        return self._known[symbol]


def drifting_symbols(content: object) -> dict[Symbol, datetime]:
    """Give the symbols in alarm and since when, from `drift_status`; none when it cannot be read."""
    alarms = {}
    for name, entry in _object(_object(content).get("symbols")).items():
        since = _object(entry).get("since")
        if _object(entry).get("detected") and isinstance(since, str):
            try:
                alarms[Symbol(name)] = from_iso(since)
            except ValueError as error:
                log.warning("drift_status is not readable: %s", error)
    return alarms


def _object(content: object) -> Mapping[str, object]:
    return content if isinstance(content, dict) else {}
