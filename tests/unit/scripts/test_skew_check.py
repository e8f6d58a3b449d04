"""A prediction is worked out again once a day; one that comes out differently is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.errors import MarketDataError
from bn_ml.prediction_log import PredictionLog
from data_manager.feature_feed import FeatureFeed
from data_manager.feed_checks import FeatureRow
from scripts.skew_check import EVERY, OLDEST, TOLERANCE, SkewCheck
from tests.fakes.bundle_builders import BTC, NOW, a_row

ETH = Symbol("ETH/USDC")
SAID = Probabilities(0.25, 0.5, 0.25)


class Again:
    """Feed and judge in one: a row of the instant asked for, and an answer that is off by `gap`."""

    def __init__(self) -> None:
        self.gap, self.version = 0.0, 3
        self.fails = False
        self.asked: list[tuple[Symbol, datetime]] = []

    def fresh(self) -> FeatureFeed:
        return self

    def row(self, symbol: Symbol, now: datetime) -> FeatureRow:
        if self.fails:
            raise MarketDataError(f"{symbol}: none", "data_unavailable")
        self.asked.append((symbol, now))
        return a_row(symbol=symbol, at=now)

    def signal(self, row: FeatureRow, now: datetime) -> Signal:
        said = Probabilities(SAID.sell - self.gap, SAID.hold, SAID.buy + self.gap)
        return a_signal(row.symbol, now, said, self.version)


def a_signal(symbol: Symbol, at: datetime, said: Probabilities = SAID, version: int = 3) -> Signal:
    return Signal(symbol, Action.HOLD, said, at, members={"rf": said}, bundle_version=version)


@pytest.fixture
def log(tmp_path: Path) -> PredictionLog:
    kept = PredictionLog(tmp_path / "telemetry.db")
    for bar in range(200):
        at = NOW + bar * timedelta(minutes=15)
        said = (Opportunity(a_signal(symbol, at), None) for symbol in (BTC, ETH))
        kept.record(ScanReport(at, (), tuple(said)))
    return kept


def looked(check: SkewCheck, *, until: timedelta) -> None:
    steps = int(until / timedelta(minutes=15))
    for step in range(steps + 1):
        check.look((BTC, ETH), NOW + step * timedelta(minutes=15))


def test_each_symbol_is_worked_out_again_once_a_day_one_at_a_look(log: PredictionLog) -> None:
    again = Again()
    looked(SkewCheck(log, again, again.fresh), until=OLDEST + EVERY)
    assert [symbol for symbol, _ in again.asked] == [BTC, ETH, BTC]
    assert all(NOW < at < NOW + OLDEST for _, at in again.asked[:2])


@pytest.mark.parametrize(("gap", "beyond"), [(0.0, False), (0.9 * TOLERANCE, False), (1.1 * TOLERANCE, True)])
def test_a_difference_beyond_the_tolerance_is_told(
    gap: float, beyond: bool, log: PredictionLog, caplog: pytest.LogCaptureFixture
) -> None:
    again = Again()
    again.gap = gap
    check = SkewCheck(log, again, again.fresh)
    looked(check, until=OLDEST)
    (found,) = check.status().values()
    assert isinstance(found, dict)
    assert (found["beyond"], found["version"]) == (beyond, 3)
    assert found["difference"] == pytest.approx(gap, abs=1e-12)
    assert bool(caplog.records) is beyond


def test_another_version_or_missing_bars_tell_nothing(log: PredictionLog) -> None:
    other, failing = Again(), Again()
    other.version, failing.fails = 4, True
    for again in (other, failing):
        check = SkewCheck(log, again, again.fresh)
        looked(check, until=OLDEST)
        assert (check.status(), check.changes) == ({}, 0)


def test_predictions_no_bundle_made_are_passed_over(tmp_path: Path) -> None:
    kept = PredictionLog(tmp_path / "telemetry.db")
    silent = replace(a_signal(BTC, NOW), members={}, bundle_version=None)
    kept.record(ScanReport(NOW, (), (Opportunity(silent, None),)))
    again = Again()
    check = SkewCheck(kept, again, again.fresh)
    looked(check, until=OLDEST)
    assert again.asked == []
