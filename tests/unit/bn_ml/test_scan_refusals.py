"""Whatever a scan made of a symbol can be found again with its numbers: each change of reason once, nothing twice."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.signals import Action, GateVerdict, Opportunity, Probabilities, ScanReport, Signal, hold
from bn_ml.prediction_log import BAR_MS, PredictionLog, RefusalRecord

CLOSE = datetime(2024, 3, 4, 12, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")
EVER = 1 << 60
SAID = Probabilities(0.1, 0.3, 0.6)
NUMBERS = {"spread": (0.0021, 0.0015), "min_score": (4.0, 5.5)}


def judged(report: ScanReport, item: Opportunity) -> GateVerdict | None:
    numbers = NUMBERS.get(item.reason or "")
    return GateVerdict(item.reason or "", *numbers, passed=False) if numbers else None


def a_buy(bar: int = 0) -> Signal:
    at = CLOSE + bar * timedelta(minutes=15)
    return Signal(BTC, Action.BUY, SAID, at, members={"rf": SAID}, bundle_version=2)


def a_hold(reason: str, bar: int = 0) -> Signal:
    at = CLOSE + bar * timedelta(minutes=15)
    gates = (GateVerdict("bundle_stale", 5.0, 72.0, True), GateVerdict(reason, 0.03, 0.07, False))
    return Signal(BTC, Action.HOLD, SAID, at, reason, members={"rf": SAID}, bundle_version=2, gates=gates)


def scanned(kept: PredictionLog, minute: int, signal: Signal, reason: str | None = None) -> None:
    item = Opportunity(signal, None, reason=reason)
    passed = reason is None and signal.action is Action.BUY
    at = CLOSE + timedelta(minutes=minute)
    kept.record(ScanReport(at, (item,) if passed else (), () if passed else (item,)))


@pytest.fixture
def kept(tmp_path: Path) -> PredictionLog:
    log = PredictionLog(tmp_path / "telemetry.db", judge=judged)
    scanned(log, -15, a_hold("no_skill", -1))
    return log


def found(log: PredictionLog) -> list[tuple[int, str | None, float | None, float | None]]:
    """Give minute, reason, value and limit of what was kept from the first bar on."""
    records = log.refusals(BTC, to_ms(CLOSE), EVER)
    return [((item.at_ms - to_ms(CLOSE)) // 60_000, item.reason, item.value, item.limit) for item in records]


def test_a_refusal_of_the_scan_is_kept_with_its_numbers(kept: PredictionLog) -> None:
    scanned(kept, 1, a_buy(), "spread")
    assert found(kept) == [(1, "spread", 0.0021, 0.0015)]


def test_the_same_reason_again_is_kept_once(kept: PredictionLog) -> None:
    for minute in range(1, 10):
        scanned(kept, minute, a_buy(), "spread")
    assert len(found(kept)) == 1


def test_each_change_within_a_bar_is_kept_up_to_the_passing(kept: PredictionLog) -> None:
    scanned(kept, 1, a_buy(), "spread")
    scanned(kept, 5, a_buy(), "min_score")
    scanned(kept, 9, a_buy())
    assert found(kept) == [(1, "spread", 0.0021, 0.0015), (5, "min_score", 4.0, 5.5), (9, None, None, None)]


def test_what_the_prediction_says_already_is_not_kept_again(kept: PredictionLog) -> None:
    for bar in range(4):
        scanned(kept, 15 * bar, a_hold("margin_too_small", bar))
    assert found(kept) == []
    assert len(kept.read(BTC, to_ms(CLOSE), EVER)) == 4


def test_a_later_gate_of_the_same_bar_is_kept_beside_the_first(kept: PredictionLog) -> None:
    scanned(kept, 1, a_buy())
    scanned(kept, 6, a_hold("ev_not_positive"))
    assert found(kept) == [(1, None, None, None), (6, "ev_not_positive", 0.03, 0.07)]


def test_a_bar_without_an_answer_is_still_known_when_its_prediction_has_yielded(kept: PredictionLog) -> None:
    scanned(kept, 1, hold(BTC, CLOSE, "data_stale"))
    scanned(kept, 6, a_buy())
    assert [record.reason for record in kept.read(BTC, to_ms(CLOSE), EVER)] == [None]
    assert found(kept) == [(1, "data_stale", None, None), (6, None, None, None)]


def test_a_sell_has_no_numbers_beyond_its_prediction(kept: PredictionLog) -> None:
    said = Probabilities(0.6, 0.3, 0.1)
    sell = Signal(BTC, Action.SELL, said, CLOSE, members={"rf": said}, bundle_version=2)
    scanned(kept, 1, sell, "signal_not_buy")
    assert found(kept) == []


def test_the_first_scan_of_a_process_is_kept_since_nobody_knows_what_was_before(kept: PredictionLog) -> None:
    scanned(kept, 1, a_hold("no_skill"))
    kept.close()
    again = PredictionLog(kept.path, judge=judged)
    scanned(again, 6, a_hold("margin_too_small"))
    assert found(again) == [(6, "margin_too_small", 0.03, 0.07)]


def test_a_log_of_an_earlier_version_gets_its_place_for_refusals(kept: PredictionLog) -> None:
    kept._file._open().execute("DROP TABLE refusals")
    kept.close()
    again = PredictionLog(kept.path, judge=judged)
    scanned(again, 1, a_buy(), "spread")
    assert found(again) == [(1, "spread", 0.0021, 0.0015)]
    assert len(again.read(BTC, 0, EVER)) == 2


def test_old_and_future_refusals_go_with_the_rest(kept: PredictionLog) -> None:
    for bar in (0, 1, 2):
        scanned(kept, 15 * bar, a_buy(bar), "spread")
    kept.prune(to_ms(CLOSE) + BAR_MS)
    kept.forget_after(to_ms(CLOSE) + BAR_MS)
    assert [minute for minute, *_ in found(kept)] == [15]


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["spread", "min_score", "top_n", "no_skill", "data_stale", None])),
    min_size=1, max_size=25,
)  # fmt: skip


def signal_of(reason: str | None, bar: int) -> Signal:
    if reason == "data_stale":
        return hold(BTC, CLOSE + bar * timedelta(minutes=15), reason)
    return a_hold(reason, bar) if reason == "no_skill" else a_buy(bar)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_the_reason_in_force_at_any_scan_is_found_again(steps: list[tuple[int, str | None]]) -> None:
    """As `explain` looks: the last refusal of the bar by then, else the bar's prediction."""
    log = PredictionLog(":unused:", judge=judged, rows_per_write=1 << 30)
    told: list[tuple[int, int, str | None]] = []
    for minute, (bar, reason) in enumerate(sorted(steps, key=lambda step: step[0])):
        of_scan = reason in ("spread", "min_score", "top_n")
        scanned(log, minute, signal_of(reason, bar), reason if of_scan else None)
        told.append((minute, bar, reason))
    firsts: dict[int, str | None] = {}
    for _, bar, reason in told:
        firsts.setdefault(bar, reason)
    for minute, bar, reason in told:
        close_ms = to_ms(CLOSE) + bar * BAR_MS
        by_then = [item for item in log._refusals if item.close_ms == close_ms and _minute(item) <= minute]
        assert (by_then[-1].reason if by_then else firsts[bar]) == reason


def _minute(record: RefusalRecord) -> int:
    return (record.at_ms - to_ms(CLOSE)) // 60_000
