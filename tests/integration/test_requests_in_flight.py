"""How many market requests are on their way at once: few where a ban would keep orders from being sent."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.patience import Patience
from bn_ml.settings import Settings
from bn_ml.weight import WeightMeter
from data_manager.data_manager import BinanceDataManager
from data_manager.open_source import account_source, live_source
from data_manager.source import DataSource
from tests.fakes.bar_builders import START_MS
from tests.fakes.loopback_exchange import LoopbackExchange, Query, symbol_record

NAMES = tuple(f"C{number}" for number in range(24))
NOW_MS = START_MS + 400 * 900_000


class Crowd(LoopbackExchange):
    """Counts how many requests for a book are inside at once; each stays a moment so that they can meet."""

    def __init__(self) -> None:
        super().__init__(NOW_MS)
        self.symbols = [symbol_record(name, "USDC") for name in NAMES]
        self.inside = self.most = 0
        self._lock = threading.Lock()
        self._moment = threading.Event()

    def answer(self, path: str, query: Query) -> object:
        if path != "/api/v3/depth":
            return super().answer(path, query)
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._moment.wait(0.03)
        with self._lock:
            self.inside -= 1
        return super().answer(path, query)


def beside_orders(settings: Settings, clock: SimulatedClock) -> DataSource:
    weight = WeightMeter(clock, settings.exchange.weight_budget_pct)
    return account_source(settings, clock, weight, Patience(clock, settings.exchange))


@pytest.mark.parametrize(("opened", "most"), [(beside_orders, 4), (live_source, 8)])
def test_only_so_many_requests_are_on_their_way(
    opened: Callable[[Settings, SimulatedClock], DataSource], most: int
) -> None:
    with Crowd() as exchange:
        settings = Settings.from_mapping({"exchange": {"base_url": exchange.url, "rate_limit_ms": 10}})
        clock = SimulatedClock(from_ms(NOW_MS))
        market = BinanceDataManager(settings, source=opened(settings, clock), clock=clock)
        market.quotes([Symbol(f"{name}/USDC") for name in NAMES])
        assert 1 < exchange.most <= most
