"""Finished cycles, orders and trades are watched for what is unusual, with the history the book holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.account import AccountState, Period
from bn_ml.domain.alerts import Alert
from bn_ml.domain.events import OrderFilled, OrderFinished, OrderRejected
from bn_ml.domain.market import Quote, Symbol
from bn_ml.domain.orders import Side
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from monitoring.cycle_anomalies import ORDERS_TOGETHER, CycleAnomalies

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")


@dataclass
class Cycle:
    account: AccountState
    scan: ScanReport | None = None
    durations_ms: Mapping[str, float] = field(default_factory=lambda: {"scan": 500.0})


class Told:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.alerts.append(alert)

    @property
    def keys(self) -> list[str]:
        return [alert.key for alert in self.alerts if not alert.ends]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "bn_ml.db")
    opened.bind_book("paper", "paper", AT)
    yield opened
    opened.close()


def an_account(equity: str) -> AccountState:
    amount, none = Decimal(equity), Decimal(0)
    period = Period("2024-03-04", amount)
    return AccountState(AT, amount, amount, amount, none, none, amount, period, period)


def a_cycle(*, equity: str = "1000", spread: str = "", **changes: object) -> Cycle:
    scan = None
    if spread:
        half = Decimal(spread) / 2
        quote = Quote(BTC, 1 - half, 1 + half, Decimal(1), AT, "test", Decimal(1), Decimal(1))
        signal = Signal(BTC, Action.BUY, Probabilities(0.1, 0.3, 0.6), AT)
        scan = ScanReport(AT, (Opportunity(signal, quote),), ())
    return Cycle(an_account(equity), scan, **changes)  # type: ignore[arg-type]


def a_trade(store: StateStore, slippage: float) -> None:
    store.add_trade(
        at=AT, symbol=BTC, side=Side.BUY, size_quote=Decimal(10), price=Decimal(1), mode="paper",
        extra={"slippage_pct": slippage},
    )  # fmt: skip


def watching(store: StateStore, told: Told) -> CycleAnomalies:
    reader = StateReader(store.path)
    watch = CycleAnomalies(told, lambda limit: reader.trades(limit=limit))
    watch.remember(reader)
    return watch


def judged(watch: CycleAnomalies, cycle: Cycle, number: int = 0) -> None:
    watch(cycle)
    watch.judge(AT + timedelta(minutes=5 * number))


def a_fill() -> OrderFilled:
    return OrderFilled(AT, BTC, "1", "1", "BUY", Decimal(1), Decimal(1), Decimal(0), "USDC")


def test_quiet_cycles_tell_nothing(store: StateStore) -> None:
    told = Told()
    watch = watching(store, told)
    for number in range(200):
        judged(watch, a_cycle(spread="0.001"), number)
    assert told.alerts == []


def test_a_jump_of_equity_a_wide_spread_and_a_slow_cycle_are_told(store: StateStore) -> None:
    told = Told()
    watch = watching(store, told)
    for number in range(120):
        judged(watch, a_cycle(spread="0.001"), number)
    judged(watch, a_cycle(equity="950", spread="0.02", durations_ms={"scan": 60_000.0}), 121)
    assert sorted(told.keys) == ["anomaly_cycle_time", "anomaly_equity_jump", "anomaly_spread:BTC/USDC"]
    assert {alert.at for alert in told.alerts} == {AT + timedelta(minutes=605)}


def test_slippage_is_judged_once_per_trade_and_only_after_fills(store: StateStore) -> None:
    for _ in range(120):
        a_trade(store, 0.0002)
    told = Told()
    watch = watching(store, told)
    a_trade(store, 0.02)
    judged(watch, a_cycle())
    assert told.alerts == []
    watch.emit(a_fill())
    judged(watch, a_cycle())
    assert told.keys == ["anomaly_slippage"]
    watch.emit(a_fill())
    judged(watch, a_cycle())
    assert len(told.alerts) == 1


def test_many_refusals_among_the_newest_orders_are_told(store: StateStore) -> None:
    told = Told()
    watch = watching(store, told)
    for _ in range(150):
        watch.emit(OrderFinished(AT, BTC, "1", "FILLED"))
    judged(watch, a_cycle())
    assert told.alerts == []
    for _ in range(ORDERS_TOGETHER // 2):
        watch.emit(OrderRejected(AT, BTC, "1", "no"))
    judged(watch, a_cycle())
    assert told.keys == ["anomaly_rejection_rate"]


def test_the_usual_range_outlives_a_restart(store: StateStore) -> None:
    for number in range(150):
        data = {"equity": 1000.0, "durations_ms": {"scan": 500.0}}
        store.add_cycle(at=AT + timedelta(minutes=number), opportunities=0, opened_positions=0, data=data)
    told = Told()
    judged(watching(store, told), a_cycle(equity="900", durations_ms={"scan": 90_000.0}))
    assert sorted(told.keys) == ["anomaly_cycle_time", "anomaly_equity_jump"]


def test_rows_of_another_shape_are_left_out(store: StateStore) -> None:
    for data in ({}, {"equity": None, "durations_ms": "soon"}, {"equity": 0.0}, {"durations_ms": {"scan": "x"}}):
        store.add_cycle(at=AT, opportunities=0, opened_positions=0, data=data)  # type: ignore[arg-type]
    told = Told()
    judged(watching(store, told), a_cycle())
    assert told.alerts == []


def test_streamed_spreads_are_watched_where_the_scan_quotes_nothing(store: StateStore) -> None:
    told = Told()
    watch = watching(store, told)
    eth = Symbol("ETH/USDC")
    for _ in range(120):
        watch(a_cycle(spread="0.001"), {BTC: 0.001, eth: 0.001})
    watch.judge(AT)
    watch(a_cycle(spread="0.02"), {BTC: 0.001, eth: 0.02})
    watch.judge(AT)
    assert told.keys == ["anomaly_spread:ETH/USDC"]
