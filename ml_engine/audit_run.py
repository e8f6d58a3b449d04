"""The leak audit: every check of features, labels, blocks and bundle on one symbol's own bars, and its self-test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.settings import ModelSettings, RiskSettings
from data_manager.bars import Bars
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.audit_bundle import Served, dated_honestly, parity, record_honest, vectors_reproduce
from ml_engine.audit_features import FeatureAudit, FeatureRoad, Market
from ml_engine.audit_findings import Check, Finding, Notes
from ml_engine.audit_labels import LabelAudit, Labeler
from ml_engine.audit_nulls import null_checks
from ml_engine.audit_plants import FEATURE_PLANTS, TRAINER_PLANTS, PlantedRoad, incomplete_as_hold
from ml_engine.audit_training import TrainingAudit
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_store import BundleStore
from ml_engine.labeling import DynamicLabeler
from ml_engine.trainer import EnsembleTrainer, Trained
from ml_engine.training_bundle import metadata_of
from ml_engine.training_data import BASE, Sample, TrainingMarket, sample, window_start_ms
from ml_engine.validation import Purge

LABEL_BARS = 4_000
PLANTED_ROWS = 4
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is audited: settings, one symbol, the market's bars up to the end of training, and how much to test."""

    model: ModelSettings
    risk: RiskSettings
    symbol: Symbol
    market: TrainingMarket
    rows: int = 50
    seed: int = 0
    max_gap_bars: int = 3
    bundle: ModelBundle | None = None

    @property
    def road(self) -> FeatureRoad:
        """The honest road to features."""
        return FeatureRoad(FeatureEngineer(self.model), self.market.basket, self.market.benchmark)

    @property
    def labeler(self) -> DynamicLabeler:
        """The honest labeler."""
        return DynamicLabeler(self.model.labeling, self.risk, max_gap_bars=self.max_gap_bars)

    @property
    def trainer(self) -> EnsembleTrainer:
        """The honest trainer, with its small recipe: what is audited are the rows it reads."""
        return EnsembleTrainer(self.model, self.risk, quick=True, max_gap_bars=self.max_gap_bars)

    @property
    def purge(self) -> Purge:
        """The distance blocks must keep, by the labels' window and the configured embargo."""
        bars = self.labeler.window_bars(BASE.ms) + 1
        configured = self.model.validation.purge_bars
        longest = bars if configured == "auto" else max(bars, configured)
        return Purge(longest * BASE.ms, self.model.validation.embargo_bars * BASE.ms)

    @property
    def bars(self) -> Bars:
        """The symbol's bars."""
        return self.market.bars[self.symbol]

    def rows_of(self) -> Sample:
        """Make the rows a training would see; raises what a training would raise."""
        return sample(self.symbol, self.market, self.model, self.risk, max_gap_bars=self.max_gap_bars)


def audit(subject: Subject, tell: Tell = lambda step: None, *, deep: bool = False) -> list[Check]:
    """Run every check; raises `MarketDataError` or `ModelError` when there is nothing to audit."""
    tell("features")
    checks = list(feature_checks(subject, subject.road))
    tell("labels")
    checks += label_checks(subject, subject.labeler.label)
    tell("training")
    found = subject.rows_of()
    trained, training = TrainingAudit(subject.trainer, found, subject.purge).run()
    checks += training
    plain = replace(trained, sample=found)
    tell("bundle")
    checks += bundle_checks(subject, plain)
    if deep:
        tell("nulls")
        checks += null_checks(found, subject.trainer, subject.model, subject.risk, seed=subject.seed)
    return checks


def feature_checks(subject: Subject, road: FeatureRoad, *, rows: int | None = None) -> Iterator[Check]:
    """Audit a road to features on the rows a training would use."""
    first = window_start_ms(subject.model, subject.market.end_ms)
    count = subject.rows if rows is None else rows
    market: Market = subject.market.bars
    return FeatureAudit(road, market, subject.symbol, first, count, subject.seed).checks()


def label_checks(subject: Subject, label: Labeler) -> list[Check]:
    """Audit a labeler on the newest bars."""
    window = subject.labeler.window_bars(BASE.ms)
    bars = subject.bars.tail(LABEL_BARS)
    return LabelAudit(label, bars, window, subject.rows, subject.seed).checks()


def bundle_checks(subject: Subject, trained: Trained) -> list[Check]:
    """Audit what a training would publish, and the bundle in service where one is given."""
    data_end = from_ms(trained.sample.data_end)
    metadata = metadata_of(trained, subject.model, subject.risk, trained_at=data_end, trained_by="audit")
    checks = [record_honest(metadata, trained.sample), dated_honestly(metadata, trained)]
    with tempfile.TemporaryDirectory(prefix="bnml-audit-") as folder:
        store = BundleStore(
            folder, feature_hash=trained.sample.feature_hash, signing_key=Path(folder, "keys", "audit.key")
        )
        market, basket = subject.market, trained_basket(subject)
        served = Served(subject.model, subject.risk, market.bars, basket, market.benchmark, store)
        checks.append(parity(trained, served, rows=subject.rows, seed=subject.seed))
    if subject.bundle is not None:
        record = record_honest(subject.bundle.metadata, trained.sample)
        checks += [replace(record, name="bundle in service"), vectors_reproduce(subject.bundle)]
    return checks


def trained_basket(subject: Subject) -> tuple[Symbol, ...]:
    """Give the symbols of the market columns, none without the benchmark."""
    market = subject.market
    return market.basket if market.benchmark in market.basket else ()


def self_test(subject: Subject, tell: Tell = lambda step: None) -> list[Check]:
    """Plant every forbidden thing into an honest pipeline, one at a time; each must be found."""
    return [_caught(name, findings) for name, findings in _planted(subject, tell)]


def _planted(subject: Subject, tell: Tell) -> Iterator[tuple[str, tuple[Finding, ...]]]:
    for name, column in FEATURE_PLANTS.items():
        tell(name)
        road = PlantedRoad(subject.road, name, column)
        checks = feature_checks(subject, road, rows=PLANTED_ROWS)
        yield name, next((found for check in checks if (found := _about(name, check))), ())
    tell("incomplete rows as HOLD")
    yield "incomplete rows as HOLD", _findings(label_checks(subject, incomplete_as_hold(subject.labeler.label)))
    rows = subject.rows_of()
    for name, kind in TRAINER_PLANTS.items():
        tell(name)
        trainer = kind(subject.model, subject.risk, quick=True, max_gap_bars=subject.max_gap_bars)
        yield name, _findings(TrainingAudit(trainer, rows, subject.purge).run()[1])
    tell("bundle dated early")
    trained = subject.trainer.train_on(rows)
    data_end = from_ms(trained.sample.data_end)
    honest = metadata_of(trained, subject.model, subject.risk, trained_at=data_end, trained_by="audit")
    early = from_ms(trained.blocks.report.first_t0)
    dated = honest.model_copy(update={"valid_from": early, "label_end": from_ms(trained.blocks.select.last_t1)})
    yield "bundle dated early", _findings([record_honest(dated, trained.sample), dated_honestly(dated, trained)])


def _about(column: str, check: Check) -> tuple[Finding, ...]:
    return tuple(finding for finding in check.findings if finding.column == column)


def _findings(checks: list[Check]) -> tuple[Finding, ...]:
    return tuple(finding for check in checks for finding in check.findings)


def _caught(name: str, findings: tuple[Finding, ...]) -> Check:
    notes = Notes(f"plant: {name}")
    if not findings:
        notes.add("was not found by any check")
    first = findings[0].text() if findings else ""
    return notes.close(1, 1, first)
