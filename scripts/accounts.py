"""Whose money is traded: the paper account, or an account at the exchange."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlparse

from bn_ml.ban_file import BanFile, TranslatedBans
from bn_ml.clock import SystemClock
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import ControlChanged
from bn_ml.domain.market import Symbol, iso
from bn_ml.env import Secrets
from bn_ml.errors import ConfigError, ExchangeError, Transient, Unreachable
from bn_ml.exchange import CcxtTransport, Credentials
from bn_ml.halting import HaltMarker
from bn_ml.journal import Journal
from bn_ml.patience import SHORT_BAN, Failure
from bn_ml.ports import Clock, Exchange, MarketView
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from bn_ml.venue_clock import VenueClock
from trader.exchanges.live import LiveExchange, order_weight
from trader.live_capital import allot

log = logging.getLogger(__name__)

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SPEED_VARIABLE = "BNML_SANDBOX_SPEED"
"""How many seconds a sandbox lives per second on the wall; heeded for a sandbox on this machine only."""
BANS = "exchange_ban.txt"


class Account(Protocol):
    """One account; `mode` and `name` say whose book it is."""

    @property
    def mode(self) -> str:
        """What rows are marked with."""

    @property
    def name(self) -> str:
        """The account the book belongs to."""

    def open(self, settings: Settings, store: StateStore, market: MarketView, clock: Clock) -> Exchange:
        """Give the exchange of the account; raises `ConfigError` when the book is kept in another quote asset."""

    def clock_offset_s(self) -> float | None:
        """Give the exchange's clock minus ours, None while unknown."""

    def banned_until(self) -> datetime | None:
        """Give the end of the exchange's last ban, None when it never asked to stay away."""


@dataclass(frozen=True, slots=True)
class PaperAccount:
    """An account that exists in the book only."""

    mode: str = "paper"
    name: str = "paper"

    def open(self, settings: Settings, store: StateStore, market: MarketView, clock: Clock) -> Exchange:
        """Give the paper exchange, with its starting capital in a new book."""
        # The simulated venue: live trading starts without it.
        from bn_ml.venue_store import VenueStore
        from trader.exchanges.paper import open_paper_exchange, starting_capital

        require_quote(store, settings)
        heed_halt_marker(store, clock.now())
        exchange = open_paper_exchange(settings, VenueStore(store), market, clock)
        if not store.ledger_balances():
            store.deposit(settings.base_quote, starting_capital(settings), clock.now(), "starting capital")
        return exchange

    def clock_offset_s(self) -> float | None:
        """Give 0: the paper exchange reads our clock."""
        return 0.0

    def banned_until(self) -> datetime | None:
        """Give None: the paper exchange bans nobody."""
        return None


@dataclass(frozen=True, slots=True)
class LiveAccount:
    """An account at the exchange, or at a sandbox that behaves like it."""

    exchange: LiveExchange
    clock: VenueClock
    name: str
    mode: str = "live"

    def open(self, settings: Settings, store: StateStore, market: MarketView, clock: Clock) -> Exchange:
        """Give the exchange, with the capital of the settings in the book and everything else declared foreign."""
        del market
        require_quote(store, settings)
        heed_halt_marker(store, clock.now())
        allot(store, self.exchange.balances(), settings, clock.now())
        return self.exchange

    def clock_offset_s(self) -> float | None:
        """Give the exchange's clock minus the machine's; 0 where time is made to run faster on purpose."""
        return self.clock.offset_s if self.clock.speed == 1.0 or self.clock.offset_s is None else 0.0

    def banned_until(self) -> datetime | None:
        """Give the end of the exchange's last ban, None when it never asked to stay away."""
        return self.exchange.banned_until()

    def priced(self, settings: Settings) -> Settings:
        """Give the settings with the account's own fee: the dearest taker rate of the first symbol, discounts aside."""
        named = settings.universe.training_symbols
        if not named:
            return settings
        try:
            rate = float(max(self.exchange.commission(Symbol(named[0])).taker.values()))
        except Transient:
            raise
        except ExchangeError as error:
            log.warning("the account's fee is unknown, the configured one counts error=%s", error)
            return settings
        if rate != settings.risk.fees_pct:
            log.info("the account pays fees_pct=%g, configured were %g", rate, settings.risk.fees_pct)
        return settings.model_copy(update={"risk": settings.risk.model_copy(update={"fees_pct": rate})})


