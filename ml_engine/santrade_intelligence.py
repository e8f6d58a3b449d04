"""SanTradeIntelligence: the mood of the whole market, read from every scan and learned from what followed.

A rule score (breadth, momentum, model and technical readings less risk) speaks from the first scan on. An online model
learns the benchmark's move over the label horizon, one non-overlapping sample at a time and only when its bars have
closed; it takes part while what it forecast beforehand provably beat the running class shares. The mood can only
tighten: it filters entries, shrinks sizes, trips a breaker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bn_ml.domain.market import Symbol, iso
from bn_ml.domain.signals import MarketMood, MarketRegime, ScanReport
from bn_ml.settings import Settings
from ml_engine.benchmark_view import BenchmarkView
from ml_engine.mood_snapshot import MoodSnapshot, disabled_snapshot
from ml_engine.outcome_memory import BEARISH, BULLISH, CLASS_NAMES, NEUTRAL, outcome_of
from ml_engine.santrade_state import IntelligenceState, Waiting
from ml_engine.scan_figures import INPUTS, ScanFigures, figures_of

STEP_MS = 900_000
# A band of 0.001 would be one deviation of the benchmark's move; the profiles' bands are fractions of that.
_BAND_UNIT = 0.001
_HIGH_RISK = 0.7
_MOST_WAITING = 8


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one scan came to before it is told: scores, forecast and whether the model took part."""

    raw: float
    smoothed: float
    probabilities: tuple[float, float, float]
    told: bool


