"""Taking the bot's place: owner of the book from here on, with the bot's own orders and books, until all is flat."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError, ExchangeError, MarketDataError, Transient
from bn_ml.journal import Journal
from bn_ml.plain_transport import plain_transport
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BookView
from scripts.kill_switch_parts import (
    LIVE_PRICES,
    REPLAY,
    BookClock,
    KnownMarket,
    fetched_prices,
    open_line,
    open_paper,
    planned_rules,
)
from scripts.kill_switch_request import PAPER, Request
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.exit_manager import ExitManager
from trader.flatten import Flattener, Remains
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=200), timedelta(seconds=1)


class Takeover:
    """Runs while this process holds the lock of the book."""

    def __init__(self, request: Request, until_s: float) -> None:
        """Work until a monotonic second at the latest."""
        self._request = request
        self._until_s = until_s
        self._clock = SystemClock()
        self._lines = ExitStack()

    def run(self, before: BookView) -> tuple[Mapping[Symbol, str], tuple[str, ...]]:
        """Work until flat or until time is up; gives why what is left, by symbol, and what else went wrong.

        Raises `StateError` when the book cannot be used.
        """
        store = StateStore(self._request.path)
        try:
            clock = BookClock(before.reached, in_the_past=before.data_source == REPLAY)
            control = store.start_epoch(clock.now(), self._request.by)
            desk = self._desk(store, before, clock)
            exits = ExitManager(desk.settings.risk)
            orders = OrderManager(desk, PositionManager(desk, exits, AccountKeeper(desk)))
            orders.own(control)
            return self._until_flat(Flattener(desk, orders, self._request.covers))
        except (ConfigError, Transient) as error:
            return {}, (str(error),)
        finally:
            self._lines.close()
            store.close()

    def _until_flat(self, flattener: Flattener) -> tuple[Mapping[Symbol, str], tuple[str, ...]]:
        pause = FIRST_PAUSE
        while True:
            remains, trouble = Remains(), ""
            try:
                remains = flattener.run_pass()
            except Transient as error:
                trouble = f"the exchange cannot be reached: {error}"
                log.error(trouble)
            if not trouble and (remains.is_flat or remains.is_final):
                return remains.why, ()
            if self._clock.monotonic() + pause.total_seconds() >= self._until_s:
                return remains.why, (trouble,) if trouble else ()
            self._clock.sleep_until(self._clock.now() + pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _desk(self, store: StateStore, before: BookView, clock: BookClock) -> Desk:
        settings, mode = self._request.settings, self._request.mode(before.identity)
        planned = planned_rules(store)
        if mode == PAPER:
            market = KnownMarket(clock, planned)
            if before.data_source == LIVE_PRICES:
                transport = plain_transport(self._request.hurried, "", "", clock)
                self._lines.callback(transport.close)
                market.prices = fetched_prices(transport, sorted(planned), clock)
            exchange = open_paper(settings, store, clock, market)
            return Desk(store, Journal(store), clock, market, exchange, settings, mode=mode)
        line = open_line(settings, self._request.environ, planned)
        self._lines.callback(line.transport.close)
        line.exchange.keep_time()
        try:
            planned |= line.rules(sorted(planned))
        except (ExchangeError, MarketDataError) as error:
            log.warning("the rules of the entries are used, today's cannot be had: %s", error)
        market = KnownMarket(line.clock, planned)
        return Desk(store, Journal(store), line.clock, market, line.exchange, settings, mode=mode)
