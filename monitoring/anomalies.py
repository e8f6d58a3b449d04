"""What lies far beyond the usual range of its own history: robust z-scores, per series, told once and closed again.

The usual range is the median and 1.4826 times the median absolute deviation of the newest values. A value is out of it

- at once when it scores 8 and lies three times as far from the median as anything in the history, or
- when it is the third in a row to score 6.

The first rule needs no assumption on the noise: of a history of n values of whatever distribution, a new one is the
farthest with chance 1 / (n + 1). The second answers level shifts too small for the first.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import Symbol
from bn_ml.ports import AlertSink

LEAST_HISTORY = 100
MOST_HISTORY = 2_016
"""A week of values five minutes apart."""
JUMP_SCORE = 8.0
FARTHER = 3.0
RUN_SCORE = 6.0
RUN_LENGTH = 3
CALM_LENGTH = 3
"""An anomaly ends after so many values in a row below the score of runs."""
MOST_SERIES = 300
_NORMAL = 1.4826
_FARTHEST = 1e12


@dataclass(frozen=True, slots=True)
class SeriesRule:
    """How a kind of series is judged and told.

    `floor` is the least scale, in the unit of the values (of their logarithms where `on_ratio`), so that a series that
    hardly moves is not alarmed by a trifle; `form` writes a value. With `both_sides` values that are unusually low
    count too. `advice` says what to do.
    """

    name: str
    title: str
    form: str
    floor: float
    advice: str
    on_ratio: bool = False
    both_sides: bool = False


SLIPPAGE = SeriesRule(
    "slippage", "slippage", "{:+.3%}", 0.0005, "compare depth and size of the entries; lower the position size"
)
SPREAD = SeriesRule(
    "spread", "spread", "{:.4%}", 0.25, "the market is thin: check the symbol, exclude it if this lasts", on_ratio=True
)
CYCLE_TIME = SeriesRule(
    "cycle_time",
    "cycle time",
    "{:.2f} s",
    0.25,
    "look at bnml_cycle_duration_seconds for the slow stage",
    on_ratio=True,
)
REJECTION_RATE = SeriesRule(
    "rejection_rate", "share of refused orders", "{:.0%}", 0.05, "read the refusals in the log: bnml-doctor check"
)
EQUITY = SeriesRule(
    "equity_jump",
    "change of equity between two cycles",
    "{:+.2%}",
    0.002,
    "look at the positions and at deposits or withdrawals by hand",
    both_sides=True,
)


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of a series; series of one rule are told apart by their symbol."""

    rule: SeriesRule
    value: float
    symbol: Symbol | None = None

    @property
    def key(self) -> str:
        """The incident this value may belong to."""
        return f"anomaly_{self.rule.name}" + (f":{self.symbol}" if self.symbol else "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a value is against its history: score, the usual value, whether the series is out of range since or again.

    `usual` is the median; `changed` is true where an anomaly begins or ends with this value.
    """

    score: float
    usual: float
    history: int
    anomalous: bool
    changed: bool


class RobustSeries:
    """The history of one series. Values that are not finite, or not positive where ratios count, are left out."""

    def __init__(self, rule: SeriesRule) -> None:
        """Begin without a history; nothing is judged before there are enough values."""
        self._rule = rule
        # Filled, so that its memory is taken at once and not page by page over a week.
        self._places = np.full(MOST_HISTORY, np.nan)
        self._taken = 0
        self._run = self._calm = 0
        self.anomalous = False

    def take(self, value: float) -> Verdict | None:
        """Judge a value by what came before and remember it; None when it cannot be judged."""
        if not math.isfinite(value) or (self._rule.on_ratio and value <= 0):
            return None
        place = math.log(value) if self._rule.on_ratio else min(max(value, -_FARTHEST), _FARTHEST)
        verdict = self._judged(place) if self._taken >= LEAST_HISTORY else None
        self._places[self._taken % MOST_HISTORY] = place
        self._taken += 1
        return verdict

    def _judged(self, place: float) -> Verdict:
        known = self._places[: self._taken]
        median = float(np.median(known))
        away = np.abs(known - median)
        scale = max(_NORMAL * float(np.median(away)), self._rule.floor)
        both = self._rule.both_sides
        distance = abs(place - median) if both else place - median
        farthest = float(away.max()) if both else float(known.max()) - median
        score = distance / scale
        before = self.anomalous
        self._follow(score, jumped=score >= JUMP_SCORE and distance >= FARTHER * farthest)
        usual = math.exp(median) if self._rule.on_ratio else median
        return Verdict(score, usual, len(known), self.anomalous, self.anomalous != before)

    def _follow(self, score: float, *, jumped: bool) -> None:
        high = score >= RUN_SCORE
        self._run = self._run + 1 if high else 0
        self._calm = 0 if high else self._calm + 1
        if jumped or self._run >= RUN_LENGTH:
            self.anomalous = True
        elif self._calm >= CALM_LENGTH:
            self.anomalous = False


class AnomalyWatch:
    """Keeps the series of a bot and tells people when one leaves its usual range and when it is back."""

    def __init__(self, alerts: AlertSink) -> None:
        """Tell `alerts`."""
        self._alerts = alerts
        self._series: OrderedDict[str, RobustSeries] = OrderedDict()

    def remember(self, observations: Iterable[Observation]) -> None:
        """Take up values of an earlier life, oldest first, without telling anybody."""
        for observation in observations:
            self._of(observation).take(observation.value)

    def take(self, observations: Iterable[Observation], at: datetime) -> None:
        """Judge new values and tell what has begun or ended with them."""
        for observation in observations:
            verdict = self._of(observation).take(observation.value)
            if verdict is not None and verdict.changed:
                self._alerts.offer(_alert(observation, verdict, at))

    def _of(self, observation: Observation) -> RobustSeries:
        series = self._series.setdefault(observation.key, RobustSeries(observation.rule))
        self._series.move_to_end(observation.key)
        if len(self._series) > MOST_SERIES:
            self._series.popitem(last=False)
        return series


def _alert(observation: Observation, verdict: Verdict, at: datetime) -> Alert:
    rule = observation.rule
    value, usual = rule.form.format(observation.value), rule.form.format(verdict.usual)
    of_symbol = f" of {observation.symbol}" if observation.symbol else ""
    if not verdict.anomalous:
        title = f"{rule.title}{of_symbol} is back in its usual range: {value}, usual {usual}"
        return Alert(at, AlertLevel.INFO, observation.key, title, symbol=observation.symbol, ends=True)
    return Alert(
        at,
        AlertLevel.WARNING,
        observation.key,
        f"{rule.title}{of_symbol} is far beyond its usual range: {value}, usual {usual}",
        why=f"robust score {verdict.score:.1f} against the last {verdict.history} values",
        next_action=rule.advice,
        symbol=observation.symbol,
    )