class SanTradeIntelligence:
    """Reads moods. The same scans and benchmark bars, from the same state, give the same snapshots bit for bit."""

    def __init__(self, settings: Settings | Mapping[str, object], state: IntelligenceState | None = None) -> None:
        """Take the settings (a partial mapping will do) and where the last run left off."""
        self._settings = settings if isinstance(settings, Settings) else Settings.from_mapping(settings)
        section = self._settings.santrade_intelligence
        self._section = section
        self._numbers = section.numbers()
        self._horizon = self._settings.model.labeling.horizon_bars
        self._benchmark = Symbol(section.benchmark_symbol)
        self.state = state or IntelligenceState.fresh(section.online_alpha, INPUTS)

    @property
    def bars_needed(self) -> int:
        """How many of the benchmark's newest closed base bars `observe` wants to see."""
        return self._horizon * (_MOST_WAITING + 1) + 98

    def observe(self, report: ScanReport, benchmark: BenchmarkView | None, data_source: str = "") -> MoodSnapshot:
        """Read the mood of a scan; `benchmark` holds its bars closed by the scan, None when they cannot be had.

        A scan no later than the last one, or sooner after it than the configured interval, changes nothing and gives
        the last snapshot again.
        """
        if not self._section.enabled:
            return disabled_snapshot(report.at, self._section.profile, str(self._benchmark))
        last = self.state.last
        if last is not None and report.at < last.at + self._interval:
            return last
        figures = figures_of(report)
        if benchmark is not None:
            self._settle(benchmark)
        snapshot = self._read(report.at, figures, benchmark, data_source)
        self.state.last = snapshot
        self.state.updates += 1
        return snapshot

    @property
    def _interval(self) -> timedelta:
        # A microsecond at least: the same instant is never read twice.
        return timedelta(seconds=self._section.runtime_interval_sec)

    @property
    def model_ready(self) -> bool:
        """Whether the online model has seen enough to be asked at all."""
        return self.state.scaler.ready and self.state.model.samples >= self._numbers.min_samples_for_model

    @property
    def model_speaks(self) -> bool:
        """Whether the model takes part: ready, and its past forecasts provably beat the class shares."""
        return self.model_ready and self.state.memory.gain_bound() > 0.0

    def _settle(self, benchmark: BenchmarkView) -> None:
        """Learn from vectors whose horizon has closed, oldest first: forecast, score the forecast, then learn."""
        state = self.state
        due = [item for item in state.waiting if item.at_ms + self._horizon * STEP_MS <= benchmark.newest_ms]
        for item in due:
            state.waiting.remove(item)
            price = benchmark.close_at(item.at_ms + self._horizon * STEP_MS)
            if price is None:
                state.lost += 1
                continue
            outcome = outcome_of(price / item.price - 1.0, item.band)
            vector = state.scaler.scaled(item.vector) if state.scaler.ready else None
            forecast = state.model.probabilities(vector) if vector is not None and self.model_ready else None
            state.memory.take(item.score, outcome, forecast)
            if vector is not None:
                state.model.learn(vector, outcome)

    def _read(
        self, at: datetime, figures: ScanFigures, benchmark: BenchmarkView | None, data_source: str
    ) -> MoodSnapshot:
        needed = min(self._numbers.min_pairs, figures.total)
        enough = len(figures.contributing) >= max(needed, 1)
        rule = figures.rule_score(self._numbers) if enough else 0.0
        vector = figures.vector(rule)
        if enough:
            self.state.scaler.see(vector)
            self._enqueue(vector, rule, benchmark)
        reading = self._reading(rule, vector) if enough else _Reading(0.0, self.state.smoothed, (0.0, 1.0, 0.0), False)
        self.state.smoothed = reading.smoothed
        lean = self._lean(reading.smoothed) if enough else NEUTRAL
        self._count_streak(lean)
        signal = self._signal(lean, reading)
        pressure = figures.pressure(self._numbers)
        return MoodSnapshot(
            at=at,
            signal=CLASS_NAMES[signal],
            regime=self._regime(signal, reading, pressure, enough=enough),
            confidence=reading.probabilities[signal] if reading.told else 0.0,
            probabilities=reading.probabilities,
            raw_score=reading.raw,
            smoothed_score=reading.smoothed,
            pressure=pressure,
            figures=figures,
            profile=self._section.profile,
            benchmark_symbol=str(self._benchmark),
            benchmark_price=benchmark.newest_close if benchmark else None,
            predicted_move_frac=self._expected_move(reading, benchmark),
            streak=self.state.streak,
            model_samples=self.state.model.samples,
            model_ready=self.model_ready,
            model_speaks=self.model_speaks,
            data_source=data_source,
        )

    def _reading(self, rule: float, vector: tuple[float, ...]) -> _Reading:
        shares = self.state.memory.shares_near(rule)
        raw, told = rule, shares is not None
        probabilities = shares or (0.0, 1.0, 0.0)
        if self.model_speaks:
            own = self.state.model.probabilities(self.state.scaler.scaled(vector))
            blend = self._numbers.model_blend_weight
            base = shares or self.state.memory.shares()
            raw = (1.0 - blend) * rule + blend * float(own[BULLISH] - own[BEARISH])
            mixed = [(1.0 - blend) * old + blend * float(new) for old, new in zip(base, own, strict=True)]
            total = math.fsum(mixed)
            probabilities, told = (mixed[0] / total, mixed[1] / total, mixed[2] / total), True
        alpha = self._numbers.signal_smoothing_alpha if self.state.smoothing_begun else 1.0
        self.state.smoothing_begun = True
        return _Reading(raw, alpha * raw + (1.0 - alpha) * self.state.smoothed, probabilities, told)

    def _enqueue(self, vector: tuple[float, ...], rule: float, benchmark: BenchmarkView | None) -> None:
        """Let a vector wait for its outcome, at most one per horizon so that outcomes do not overlap."""
        if benchmark is None:
            return
        sigma = benchmark.sigma
        waiting, at_ms = self.state.waiting, benchmark.newest_ms
        if sigma is None or at_ms < self.state.next_sample_ms or len(waiting) >= _MOST_WAITING:
            return
        self.state.next_sample_ms = at_ms + self._horizon * STEP_MS
        waiting.append(Waiting(at_ms, benchmark.newest_close, self._band(sigma), rule, vector))

    def _band(self, sigma: float) -> float:
        """Give how far the benchmark must move over the horizon to count as a move."""
        least = self._numbers.online_target_hold_band_pct
        return max(least, least / _BAND_UNIT * sigma * math.sqrt(self._horizon))

    def _lean(self, score: float) -> int:
        if score >= self._numbers.bullish_threshold:
            return BULLISH
        return BEARISH if score <= self._numbers.bearish_threshold else NEUTRAL

    def _count_streak(self, lean: int) -> None:
        """Count the scans in a row that lean the same way: positive up, negative down, 0 for neither."""
        before = self.state.streak
        if lean == NEUTRAL:
            self.state.streak = 0
        elif lean == BULLISH:
            self.state.streak = max(before, 0) + 1
        else:
            self.state.streak = min(before, 0) - 1

    def _signal(self, lean: int, reading: _Reading) -> int:
        sure = reading.told and reading.probabilities[lean] >= self._numbers.min_directional_confidence
        lasting = abs(self.state.streak) >= self._numbers.min_directional_streak
        return lean if lean != NEUTRAL and sure and lasting else NEUTRAL

    def _regime(self, signal: int, reading: _Reading, pressure: float, *, enough: bool) -> MarketRegime:
        if not enough:
            return MarketRegime.INSUFFICIENT_DATA
        if pressure >= 1.0:
            return MarketRegime.RISK_OFF
        if signal != NEUTRAL:
            return MarketRegime.BULL_ACCELERATION if signal == BULLISH else MarketRegime.BEAR_PRESSURE
        turned = reading.raw * reading.smoothed < 0.0
        if turned and abs(reading.raw - reading.smoothed) >= self._numbers.bullish_threshold:
            return MarketRegime.MEAN_REVERSION
        return MarketRegime.HIGH_RISK_NEUTRAL if pressure >= _HIGH_RISK else MarketRegime.NEUTRAL

    def _expected_move(self, reading: _Reading, benchmark: BenchmarkView | None) -> float:
        if not reading.told or benchmark is None or benchmark.sigma is None:
            return 0.0
        lead = reading.probabilities[BULLISH] - reading.probabilities[BEARISH]
        return lead * benchmark.sigma * math.sqrt(self._horizon)


def mood_of(snapshot: MoodSnapshot) -> MarketMood:
    """Give what risk needs of a snapshot; risk-off has a confidence of at least how far risk exceeds half its limit."""
    confidence = snapshot.confidence
    if snapshot.regime is MarketRegime.RISK_OFF:
        confidence = max(confidence, min(snapshot.pressure - 0.5, 1.0))
    return MarketMood(snapshot.regime, snapshot.signal, confidence, snapshot.smoothed_score, snapshot.profile)


def changed(before: MoodSnapshot | None, after: MoodSnapshot) -> bool:
    """Tell whether signal or regime are no longer what they were."""
    return before is None or (before.signal, before.regime) != (after.signal, after.regime)


def describe(snapshot: MoodSnapshot) -> str:
    """Give a snapshot in one line of words."""
    return (
        f"{iso(snapshot.at)} {snapshot.signal} regime={snapshot.regime.value} score={snapshot.smoothed_score:+.3f} "
        f"confidence={snapshot.confidence:.2f} symbols={len(snapshot.figures.contributing)}/{snapshot.figures.total}"
    )
