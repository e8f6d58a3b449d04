"""What was said is kept once per bar, and no state of the file ever reaches the loop as an error."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.signals import Action, GateVerdict, Opportunity, Probabilities, ScanReport, Signal, hold
from bn_ml.prediction_log import BAR_MS, OutcomeRecord, PredictionLog, gates_text, log_beside

AT = datetime(2024, 3, 4, 12, tzinfo=timezone.utc)
BTC, ETH = Symbol("BTC/USDC"), Symbol("ETH/USDC")
EVER = 1 << 60


def a_signal(symbol: Symbol = BTC, at: datetime = AT, *, buy: float = 0.5, version: int = 3) -> Signal:
    said = Probabilities(0.2, 0.8 - buy, buy)
    gates = (GateVerdict("margin_too_small", 0.03, 0.07, False),)
    return Signal(
        symbol, Action.HOLD, said, at, "margin_too_small", members={"rf": said}, bundle_version=version, gates=gates,
        data_source="test", width_frac=0.0081,
    )  # fmt: skip


def a_report(*signals: Signal) -> ScanReport:
    return ScanReport(AT, (), tuple(Opportunity(signal, None, volatility_frac=0.003) for signal in signals))


@pytest.fixture
def kept(tmp_path: Path) -> PredictionLog:
    return PredictionLog(tmp_path / "state" / "telemetry.db")


def count(log: PredictionLog, symbol: Symbol = BTC) -> int:
    return len(log.read(symbol, 0, EVER))


def test_what_was_said_comes_back_whole(kept: PredictionLog) -> None:
    kept.record(a_report(a_signal()))
    (record,) = kept.read(BTC, to_ms(AT), to_ms(AT) + 1)
    assert (record.symbol, record.close_ms, record.version, record.action) == (BTC, to_ms(AT), 3, "HOLD")
    assert (record.sell, record.buy, record.width_frac, record.volatility_frac) == (0.2, 0.5, 0.0081, 0.003)
    assert (record.reason, record.data_source) == ("margin_too_small", "test")
    assert json.loads(record.gates_json) == [["margin_too_small", 0.03, 0.07, False]]


def test_the_reason_of_the_scanner_stands_before_that_of_the_bundle(kept: PredictionLog) -> None:
    kept.record(ScanReport(AT, (), (Opportunity(a_signal(), None, reason="breaker_drift"),)))
    assert kept.read(BTC, 0, EVER)[0].reason == "breaker_drift"


def test_the_first_answer_within_a_bar_stays(kept: PredictionLog, tmp_path: Path) -> None:
    kept.record(a_report(a_signal(buy=0.5)))
    kept.record(a_report(a_signal(buy=0.6)))
    again = PredictionLog(kept.path)
    again.record(a_report(a_signal(buy=0.7)))
    assert [record.buy for record in kept.read(BTC, 0, EVER)] == [0.5]


def test_a_bar_without_an_answer_yields_to_the_first_answer(kept: PredictionLog) -> None:
    silent = hold(BTC, AT + timedelta(minutes=1), "data_stale")
    kept.record(a_report(silent))
    assert [(record.version, record.reason) for record in kept.read(BTC, 0, EVER)] == [(None, "data_stale")]
    kept.record(a_report(a_signal()))
    kept.record(a_report(silent))
    assert [(record.version, record.close_ms) for record in kept.read(BTC, 0, EVER)] == [(3, to_ms(AT))]


def test_reading_takes_its_start_and_leaves_its_end(kept: PredictionLog) -> None:
    for bar in range(4):
        kept.record(a_report(a_signal(at=AT + bar * timedelta(minutes=15)), a_signal(ETH)))
    found = kept.read(BTC, to_ms(AT) + BAR_MS, to_ms(AT) + 3 * BAR_MS)
    assert [record.close_ms - to_ms(AT) for record in found] == [BAR_MS, 2 * BAR_MS]


def test_outcomes_come_back_and_the_first_stays(kept: PredictionLog) -> None:
    outcome = OutcomeRecord(BTC, to_ms(AT), 3, 2, 0.004)
    kept.settle([outcome])
    kept.settle([replace(outcome, label=0)])
    assert kept.outcomes(BTC, 0, EVER) == (outcome,)


def test_old_rows_go_and_rows_at_the_limit_stay(kept: PredictionLog) -> None:
    for bar in range(3):
        at = AT + bar * timedelta(minutes=15)
        kept.record(a_report(a_signal(at=at), a_signal(ETH, at=at)))
    kept.settle([OutcomeRecord(BTC, to_ms(AT), 3, 2, 0.004)])
    # Two predictions, one outcome, and what the first scan of each symbol came to.
    assert kept.prune(to_ms(AT) + BAR_MS) == 5
    assert (count(kept), count(kept, ETH), kept.outcomes(BTC, 0, EVER)) == (2, 2, ())


def test_rows_of_a_later_time_than_now_go(kept: PredictionLog) -> None:
    for bar in range(3):
        kept.record(a_report(a_signal(at=AT + bar * timedelta(minutes=15))))
    assert kept.forget_after(to_ms(AT) + BAR_MS) == 1
    assert count(kept) == 2


def test_gathered_rows_are_written_when_read_and_when_closed(tmp_path: Path) -> None:
    kept = PredictionLog(tmp_path / "telemetry.db", rows_per_write=100)
    kept.record(a_report(a_signal()))
    assert not kept.path.exists()
    assert count(kept) == 1
    kept.record(a_report(a_signal(at=AT + timedelta(minutes=15))))
    kept.close()
    assert count(PredictionLog(kept.path)) == 2


@pytest.mark.parametrize("junk", [b"", b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_is_set_aside_with_one_warning(
    junk: bytes, kept: PredictionLog, caplog: pytest.LogCaptureFixture
) -> None:
    kept.path.parent.mkdir()
    kept.path.write_bytes(junk)
    for bar in range(3):
        kept.record(a_report(a_signal(at=AT + bar * timedelta(minutes=15))))
    assert count(kept) == 3
    assert len(caplog.records) == (1 if junk else 0)
    assert Path(f"{kept.path}.damaged").exists() is bool(junk)


def test_tables_of_another_shape_are_set_aside(kept: PredictionLog) -> None:
    kept.path.parent.mkdir()
    with closing(sqlite3.connect(kept.path)) as foreign:
        foreign.execute("CREATE TABLE predictions (symbol TEXT, close_ms INTEGER)")
    assert count(kept) == 0
    kept.record(a_report(a_signal()))
    assert count(kept) == 1


def test_a_file_deleted_under_the_log_is_begun_anew(kept: PredictionLog) -> None:
    kept.record(a_report(a_signal()))
    kept.path.unlink()
    kept.record(a_report(a_signal(at=AT + timedelta(minutes=15))))
    assert [record.close_ms - to_ms(AT) for record in kept.read(BTC, 0, EVER)] == [BAR_MS]


def test_a_locked_file_is_written_later_and_nothing_is_lost(
    kept: PredictionLog, caplog: pytest.LogCaptureFixture
) -> None:
    kept.record(a_report(a_signal()))
    with closing(sqlite3.connect(kept.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for bar in (1, 2):
            kept.record(a_report(a_signal(at=AT + bar * timedelta(minutes=15))))
        other.execute("ROLLBACK")
    kept.record(a_report(a_signal(at=AT + timedelta(minutes=45))))
    assert count(kept) == 4
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_folder_in_the_way_is_told_once_and_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "telemetry.db").mkdir()
    kept = PredictionLog(tmp_path / "telemetry.db")
    for bar in range(3):
        kept.record(a_report(a_signal(at=AT + bar * timedelta(minutes=15))))
    assert kept.prune(EVER) == 0
    kept.close()
    assert len(caplog.records) == 1


def test_numbers_json_lacks_are_null() -> None:
    text = gates_text([GateVerdict("outlier", math.inf, math.nan, False)])
    assert json.loads(text) == [["outlier", None, None, False]]


def test_an_unknown_volatility_is_kept_as_zero(kept: PredictionLog, caplog: pytest.LogCaptureFixture) -> None:
    kept.record(ScanReport(AT, (), (Opportunity(a_signal(), None, volatility_frac=math.nan),)))
    assert [record.volatility_frac for record in kept.read(BTC, 0, EVER)] == [0.0]
    assert caplog.records == []


def test_each_book_has_a_log_of_its_own(tmp_path: Path) -> None:
    assert log_beside(tmp_path / "bn_ml.db") == tmp_path / "telemetry.db"
    assert log_beside(tmp_path / "june.db") == tmp_path / "june.telemetry.db"
