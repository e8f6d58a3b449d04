"""Whether a bundle's own record is honest, and whether the predictor says what the trainer said on the same bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from bn_ml.domain.market import Symbol, Timeframe, from_ms, iso, to_ms
from bn_ml.errors import MarketDataError, ModelError
from bn_ml.settings import ModelSettings, RiskSettings
from data_manager.bars import Bars
from data_manager.feature_engineer import FeatureEngineer
from data_manager.feature_feed import BatchFeatureFeed, LiveFeatureFeed, MarketBasket
from data_manager.resampling import resample
from ml_engine.audit_findings import Check, Notes
from ml_engine.bundle import ModelBundle, check_vectors
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.bundle_publishing import publish
from ml_engine.bundle_store import BundleStore
from ml_engine.member_records import questions
from ml_engine.predictor import MLEnsemblePredictor
from ml_engine.trainer import Trained, compact
from ml_engine.training_bundle import metadata_of, reference_arrays
from ml_engine.training_data import BASE, Sample
from ml_engine.training_report import Candidate
from ml_engine.validation import BLOCK_NAMES, row_hash

TOLERANCE = 1e-6
MOST_ASKED = 50


def record_honest(metadata: BundleMetadata, sample: Sample | None) -> Check:
    """Check dates and blocks of a bundle's metadata, and row ids where the same bars are at hand."""
    notes = Notes("bundle record")
    if not metadata.label_end < metadata.valid_from:
        notes.add(f"label_end {iso(metadata.label_end)} is not before valid_from {iso(metadata.valid_from)}")
    spans = [metadata.blocks[name] for name in BLOCK_NAMES if name in metadata.blocks]
    if len(spans) != len(BLOCK_NAMES):
        notes.add(f"blocks {sorted(metadata.blocks)} recorded, {list(BLOCK_NAMES)} expected")
    for name, (left, right) in zip(BLOCK_NAMES, pairwise(spans), strict=False):
        if left.last_t1 >= right.first_t0:
            notes.add(f"outcomes of the {name} block end {iso(left.last_t1)}, the next begins {iso(right.first_t0)}")
    if len({span.row_hash for span in spans}) != len(spans):
        notes.add("two blocks have the same row ids")
    if spans and max(span.last_t1 for span in spans) > metadata.label_end:
        notes.add("a block's outcomes end after label_end")
    tested = len(spans)
    if sample is not None:
        tested += _rows_match(notes, metadata, sample)
    return notes.close(tested, len(BLOCK_NAMES))


def dated_honestly(metadata: BundleMetadata, trained: Trained) -> Check:
    """Check that a bundle claims no earlier birth than the bars and outcomes its training read."""
    notes = Notes("bundle dates")
    if to_ms(metadata.valid_from) < trained.sample.data_end:
        known = iso(from_ms(trained.sample.data_end))
        notes.add(f"valid from {iso(metadata.valid_from)}, but trained on bars known at {known}")
    if to_ms(metadata.label_end) < trained.label_end:
        notes.add(f"label_end {iso(metadata.label_end)}, but outcomes reach {iso(from_ms(trained.label_end))}")
    return notes.close(2, 2)


def vectors_reproduce(bundle: ModelBundle) -> Check:
    """Check that the bundle gives its own test vectors."""
    notes = Notes("bundle vectors")
    try:
        check_vectors(bundle)
    except ModelError as error:
        notes.add(str(error))
    return notes.close(len(bundle.vectors.rows), 1)


@dataclass(frozen=True, slots=True)
class Served:
    """What is needed to serve a training's rows again: settings, the whole market's bars, and where to put a bundle."""

    model: ModelSettings
    risk: RiskSettings
    market: Mapping[Symbol, Bars]
    basket: Sequence[Symbol]
    benchmark: Symbol
    store: BundleStore


