"""From a feature row and a bundle to a signal. Doubt of any kind is a HOLD with a reason code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np

from bn_ml.domain.market import Symbol, from_ms
from bn_ml.domain.signals import Action, GateVerdict, Probabilities, Signal, hold
from bn_ml.errors import ModelError
from bn_ml.settings import ModelSettings, Settings, model_section
from data_manager.feed_checks import FeatureRow
from data_manager.windows import Windows
from ml_engine.bundle import OUTLIER_CENTRE, OUTLIER_MEDIAN, OUTLIER_PRECISION, OUTLIER_SCALE, ModelBundle
from ml_engine.decision import (
    Region,
    ReturnLines,
    Thresholds,
    expected_value_verdict,
    first_refusal,
    leaning,
    probability_gates,
    skill_verdict,
)
from ml_engine.inference import CompactEnsemble
from ml_engine.tree_arrays import BoolArray, FloatArray, IntArray
from ml_engine.universe_skill import largest_accepted

ROW_MAX_AGE_S = 1800.0
_HOUR_S = 3600.0


class BundleProvider(Protocol):
    """Where bundles come from. Raises `ModelError` with a reason code when there is none that may serve."""

    def load(self, symbol: Symbol) -> ModelBundle:
        """Give the bundle in service."""

    def as_of(self, symbol: Symbol, when: datetime) -> ModelBundle:
        """Give the highest version valid at an instant."""

    def poll_changes(self) -> Sequence[Symbol]:
        """Give the symbols whose bundle may have changed since the last call."""


class MLEnsemblePredictor:
    """Judges feature rows by the bundle of their symbol.

    With `as_of` (replay) the bundle is the one valid at the instant of the question; without, the newest in service,
    exchanged only by `adopt`. Thresholds are the bundle's; a threshold written in the configuration wins over it.
    `fees_frac` is the fee of one side.
    """

    def __init__(
        self,
        settings: ModelSettings | Settings | Mapping[str, object],
        bundles: BundleProvider,
        *,
        feature_hash: str | None = None,
        as_of: bool = False,
        fees_frac: float = 0.001,
    ) -> None:
        """Wire the predictor; bundles are read when first needed or by `adopt`."""
        self._settings = model_section(settings)
        self._bundles = bundles
        self._feature_hash = feature_hash
        self._as_of = as_of
        self._fees_frac = fees_frac
        self._serving: dict[Symbol, _Prepared] = {}
        self._refused: dict[Symbol, str] = {}
        self._known: set[Symbol] = set()
        self._told: dict[Symbol, int | str] = {}
        self._answers: dict[Symbol, tuple[_Prepared, int, _Answer]] = {}
        self._largest_p_value = math.inf

    def signal(self, row: FeatureRow, now: datetime) -> Signal:
        """Give the signal of one row; never raises for a bad bundle or row."""
        at = from_ms(row.close_time_ms)
        try:
            prepared = self._prepared(row.symbol, now)
            return self._judged(row, prepared, now)
        except ModelError as error:
            return hold(row.symbol, at, error.reason, row.source)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
            return hold(row.symbol, at, "model_error", row.source)

    def priced(self, signal: Signal, spread_frac: float) -> Signal:
        """Take the live spread off the expected return; a BUY that no longer pays becomes a HOLD."""
        if signal.action is not Action.BUY or signal.expected_net_frac is None:
            return signal
        net = signal.expected_net_frac - spread_frac
        gate = expected_value_verdict(net, binding=self._settings.ensemble.ev_gate)
        gates = (*(known for known in signal.gates if known.reason != gate.reason), gate)
        action, reason = (Action.BUY, None) if gate.passed else (Action.HOLD, gate.reason)
        return replace(signal, action=action, reason=reason, expected_net_frac=net, gates=gates)

    def adopt(self, now: datetime) -> tuple[tuple[Symbol, int | str], ...]:
        """Take over what changed; give each symbol's new version, or why its change was refused.

        A refused change leaves the bundle in service as it was; a bundle that is gone serves no longer. In replay every
        known symbol is looked at, for time alone may make a version valid. Bundles in service are judged together from
        here on; before the first call each stands on its own verdict.
        """
        changed = set(self._bundles.poll_changes())
        self._known |= changed
        news: list[tuple[Symbol, int | str]] = []
        for symbol in sorted(self._known if self._as_of else changed):
            outcome = self._taken_over(symbol, now)
            refused_anew = symbol in changed and isinstance(outcome, str)
            if refused_anew or self._told.get(symbol) != outcome:
                news.append((symbol, outcome))
            self._told[symbol] = outcome
        self._largest_p_value = largest_accepted(self._p_values())
        return tuple(news)

    def bundle_at(self, symbol: Symbol, now: datetime) -> ModelBundle:
        """Give the bundle that answers at `now`; raises `ModelError` with the reason code when there is none."""
        return self._prepared(symbol, now).bundle

    def acceptance(self, symbols: Iterable[Symbol], now: datetime) -> float:
        """Give the largest p-value accepted when the bundles that answer for these symbols are judged together."""
        found = []
        for symbol in symbols:
            try:
                found.append(self.bundle_at(symbol, now).metadata.skill)
            except ModelError:
                continue
        return largest_accepted(item.slope_p_value for item in found if item and item.slope_p_value is not None)

    def without_bundle(self, symbol: Symbol, now: datetime) -> str | None:
        """Give the reason code why no bundle answers at `now`; None when one does."""
        try:
            self._prepared(symbol, now)
        except ModelError as error:
            return error.reason
        return None

    def window_bars(self, symbol: Symbol, now: datetime) -> int:
        """Give how many rows, the newest included, the bundle answering at `now` looks at; 0 for the newest alone."""
        try:
            return self._prepared(symbol, now).bundle.ensemble.window_bars
        except ModelError:
            return 0

    def overrides(self, symbol: Symbol, now: datetime) -> dict[str, tuple[float, float]]:
        """Give thresholds set in the configuration that differ from the bundle's: name -> (bundle's, configured)."""
        own = self._prepared(symbol, now).bundle.metadata.decision_params
        used = self._thresholds(self._prepared(symbol, now).bundle)
        pairs = {name: (getattr(own, name), getattr(used, name)) for name in Thresholds.__slots__}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def _p_values(self) -> list[float]:
        skills = (prepared.bundle.metadata.skill for prepared in self._serving.values())
        return [skill.slope_p_value for skill in skills if skill is not None and skill.slope_p_value is not None]

    def _prepared(self, symbol: Symbol, now: datetime) -> _Prepared:
        known = self._serving.get(symbol)
        if known is None and symbol in self._refused and not self._as_of:
            raise ModelError(f"{symbol}: no bundle serves", reason=self._refused[symbol])
        if known is None or self._as_of:
            try:
                bundle = self._fetch(symbol, now)
                if known is None or known.bundle is not bundle:
                    known = self._serving[symbol] = _prepare(bundle)
            except ModelError as error:
                self._refused[symbol] = error.reason
                raise
        return known

    def _taken_over(self, symbol: Symbol, now: datetime) -> int | str:
        before = self._serving.get(symbol)
        try:
            bundle = self._fetch(symbol, now)
            if before is None or before.bundle is not bundle:
                self._serving[symbol] = _prepare(bundle)
        except ModelError as error:
            if error.reason == "no_bundle":
                self._serving.pop(symbol, None)
            self._refused[symbol] = error.reason
            return error.reason
        self._refused.pop(symbol, None)
        return bundle.version

    def _fetch(self, symbol: Symbol, now: datetime) -> ModelBundle:
        bundle = self._bundles.as_of(symbol, now) if self._as_of else self._bundles.load(symbol)
        if self._feature_hash is not None and bundle.metadata.feature_hash != self._feature_hash:
            raise ModelError(f"{symbol}: the bundle knows other features", reason="feature_mismatch")
        return bundle

    def _judged(self, row: FeatureRow, prepared: _Prepared, now: datetime) -> Signal:
        metadata = prepared.bundle.metadata
        at = from_ms(row.close_time_ms)
        opening = self._opening_gates(metadata.valid_from, at, now)
        values = prepared.pick(row)
        missing = prepared.missing(values) + prepared.lacks_window(row)
        entry = (*opening, GateVerdict("nan_feature", float(missing), 0.0, missing == 0))
        reason = first_refusal(entry)
        if reason is not None:
            unknown = hold(row.symbol, at, reason, row.source)
            version, base_rate = prepared.bundle.version, metadata.buy_base_rate
            return replace(unknown, gates=entry, bundle_version=version, base_rate=base_rate)
        answer = self._answer(row, prepared, values)
        direction = leaning(answer.final)
        limits = self._thresholds(prepared.bundle)
        net = None if answer.expected_gross is None else answer.expected_gross - 2.0 * self._fees_frac
        gates = (*entry, *self._evidence_gates(prepared, answer), *probability_gates(answer.final, direction, limits))
        if net is not None and direction is Action.BUY:
            gates = (*gates, expected_value_verdict(net, binding=self._settings.ensemble.ev_gate))
        refusal = first_refusal(gates)
        return Signal(
            symbol=row.symbol,
            action=direction if refusal is None else Action.HOLD,
            probabilities=answer.final,
            at=at,
            reason=refusal,
            base_rate=metadata.buy_base_rate,
            buy_threshold=limits.min_buy_proba,
            expected_net_frac=net,
            members=answer.members,
            bundle_version=prepared.bundle.version,
            data_source=row.source,
            gates=gates,
            width_frac=answer.width_frac,
        )

    def _opening_gates(self, valid_from: datetime, at: datetime, now: datetime) -> tuple[GateVerdict, ...]:
        since_h = (now - valid_from).total_seconds() / _HOUR_S
        row_age_s = (now - at).total_seconds()
        most_h = self._settings.max_bundle_age_hours
        return (
            GateVerdict("no_bundle", since_h, 0.0, since_h >= 0.0),
            GateVerdict("bundle_stale", since_h, most_h, since_h <= most_h),
            GateVerdict("data_stale", row_age_s, ROW_MAX_AGE_S, 0.0 <= row_age_s <= ROW_MAX_AGE_S),
        )

    def _evidence_gates(self, prepared: _Prepared, answer: _Answer) -> tuple[GateVerdict, ...]:
        ensemble = self._settings.ensemble
        skill = skill_verdict(
            prepared.bundle.metadata, binding=ensemble.skill_gate, largest_p_value=self._largest_p_value
        )
        if prepared.region is None or answer.distance is None:
            return (skill,)
        inside = answer.distance <= prepared.region.limit or not ensemble.outlier_gate
        return (GateVerdict("outlier", answer.distance, prepared.region.limit, inside), skill)

    def _answer(self, row: FeatureRow, prepared: _Prepared, values: FloatArray) -> _Answer:
        kept = self._answers.get(row.symbol)
        if kept is not None and kept[0] is prepared and kept[1] == row.close_time_ms and kept[2].row is row:
            return kept[2]
        answer = prepared.answer(row, values)
        self._answers[row.symbol] = (prepared, row.close_time_ms, answer)
        return answer

    def _thresholds(self, bundle: ModelBundle) -> Thresholds:
        written = self._settings.ensemble.model_fields_set
        chosen = {
            name: getattr(self._settings.ensemble if name in written else bundle.metadata.decision_params, name)
            for name in Thresholds.__slots__
        }
        return Thresholds(**chosen)


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What a bundle says about one row."""

    row: FeatureRow
    final: Probabilities
    members: Mapping[str, Probabilities]
    expected_gross: float | None
    distance: float | None
    width_frac: float


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What an ensemble says about some rows: SELL, HOLD, BUY of each, calibrated and by member."""

    final: Sequence[Sequence[float]]
    members: Mapping[str, Sequence[Sequence[float]]]


@dataclass(slots=True, eq=False)
class _Prepared:
    """A bundle with what every row needs of it, worked out once."""

    bundle: ModelBundle
    required: BoolArray
    region: Region | None
    lines: ReturnLines | None
    columns: tuple[str, ...] = ()
    places: IntArray | None = None
    block: FloatArray | None = None
    judged: _Judged | None = None
    given: Windows | None = None
    windows: Windows | None = None

    def pick(self, row: FeatureRow) -> FloatArray:
        """Give the bundle's columns of the row, shape (k,); raises `ModelError` when the row lacks one."""
        if self.places is None or self.columns is not row.columns:
            known = {name: place for place, name in enumerate(row.columns)}
            absent = [name for name in self.bundle.metadata.feature_columns if name not in known]
            if absent or len(row.columns) != len(row.values):
                raise ModelError(f"{row.symbol}: the row lacks {absent[:3]}", reason="feature_mismatch")
            self.places = np.array([known[name] for name in self.bundle.metadata.feature_columns], dtype=np.int64)
            self.columns = row.columns
        values: FloatArray = row.values[self.places]
        return values

    def missing(self, values: FloatArray) -> int:
        """Count required values that are not finite, and optional ones that are infinite."""
        return int((~np.isfinite(values) & (self.required | ~np.isnan(values))).sum())

    def lacks_window(self, row: FeatureRow) -> bool:
        """Whether the vote needs the rows before this one and they are not all there."""
        length = self.bundle.ensemble.window_bars
        if not length or self.places is None:
            return False
        if row.window is None or row.window.length != length:
            return True
        if self.given is not row.window:
            self.given, self.windows = row.window, row.window.pick(self.places).complete(self.required)
        return self.windows is None or not self.windows.known[row.place]

    def answer(self, row: FeatureRow, values: FloatArray) -> _Answer:
        """Give what the ensemble says about a row; a block of rows is asked about once, at the first of them."""
        judged, place = self._asked(row, values)
        final = _distribution(judged.final[place])
        members = {name: _distribution(part[place]) for name, part in judged.members.items()}
        width, gross, wide = self.bundle.metadata.width, None, 0.0
        if width is not None:
            wide = width.at(volatility_frac=row.volatility_frac, atr_frac=row.atr_frac)
            gross = None if self.lines is None else self.lines.lower((final.buy - final.sell) * wide)
        distance = None if self.region is None else self.region.distance(values)
        return _Answer(row, final, members, gross, distance, wide)

    def _asked(self, row: FeatureRow, values: FloatArray) -> tuple[_Judged, int]:
        if row.block is None:
            return _ask(self.bundle.ensemble, values[None, :], self.windows), 0
        if self.judged is None or self.block is not row.block:
            self.block, self.judged = row.block, _ask(self.bundle.ensemble, row.block[:, self.places], self.windows)
        return self.judged, row.place


