"""Whether bundles in service do worse than they promised, beyond what chance explains, and what is told about it.

Four figures, each against the bundle's own promise from its report block and by the same margin `worse_by`: the
log-loss over that of the class shares, the calibration of BUY, the share of winning trades and their mean return. Pure
but for the alerts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import Symbol
from bn_ml.ports import AlertSink

ROLLING_TRADES = 50
LEAST_TRADES = 20
LEAST_LOSS_DAYS = 5.0
LEAST_FORECASTS = 100
CHANCE = 0.002
"""So rare must a figure be, were the promise true: the same figures are looked at again and again."""
_RARE_DEVIATIONS = 2.88
"""As many deviations as CHANCE leaves below, one-sided."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the report block of a bundle said; None is unknown. `net_return` is the mean of trades, a fraction."""

    loss_ratio: float | None = None
    win_rate: float | None = None
    net_return: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """How one version of a bundle did since it serves.

    `loss_ratio` is its log-loss over that of its class shares in `loss_days` days. `forecasts` are the BUY probability
    of each settled prediction and whether BUY came. `returns` are net returns of closed trades, oldest first, as
    fractions of what was paid.
    """

    loss_ratio: float | None = None
    loss_days: float = 0.0
    forecasts: Sequence[tuple[float, bool]] = ()
    returns: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A bundle in service, its promise and its record."""

    symbol: Symbol
    version: int
    promise: Promise
    record: ServiceRecord


def decays(promise: Promise, record: ServiceRecord, worse_by: float) -> tuple[str, ...]:
    """Say in which ways a record is worse than promised by more than `worse_by` and more than chance; often none."""
    recent = record.returns[-ROLLING_TRADES:]
    found = (
        _loss(promise, record, worse_by),
        _calibration(record, worse_by),
        _win_rate(promise, recent, worse_by),
        _expectancy(promise, recent, worse_by),
    )
    return tuple(text for text in found if text)


class DecayWatch:
    """Tells people once when a bundle in service decays, and when it no longer does or another took its place."""

    def __init__(self, alerts: AlertSink, worse_by: float) -> None:
        """`worse_by` is the fraction of `model.retraining.degradation_trigger_pct`."""
        self._alerts = alerts
        self._worse_by = worse_by
        self._told: dict[Symbol, tuple[int, tuple[str, ...]]] = {}

    def look(self, services: Sequence[Service], now: datetime) -> None:
        """Judge the bundles in service; one that is not among them any more closes its incident."""
        found = {
            item.symbol: (item.version, ways)
            for item in services
            if (ways := decays(item.promise, item.record, self._worse_by))
        }
        for symbol in sorted(set(self._told) - set(found)):
            self._alerts.offer(_ended(symbol, self._told.pop(symbol)[0], now))
        for symbol, (version, ways) in sorted(found.items()):
            if self._told.get(symbol, (None,))[0] != version:
                self._alerts.offer(_begun(symbol, version, ways, now))
            self._told[symbol] = (version, ways)


def chance_of_at_most(wins: int, trades: int, rate: float) -> float:
    """Give P(at most so many wins) of a binomial count, exactly.

    >>> round(chance_of_at_most(1, 3, 0.5), 6)
    0.5
    """
    if rate <= 0.0 or wins >= trades:
        return 1.0
    if rate >= 1.0:
        return 0.0
    chances = (
        math.lgamma(trades + 1)
        - math.lgamma(count + 1)
        - math.lgamma(trades - count + 1)
        + count * math.log(rate)
        + (trades - count) * math.log1p(-rate)
        for count in range(wins + 1)
    )
    return min(sum(map(math.exp, chances)), 1.0)


def _loss(promise: Promise, record: ServiceRecord, worse_by: float) -> str:
    if promise.loss_ratio is None or record.loss_ratio is None:
        return ""
    enough = record.loss_days >= LEAST_LOSS_DAYS and len(record.forecasts) >= LEAST_FORECASTS
    if not enough or record.loss_ratio <= promise.loss_ratio * (1.0 + worse_by):
        return ""
    return f"log-loss {record.loss_ratio:.3f} of that of the class shares, promised {promise.loss_ratio:.3f}"


def _calibration(record: ServiceRecord, worse_by: float) -> str:
    """Compare how often BUY came with how often it was said to come; the two are a promise of every forecast."""
    number = len(record.forecasts)
    expected = sum(chance for chance, _ in record.forecasts)
    came = sum(bought for _, bought in record.forecasts)
    deviation = math.sqrt(sum(chance * (1.0 - chance) for chance, _ in record.forecasts))
    if number < LEAST_FORECASTS or came >= expected * (1.0 - worse_by):
        return ""
    if expected - came <= _RARE_DEVIATIONS * deviation:
        return ""
    return f"calibration: BUY came in {came / number:.1%} of {number} bars, {expected / number:.1%} were promised"


def _win_rate(promise: Promise, returns: Sequence[float], worse_by: float) -> str:
    trades, wins = len(returns), sum(value > 0 for value in returns)
    if promise.win_rate is None or trades < LEAST_TRADES or wins / trades >= promise.win_rate * (1.0 - worse_by):
        return ""
    if chance_of_at_most(wins, trades, promise.win_rate) >= CHANCE:
        return ""
    return f"win rate {wins / trades:.0%} of the last {trades} trades, promised {promise.win_rate:.0%}"


def _expectancy(promise: Promise, returns: Sequence[float], worse_by: float) -> str:
    trades = len(returns)
    if promise.net_return is None or trades < LEAST_TRADES:
        return ""
    mean = sum(returns) / trades
    spread = math.sqrt(sum((value - mean) ** 2 for value in returns) / (trades - 1))
    limit = promise.net_return - worse_by * abs(promise.net_return)
    if mean >= limit or promise.net_return - mean <= _RARE_DEVIATIONS * spread / math.sqrt(trades):
        return ""
    return f"expectancy {mean:+.3%} per trade over the last {trades}, promised {promise.net_return:+.3%}"


def _begun(symbol: Symbol, version: int, ways: Sequence[str], now: datetime) -> Alert:
    return Alert(
        now,
        AlertLevel.WARNING,
        _key(symbol),
        f"bundle {version} of {symbol} does worse than it promised",
        why="; ".join(ways),
        next_action=f"train it again unless that is under way: bnml-trainer --symbol {symbol}",
        symbol=symbol,
    )


def _ended(symbol: Symbol, version: int, now: datetime) -> Alert:
    title = f"bundle {version} of {symbol} no longer does worse than promised, or is not in service any more"
    return Alert(now, AlertLevel.INFO, _key(symbol), title, symbol=symbol, ends=True)


def _key(symbol: Symbol) -> str:
    return f"performance_decay:{symbol}"
