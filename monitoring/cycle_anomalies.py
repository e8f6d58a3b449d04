"""The values of finished cycles, orders and trades whose usual range is watched."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol

from bn_ml.domain.account import AccountState
from bn_ml.domain.events import Event, OrderFilled, OrderFinished, OrderRejected
from bn_ml.domain.market import Symbol
from bn_ml.domain.signals import ScanReport
from bn_ml.ports import AlertSink
from bn_ml.state_reader import StateReader, TradeRow
from monitoring.anomalies import (
    CYCLE_TIME,
    EQUITY,
    MOST_HISTORY,
    REJECTION_RATE,
    SLIPPAGE,
    SPREAD,
    AnomalyWatch,
    Observation,
)
from monitoring.plain_values import mapping, number

ORDERS_TOGETHER = 20
"""The share of refused orders is that among so many."""
NEWEST_TRADES = 50
NOTHING: Mapping[Symbol, float] = MappingProxyType({})
_WAITING = 1_000


class WatchedCycle(Protocol):
    """A finished cycle, as far as it is watched."""

    @property
    def account(self) -> AccountState:
        """The account at its end."""

    @property
    def scan(self) -> ScanReport | None:
        """The scan, None when the cycle ended before it."""

    @property
    def durations_ms(self) -> Mapping[str, float]:
        """How long each stage took."""


class CycleAnomalies:
    """Observer of facts and watcher of cycles, which only note values; `judge` works them off on another thread."""

    def __init__(self, alerts: AlertSink, newest_trades: Callable[[int], Sequence[TradeRow]]) -> None:
        """Tell `alerts`; `newest_trades` gives so many trades, newest first, and is asked after fills."""
        self._watch = AnomalyWatch(alerts)
        self._newest_trades = newest_trades
        self._refused: deque[bool] = deque(maxlen=ORDERS_TOGETHER)
        self._waiting: deque[Observation] = deque(maxlen=_WAITING)
        self._equity: Decimal | None = None
        self._traded = False
        self._last_trade = 0

    def remember(self, reader: StateReader) -> None:
        """Take up the history a book holds; raises `StateError` when it cannot be read."""
        trades = reader.trades(limit=MOST_HISTORY)
        self._last_trade = trades[0].id if trades else 0
        self._watch.remember(_slippage(row) for row in reversed(trades))
        cycles = [row.data for row in reversed(reader.cycles(limit=MOST_HISTORY))]
        self._watch.remember(_cycle_time(mapping(data.get("durations_ms"))) for data in cycles)
        worth = [number(data.get("equity")) for data in cycles]
        self._watch.remember(
            Observation(EQUITY, after / before - 1) for before, after in itertools.pairwise(worth) if before > 0
        )
        if worth and worth[-1] > 0:
            self._equity = Decimal(repr(worth[-1]))

    def emit(self, event: Event) -> None:
        """Take notice of a fact."""
        if isinstance(event, OrderFilled):
            self._traded = True
        elif isinstance(event, OrderFinished | OrderRejected):
            self._refused.append(isinstance(event, OrderRejected))
            if len(self._refused) == ORDERS_TOGETHER:
                self._waiting.append(Observation(REJECTION_RATE, sum(self._refused) / ORDERS_TOGETHER))

    def __call__(self, report: WatchedCycle, streamed: Mapping[Symbol, float] = NOTHING) -> None:
        """Note what a finished cycle measured, and the spreads of fresh quotes that were `streamed`, as fractions."""
        self._waiting.append(_cycle_time(report.durations_ms))
        equity, before = report.account.equity, self._equity
        self._equity = equity
        if before is not None and before > 0:
            self._waiting.append(Observation(EQUITY, float(equity / before - 1)))
        items = (*report.scan.opportunities, *report.scan.refused) if report.scan else ()
        scanned = {item.symbol: float(item.quote.spread_frac) for item in items if item.quote is not None}
        spreads = {**scanned, **streamed}
        self._waiting.extend(Observation(SPREAD, spread, symbol) for symbol, spread in spreads.items())

    def judge(self, now: datetime) -> None:
        """Judge what was noted since the last time; raises `StateError` when the trades cannot be read."""
        values = [*self._slippages()]
        while self._waiting:
            values.append(self._waiting.popleft())
        self._watch.take(values, now)

    def _slippages(self) -> list[Observation]:
        if not self._traded:
            return []
        self._traded = False
        fresh = [row for row in reversed(self._newest_trades(NEWEST_TRADES)) if row.id > self._last_trade]
        self._last_trade = max((row.id for row in fresh), default=self._last_trade)
        return [_slippage(row) for row in fresh]


def _slippage(row: TradeRow) -> Observation:
    return Observation(SLIPPAGE, number(row.extra.get("slippage_pct")))


def _cycle_time(durations_ms: Mapping[str, object]) -> Observation:
    """A tenth of a second is added: what takes hardly any time may take twice as much."""
    lengths = [number(length) for length in durations_ms.values()]
    return Observation(CYCLE_TIME, 0.1 + sum(lengths) / 1000)
