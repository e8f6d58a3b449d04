"""An exchange whose calls are timed and whose failures are counted; what is asked and answered passes unchanged."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, Replacement
from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused, Transient, Unreachable
from bn_ml.ports import Clock, Exchange

log = logging.getLogger(__name__)

_KINDS = (
    (Refused, "refused"),
    (OutcomeUnknown, "outcome_unknown"),
    (Unreachable, "unreachable"),
    (Transient, "transient"),
)


class CallFigures(Protocol):
    """Who keeps the figures of calls."""

    def observe_order(self, seconds: float) -> None:
        """Take how long a request about an order took."""

    def count_exchange_error(self, kind: str) -> None:
        """Count a request the exchange did not do."""


class MeasuredExchange:
    """Passes every call on once, unchanged, and its answer or error back.

    Timed are the requests that place, replace or cancel orders, in real seconds whatever the clock of trading says.
    """

    def __init__(self, exchange: Exchange, figures: CallFigures, clock: Clock) -> None:
        """Measure the calls to `exchange` by the clock's monotonic seconds."""
        self._exchange = exchange
        self._figures = figures
        self._clock = clock

    def create_order(self, intent: OrderIntent) -> OrderReport:
        """Place one order."""
        with self._measured(timed=True):
            return self._exchange.create_order(intent)

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        """Place a target and a stop of which one cancels the other."""
        with self._measured(timed=True):
            return self._exchange.create_oco(target, stop)

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        """Cancel an order and place another in one request."""
        with self._measured(timed=True):
            return self._exchange.replace_order(client_id, intent)

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Cancel an order."""
        with self._measured(timed=True):
            return self._exchange.cancel_order(symbol, client_id)

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Give the present state of an order."""
        with self._measured():
            return self._exchange.order_status(symbol, client_id)

    def balances(self) -> Mapping[str, Balance]:
        """Give all balances by asset."""
        with self._measured():
            return self._exchange.balances()

    def open_orders(self) -> Sequence[OrderReport]:
        """Give all open orders."""
        with self._measured():
            return self._exchange.open_orders()

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        """Give the trades in a symbol."""
        with self._measured():
            return self._exchange.trades(symbol, since)

    @contextmanager
    def _measured(self, *, timed: bool = False) -> Iterator[None]:
        began_s = self._clock.monotonic()
        failure: ExchangeError | None = None
        try:
            yield
        except ExchangeError as error:
            failure = error
            raise
        finally:
            self._note(self._clock.monotonic() - began_s if timed else None, failure)

    def _note(self, seconds: float | None, failure: ExchangeError | None) -> None:
        try:
            if seconds is not None:
                self._figures.observe_order(seconds)
            if failure is not None:
                self._figures.count_exchange_error(kind_of(failure))
        except Exception:
            # A boundary: the answer about an order must not be lost for the sake of a figure.
            log.exception("a call to the exchange was not counted")


def kind_of(error: ExchangeError) -> str:
    """Give the word under which an error is counted.

    >>> kind_of(Unreachable("away")), kind_of(Transient("once")), kind_of(ExchangeError("else"))
    ('unreachable', 'transient', 'other')
    """
    return next((word for kind, word in _KINDS if isinstance(error, kind)), "other")
