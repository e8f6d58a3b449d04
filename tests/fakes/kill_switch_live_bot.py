"""A bot on the live exchange in a process of its own, with positions and their stops, for the kill switch.

Run as `python -m tests.fakes.kill_switch_live_bot CONFIG SYMBOL...`, keys in the environment: buys 100 of each symbol,
protects it, says `ready`, then goes round until killed. With `hang` as first symbol it stops going round.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, cast

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.control import ProcessLock
from bn_ml.domain.market import Symbol, iso
from bn_ml.domain.orders import OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import ExitReason
from bn_ml.halting import flattens
from bn_ml.journal import Journal
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BEAT
from scripts.kill_switch_parts import KnownMarket, fetched_prices, open_line
from trader.account_keeper import AccountKeeper
from trader.desk import Desk
from trader.entry_plan import EntryPlan, save_plan
from trader.exit_manager import ExitManager
from trader.live_capital import allot
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.protection import Protection

SPENT = Decimal(100)
ROOT = Path(__file__).parents[2]


class LiveBot:
    """The money path on the exchange of a configuration."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], symbols: Sequence[Symbol]) -> None:
        path = Path(settings.storage.sqlite_path)
        self.lock = ProcessLock(path).acquire(SystemClock().now())
        line = open_line(settings, environ, symbols)
        line.exchange.keep_time()
        self.symbols = symbols
        self.line = line
        self.store = StateStore(path)
        self.store.bind_book("live", "sandbox", line.clock.now())
        allot(self.store, line.exchange.balances(), settings, line.clock.now())
        prices = fetched_prices(line.transport, symbols, line.clock)
        market = KnownMarket(line.clock, line.rules(symbols), prices=prices)
        self.desk = Desk(self.store, Journal(self.store), line.clock, market, line.exchange, settings, mode="live")
        exits = ExitManager(settings.risk)
        self.orders = OrderManager(self.desk, PositionManager(self.desk, exits, AccountKeeper(self.desk)))
        self.orders.own(self.store.start_epoch(line.clock.now(), "start"))
        self.protection = Protection(self.desk, self.orders, exits)

    def buy(self) -> None:
        for symbol in self.symbols:
            self._buy(symbol)
        for position in self.store.open_positions():
            self.protection.ensure(position)

    def go_round(self) -> None:
        control = self.store.control()
        beat = {"pid": os.getpid(), "at": iso(SystemClock().now()), "step": "wait", "epoch": control.epoch}
        self.store.put(BEAT, beat, SystemClock().now())
        for position in self.store.open_positions():
            if flattens(control, position.symbol):
                self.protection.close(position, ExitReason.KILL_SWITCH)

    def close(self) -> None:
        """Leave everything as it is."""
        self.line.transport.close()
        self.store.close()
        self.lock.release()

    def _buy(self, symbol: Symbol) -> None:
        rules, quote, now = self.desk.market.rules(symbol), self.desk.market.quote(symbol), self.desk.clock.now()
        client_id = self.store.next_client_id()
        intent = OrderIntent(
            client_id=client_id,
            symbol=symbol,
            side=Side.BUY,
            type=OrderType.MARKET,
            quantity=rules.quantity_down(SPENT / quote.ask),
            purpose=Purpose.ENTRY,
            position_id=f"{symbol.key}-{client_id}",
            created_at=now,
            reserved_quote=SPENT * Decimal("1.05"),
        )
        plan = EntryPlan(
            position_id=intent.position_id,
            rules=rules,
            planned_loss_quote=Decimal(1),
            atr_frac=0.003,
            confidence=0.6,
            score=8.0,
            bundle_version=None,
            data_source="binance",
        )
        with self.store.transaction():
            save_plan(self.store, plan, now)
            self.store.add_intent(intent, self.store.control().owner)
        self.orders.send(intent)


def main(config: Path, names: Sequence[str]) -> None:
    """Live until killed."""
    environ = dict(os.environ)
    bot = LiveBot(load_settings(config, environ=environ).settings, environ, [Symbol(n) for n in names if "/" in n])
    bot.buy()
    bot.go_round()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    clock = SystemClock()
    while True:
        clock.sleep_until(clock.now() + timedelta(milliseconds=100))
        if "hang" not in names:
            bot.go_round()


@contextmanager
def live_bot_process(
    config: Path, symbols: Sequence[str], environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start the bot and wait until it is ready; it is killed at the end, whatever became of it."""
    command = [sys.executable, "-m", "tests.fakes.kill_switch_live_bot", str(config), *symbols]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environ})
    try:
        assert cast(IO[str], process.stdout).readline().strip() == "ready"
        yield process
    finally:
        process.kill()
        process.wait()
        cast(IO[str], process.stdout).close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
