"""How the bundles in service have done, gathered read-only from the book and the log of predictions beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.codecs import from_json
from bn_ml.database import reading
from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.positions import Position
from bn_ml.errors import StateError
from bn_ml.prediction_log import PredictionLog, log_beside
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.live_quality import baseline, live_record
from monitoring.performance_decay import DecayWatch, Promise, Service, ServiceRecord
from monitoring.plain_values import number
from trader.performance import trade_return

LONGEST_RECORD = timedelta(days=90)
LOOK_EVERY = timedelta(minutes=30)
BUNDLES_PER_LOOK = 4
BUY_LABEL = 2

Returns = Mapping[tuple[Symbol, int], Sequence[float]]


class DecayLook:
    """Judges, every half hour at most, the bundles last said to be in service; meant for a thread beside the loop.

    Each call reads the records of a few bundles; they are judged together once all have been read.
    """

    def __init__(self, state: Path, watch: DecayWatch) -> None:
        """Read the book at `state` and tell through `watch`."""
        self._state = state
        self._watch = watch
        self._serving: Sequence[BundleMetadata] = ()
        self._looked_at: datetime | None = None
        self._left: list[BundleMetadata] = []
        self._read: list[Service] = []
        self._returns: Returns = {}

    def serve(self, metadata: Sequence[BundleMetadata]) -> None:
        """Say which bundles are in service; may be called from any thread."""
        self._serving = tuple(metadata)

    def __call__(self, now: datetime) -> None:
        """Look on, or begin to when it is time."""
        if not self._left:
            self._left = list(self._serving)
            if not self._left or (self._looked_at is not None and now - self._looked_at < LOOK_EVERY):
                self._left = []
                return
            self._looked_at, self._read = now, []
            self._returns = returns_since(self._state, now - LONGEST_RECORD)
        chosen, self._left = self._left[:BUNDLES_PER_LOOK], self._left[BUNDLES_PER_LOOK:]
        self._read += services(self._state, chosen, self._returns, now)
        if not self._left:
            self._watch.look(self._read, now)


def services(state: Path, serving: Sequence[BundleMetadata], returns: Returns, now: datetime) -> tuple[Service, ...]:
    """Give promise and record of each bundle, its trades out of `returns`."""
    log = PredictionLog(log_beside(state))
    found = tuple(_service(metadata, log, returns, now) for metadata in serving)
    log.close()
    return found


def returns_since(state: Path, since: datetime) -> Returns:
    """Give, by symbol and bundle version, the net returns of positions closed since then, oldest first.

    Without a readable book there are none.
    """
    found: dict[tuple[Symbol, int], list[float]] = defaultdict(list)
    try:
        with reading(state) as connection:
            rows = connection.execute(
                "SELECT json FROM position_book WHERE status = 'CLOSED' AND closed_ms >= ? ORDER BY closed_ms",
                (to_ms(since),),
            ).fetchall()
        for row in rows:
            position = from_json(Position, row["json"])
            if position.bundle_version is not None:
                found[position.symbol, position.bundle_version].append(trade_return(position))
    except StateError:
        return {}
    return found


def _service(metadata: BundleMetadata, log: PredictionLog, returns: Returns, now: datetime) -> Service:
    symbol = Symbol(metadata.symbol)
    own = returns.get((symbol, metadata.version), ())
    span = (to_ms(max(metadata.valid_from, now - LONGEST_RECORD)), to_ms(now))
    said, came = log.read(symbol, *span), log.outcomes(symbol, *span)
    live = live_record(metadata, said, came, [value > 0 for value in own])
    chances = {item.close_ms: item.buy for item in said if item.version == metadata.version}
    settled = [(chances[item.close_ms], item.label == BUY_LABEL) for item in came if item.close_ms in chances]
    record = ServiceRecord(live.loss_ratio, live.loss_days, settled, own)
    return Service(symbol, metadata.version, _promise(metadata), record)


def _promise(metadata: BundleMetadata) -> Promise:
    """Give what the report block said; the mean return counts from as many trades as the win rate."""
    said = baseline(metadata)
    mean = number(metadata.validation_metrics.get("net_return"))
    known = said.win_rate is not None and mean == mean
    return Promise(said.loss_ratio, said.win_rate, mean if known else None)
