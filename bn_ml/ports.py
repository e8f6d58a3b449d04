"""The doors between the deciders and the world, as Protocols over domain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from bn_ml.domain.account import Balance
from bn_ml.domain.alerts import Alert
from bn_ml.domain.events import Event
from bn_ml.domain.market import Bar, MarketRules, Quote, Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, Replacement
from bn_ml.domain.signals import ScanReport


class Clock(Protocol):
    """The only reader of time. Instants are aware UTC."""

    def now(self) -> datetime:
        """Give the present instant."""

    def sleep_until(self, instant: datetime) -> None:
        """Return at `instant` or later; returns at once when it has passed."""

    def monotonic(self) -> float:
        """Give seconds that never run backwards, for measuring durations of real work."""


class MarketView(Protocol):
    """What the trader may know of the market. Raises `MarketDataError` when it cannot be known."""

    def quote(self, symbol: Symbol) -> Quote:
        """Give the newest quote; its `at` says when it was true."""

    def path(self, symbol: Symbol, since: datetime, until: datetime) -> Sequence[Bar]:
        """Give the finest closed bars with `since <= open_at` and `close_at <= until`, in time order."""

    def atr_frac(self, symbol: Symbol) -> float:
        """Give ATR(14) of the base timeframe over the close of the newest closed bar."""

    def rules(self, symbol: Symbol) -> MarketRules:
        """Give the venue's filters for a symbol."""


class OrderDoor(Protocol):
    """Where orders go. State-changing calls are sent once and never repeated.

    Raises `Refused` (definitively not placed), `OutcomeUnknown` (may have been placed), `Transient` (a read failed).
    """

    def create_order(self, intent: OrderIntent) -> OrderReport:
        """Place one order; the report holds the fills so far."""

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        """Place a sell OCO of a target above and a stop below the market; both intents share `list_id`."""

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        """Cancel an order and place `intent` in one request, stopping when the cancel fails.

        Raises `Refused` when nothing was done and the old order is as it was.
        """

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Give the present state and all fills of an order, None when the exchange knows no such order."""

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Cancel an order (and the other leg of its list); None when there is no such open order."""


class AccountReads(Protocol):
    """What the exchange says exists. Raises `Transient` when it cannot be read."""

    def balances(self) -> Mapping[str, Balance]:
        """Give all non-zero balances by asset."""

    def open_orders(self) -> Sequence[OrderReport]:
        """Give all open orders of the account, those of other programs included."""

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        """Give all trades of the account in a symbol from an instant on, oldest first; client ids may be empty."""


class Exchange(OrderDoor, AccountReads, Protocol):
    """The whole exchange as the trader sees it."""


class OpportunitySource(Protocol):
    """Where ranked opportunities come from."""

    def scan(self, now: datetime) -> ScanReport:
        """Scan the universe once; never raises for a single symbol."""


class EventSink(Protocol):
    """Something that wants to know facts. A sink that fails never disturbs the cycle."""

    def emit(self, event: Event) -> None:
        """Take notice of a fact."""


class Background(Protocol):
    """Work that goes on elsewhere (training, hot reload) and is handed over at the start of a cycle."""

    def collect(self, now: datetime) -> Sequence[Event]:
        """Take over what has finished since the last call and give the facts to journal; never blocks."""


class AlertSink(Protocol):
    """Who tells people."""

    def offer(self, alert: Alert) -> None:
        """Take an alert from any thread; never blocks and never raises."""


class Worker(Protocol):
    """A thread or child process beside the loop that a supervisor starts, watches and starts again.

    `name` is unique. `stale_after_s` is how long its beat may stay away before it counts as stuck.
    """

    name: str
    stale_after_s: float

    def start(self) -> None:
        """Begin, or begin again after it died or was stopped."""

    def stop(self, timeout_s: float) -> None:
        """End within about `timeout_s`, leaving nothing behind; harmless when it does not run."""

    def is_alive(self) -> bool:
        """Tell whether its thread or process runs."""

    def beat_age_s(self) -> float:
        """Give the seconds since it last showed progress."""