def _prepare(bundle: ModelBundle) -> _Prepared:
    metadata, reference = bundle.metadata, bundle.reference
    optional = set(metadata.optional_columns)
    region = None
    if metadata.outlier is not None:
        absent = {OUTLIER_MEDIAN, OUTLIER_CENTRE, OUTLIER_SCALE, OUTLIER_PRECISION} - set(reference)
        if absent:
            raise ModelError(f"{metadata.symbol}: the bundle lacks {sorted(absent)}", reason="bundle_refused")
        region = Region(
            median=reference[OUTLIER_MEDIAN],
            centre=reference[OUTLIER_CENTRE],
            scale=reference[OUTLIER_SCALE],
            precision=reference[OUTLIER_PRECISION],
            limit=metadata.outlier.limit,
        )
    required = np.array([name not in optional for name in metadata.feature_columns])
    lines = None if metadata.expected_value is None else ReturnLines.of(metadata.expected_value)
    return _Prepared(bundle, required, region, lines)


def _ask(ensemble: CompactEnsemble, rows: FloatArray, windows: Windows | None) -> _Judged:
    raw = ensemble.member_probabilities(rows, windows)
    return _Judged(ensemble.combine(raw).tolist(), {name: part.tolist() for name, part in raw.items()})


def _distribution(values: Sequence[float]) -> Probabilities:
    sell, hold_, buy = values
    total = sell + hold_ + buy
    if not (math.isfinite(total) and total > 0.0):
        raise ModelError(f"not a distribution: {values}", reason="model_error")
    return Probabilities(sell / total, hold_ / total, buy / total)