def parity(trained: Trained, served: Served, *, rows: int, seed: int) -> Check:
    """Ask the predictor, over both feeds, about report rows and compare with the trainer's own forecast.

    The bundle asked is the unrefitted twin the report's figures belong to.
    """
    notes = Notes("predictor parity")
    data, report = trained.sample.data, trained.blocks.report.rows
    expected = Candidate(data, trained.blocks, trained.twin, trained.vote).forecast(report)
    publish_twin(trained, served)
    count = min(rows, MOST_ASKED, len(report))
    chosen = np.random.default_rng(seed).choice(len(report), size=count, replace=False)
    asked = _Asked.of(served)
    tested = 0
    for place in sorted(chosen.tolist()):
        at_ms = int(data.t0[report[place]])
        try:
            gap, agree = asked.compare(trained.symbol, at_ms, expected[place])
        except MarketDataError:
            # The feeds refuse rows after an outage, on which a training may still learn.
            continue
        tested += 1
        if not gap <= TOLERANCE:
            notes.add(f"probabilities differ from the trainer's by {gap:.3g}", column="probabilities", row_ms=at_ms)
        if not agree:
            notes.add("the two feeds lead to different decisions", column="action", row_ms=at_ms)
    return notes.close(tested, max(1, count // 2), f"{tested} rows asked over both feeds")


def publish_twin(trained: Trained, served: Served) -> ModelBundle:
    """Put the unrefitted members of a training into a store, valid before its report block, for rehearsal alone."""
    twin = replace(trained, shipped=trained.twin, ensemble=compact(trained.twin, trained.vote))
    opened = from_ms(trained.blocks.report.first_t0 - 2 * BASE.ms)
    metadata = metadata_of(twin, served.model, served.risk, trained_at=opened, trained_by="audit")
    early = metadata.model_copy(update={"valid_from": opened, "label_end": from_ms(trained.blocks.select.last_t1)})
    return publish(
        served.store,
        early,
        members=twin.shipped.members,
        ensemble=twin.ensemble,
        asked=questions(twin, early, seed=served.model.random_state),
        reference=reference_arrays(twin),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Both feeds and the predictor over the same bars."""

    live: LiveFeatureFeed
    batch: BatchFeatureFeed
    predictor: MLEnsemblePredictor

    @classmethod
    def of(cls, served: Served) -> _Asked:
        engineer = FeatureEngineer(served.model)
        provider = _Memory(served.market)
        basket = None
        if served.benchmark in served.basket:
            basket = MarketBasket(tuple(served.basket), served.benchmark)
        # Age is no leak; the report block of a long history would be older than a bundle may be.
        model = served.model.model_copy(update={"max_bundle_age_hours": 8760.0})
        predictor = MLEnsemblePredictor(model, served.store, feature_hash=engineer.feature_hash, as_of=True)
        return cls(
            LiveFeatureFeed(engineer, provider, basket=basket),
            BatchFeatureFeed(engineer, provider, basket=basket),
            predictor,
        )

    def compare(
        self, symbol: Symbol, at_ms: int, expected: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> tuple[float, bool]:
        """Give the largest difference of probabilities from `expected`, and whether both feeds decide alike."""
        now = from_ms(at_ms)
        first = self.predictor.signal(self.live.row(symbol, now), now)
        second = self.predictor.signal(self.batch.row(symbol, now), now)
        gaps = []
        for signal in (first, second):
            probas = signal.probabilities
            said = np.array([probas.sell, probas.hold, probas.buy])
            gaps.append(float(np.abs(said - expected).max()) if signal.members else float("inf"))
        return max(gaps), (first.action, first.reason) == (second.action, second.reason)


class _Memory:
    """Gives any span of the bars it was made with, longer ones resampled."""

    def __init__(self, market: Mapping[Symbol, Bars]) -> None:
        self._bars: dict[tuple[Symbol, Timeframe], Bars] = {(name, BASE): bars for name, bars in market.items()}

    def bars(self, symbol: Symbol, timeframe: Timeframe, start_ms: int, end_ms: int) -> Bars:
        """Give bars of a span; raises `MarketDataError` for a symbol that is not there."""
        if (symbol, BASE) not in self._bars:
            raise MarketDataError(f"{symbol}: no bars")
        if (symbol, timeframe) not in self._bars:
            self._bars[symbol, timeframe] = resample(self._bars[symbol, BASE], timeframe)
        return self._bars[symbol, timeframe].between(start_ms, end_ms)


def _rows_match(notes: Notes, metadata: BundleMetadata, sample: Sample) -> int:
    """Compare recorded row ids with those of the same span of rows made anew."""
    tested = 0
    for name, span in metadata.blocks.items():
        t0 = sample.data.t0
        inside = t0[(t0 >= to_ms(span.first_t0)) & (t0 <= to_ms(span.last_t0))]
        if len(inside) != span.rows:
            continue
        tested += 1
        if row_hash(metadata.symbol, inside) != span.row_hash:
            notes.add(f"the {name} block's row ids are not those of its span", column=name)
    return tested