def open_live_account(settings: Settings, environ: Mapping[str, str], stop: threading.Event) -> LiveAccount:
    """Measure the exchange's time and ask whose account the keys open.

    Raises `ConfigError` for a secret that cannot sign, `Transient` when the exchange does not answer or asked to stay
    away, and another `ExchangeError` when it does not know the key.
    """
    secrets = Secrets.from_environ(environ)
    exchange_settings = settings.exchange
    credentials = Credentials(secrets.binance_api_key, secrets.binance_api_secret)
    transport = CcxtTransport.connect(exchange_settings, credentials)
    machine = SystemClock(stop)
    clock = VenueClock(machine, speed=_speed(settings, environ), stop=stop)
    bans = TranslatedBans(
        BanFile(Path(settings.storage.sqlite_path).with_name(BANS)), machine, clock, speed=clock.speed
    )
    _wait_out(bans, machine, _host(settings))
    exchange = LiveExchange(
        transport,
        clock,
        exchange_settings,
        symbols=tuple(Symbol(name) for name in settings.universe.training_symbols),
        weight=order_weight(exchange_settings, clock),
        bans=bans,
    )
    exchange.patience.begin_start()
    transport.hurry(exchange.patience)
    measure_time(exchange, clock, settings)
    return LiveAccount(exchange, clock, f"{_host(settings)}:{exchange.account_flags().uid}")


def _wait_out(bans: TranslatedBans, machine: Clock, host: str) -> None:
    """Wait for the end of a short ban; raises `Unreachable` naming the end of one that lasts."""
    until = bans.ends_at
    if until is not None and until - machine.now() <= SHORT_BAN:
        left_s = (until - machine.now()).total_seconds()
        log.warning("the exchange asked to stay away, that is waited for wait_s=%.1f", left_s)
        machine.sleep_until(until)
        until = bans.ends_at
    if until is not None:
        raise Unreachable(f"{host}: asked to stay away until {iso(until)}; nothing is sent before, start again then")


def measure_time(exchange: LiveExchange, clock: VenueClock, settings: Settings) -> None:
    """Read the exchange's time, again after a pause where that fails; raises `Transient`."""
    told = f"{_host(settings)}: does not tell its time; check network, status page and exchange.base_url"
    began, attempt = clock.monotonic(), 0
    while not exchange.keep_time():
        spent_s = clock.monotonic() - began
        exchange.patience.wait(Failure(Transient(told), attempt, spent_s, exchange.weight.banned_until))
        clock.distrust()
        attempt += 1


def is_sandbox(settings: Settings) -> bool:
    """Tell whether the exchange is one on this machine."""
    return urlparse(settings.exchange.base_url or "").hostname in LOOPBACK


def _host(settings: Settings) -> str:
    if is_sandbox(settings):
        return "sandbox"
    host = urlparse(settings.exchange.base_url or "").hostname or ""
    if settings.exchange.testnet or "testnet" in host:
        return "binance testnet"
    return "binance demo" if host.startswith("demo-") else "binance"


def _speed(settings: Settings, environ: Mapping[str, str]) -> float:
    """Give how fast the exchange's time runs: as ours, but for a sandbox that was started faster."""
    text = environ.get(SPEED_VARIABLE, "").strip()
    if not text or not is_sandbox(settings):
        return 1.0
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 10_000:
        raise ConfigError([f"{SPEED_VARIABLE}: {text!r} is not allowed; allowed: a number above 0, at most 10000"])
    return speed


def heed_halt_marker(store: StateStore, at: datetime) -> None:
    """Commit the halt that a kill switch left beside a book it could not use, then take its marker away."""
    marker = HaltMarker.beside(store.path)
    reason = marker.reason()
    if reason is None:
        return
    if store.control().state is not ControlState.HALTED:
        with store.transaction():
            changed = store.set_control(ControlState.HALTED, reason, "kill switch", at)
            event = ControlChanged(at, changed.state.value, changed.reason, changed.set_by, changed.epoch)
            Journal(store).emit(event)
        log.critical("HALTED: %s", reason)
    marker.remove()


def require_quote(store: StateStore, settings: Settings) -> None:
    """Refuse a book that is kept in another quote asset; raises `ConfigError`."""
    held = store.ledger_balances()
    if held and settings.base_quote not in held:
        raise ConfigError(
            [
                f"base_quote: this book is not kept in {settings.base_quote}, it holds {', '.join(sorted(held))}; "
                "go back to the former base_quote or point storage.sqlite_path to a new file"
            ]
        )
