"""The real exchange behind the `Exchange` port: orders as the venue writes them, answers judged before they count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from bn_ml import account_answers
from bn_ml.account_answers import AccountFlags, ApiPermissions, CommissionRates
from bn_ml.account_calls import AccountCalls, BanMemory
from bn_ml.answer_fields import Garbled, objects
from bn_ml.client_ids import PREFIX
from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, Replacement, receive_window
from bn_ml.errors import ExchangeError, OutcomeUnknown, Transient
from bn_ml.http_answers import HttpAnswer, Transport
from bn_ml.order_answers import NotKnown, VenueRefusal, canceled, placed, read, replaced
from bn_ml.order_reports import (
    Told,
    open_order,
    told_of_canceled,
    told_of_oco,
    told_of_order,
    told_of_placed,
    trades,
    with_trades,
)
from bn_ml.order_requests import oco_params, order_params, replace_params
from bn_ml.patience import Patience
from bn_ml.ports import Clock
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_names import symbol_named, venue_name
from bn_ml.weight import WeightMeter

log = logging.getLogger(__name__)

ORDER = "/api/v3/order"
OCO = "/api/v3/orderList/oco"
REPLACE = "/api/v3/order/cancelReplace"
OPEN_ORDERS = "/api/v3/openOrders"
TRADES = "/api/v3/myTrades"
ACCOUNT = "/api/v3/account"
COMMISSION = "/api/v3/account/commission"
PERMISSIONS = "/sapi/v1/account/apiRestrictions"
TRADES_PER_PAGE = 1000
_DAY = timedelta(hours=24)
Value = TypeVar("Value")


class LiveExchange:
    """The `Exchange` port over a transport; for one thread.

    State-changing requests are sent once. What is not a clean acceptance or a refusal on the list is `OutcomeUnknown`;
    an order that traded is reported with all its trades or not at all.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        settings: ExchangeSettings,
        *,
        symbols: Iterable[Symbol] = (),
        weight: WeightMeter | None = None,
        bans: BanMemory | None = None,
    ) -> None:
        """Nothing is sent yet.

        `clock` shows the venue's time; a `VenueClock` is measured when `keep_time` is called, with every look at the
        open orders or balances, and after a request refused for its time. `symbols` are those known by name; `weight`
        is shared with whatever else this process sends; `bans` keeps the end of a ban over restarts.
        """
        self._calls = AccountCalls(transport, clock, settings, weight=weight, bans=bans)
        self._clock = clock
        self._symbols = {venue_name(symbol): symbol for symbol in symbols}

    @property
    def weight(self) -> WeightMeter:
        """The request weight these calls draw on."""
        return self._calls.weight

    @property
    def patience(self) -> Patience:
        """How long these calls repeat a failed read."""
        return self._calls.patience

    def create_order(self, intent: OrderIntent) -> OrderReport:
        """Place one order, stamped with the instant the intent was made; raises `Refused` or `OutcomeUnknown`."""
        value = placed(self._send(ORDER, order_params(intent), intent))
        with _after_write():
            return self._complete_or_ask(told_of_placed(value, intent), intent)

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        """Place a sell OCO; gives the reports of target and stop; raises `Refused` or `OutcomeUnknown`."""
        first = min(target, stop, key=lambda intent: intent.created_at)
        value = placed(self._send(OCO, oco_params(target, stop), first))
        with _after_write():
            above, below = told_of_oco(value, target, stop)
            return self._complete(above), self._complete(below)

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        """Cancel an order (its whole list, if it has one) and place another in one request.

        Raises `Refused` when nothing was done, `OutcomeUnknown` when that is not certain.
        """
        ended, fresh = replaced(self._send(REPLACE, replace_params(client_id, intent), intent))
        with _after_write():
            old = self._complete(told_of_canceled(ended, intent.symbol, client_id, intent.side))
            if isinstance(fresh, VenueRefusal):
                return Replacement(old, None, fresh.text, fresh.code)
            return Replacement(old, self._complete_or_ask(told_of_placed(fresh, intent), intent))

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Give the state and all trades of an order, None when the venue says it knows none; raises `Transient`."""
        params = {"symbol": venue_name(symbol), "origClientOrderId": client_id}
        try:
            told = self._read(ORDER, params, 4, lambda value: told_of_order(value, symbol, client_id))
        except NotKnown:
            return None
        with _reading():
            return self._complete(told)

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        """Cancel an order and the list it belongs to; None when the venue says no such order is open.

        Raises `Refused` when it surely stands as it was, `OutcomeUnknown` when that is not certain.
        """
        params = {"symbol": venue_name(symbol), "origClientOrderId": client_id}
        value = canceled(self._calls.write("DELETE", ORDER, params))
        if value is None:
            return None
        with _after_write():
            return self._complete(told_of_canceled(value, symbol, client_id))

    def balances(self) -> Mapping[str, Balance]:
        """Give all non-zero balances by asset; raises `Transient`."""
        self._calls.keep_time()
        return self._read(ACCOUNT, {"omitZeroBalances": "true"}, 20, account_answers.balances)

    def open_orders(self) -> Sequence[OrderReport]:
        """Give all open orders of the account without their trades, those of other programs included.

        An order of another program that cannot be read is left out with a warning; raises `Transient` for one of ours.
        """
        self._calls.keep_time()
        return self._read(OPEN_ORDERS, {}, 80, self._open_orders)

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        """Give all trades of a symbol from an instant on, oldest first, with empty client ids; raises `Transient`."""
        found: list[Fill] = []
        while True:
            window = {"startTime": str(to_ms(since)), "endTime": str(to_ms(since + _DAY) - 1)}
            page = self._page(symbol, window)
            found += page
            if len(page) == TRADES_PER_PAGE:
                return tuple(found + self._after(page[-1], {}))
            since += _DAY
            if since > self._clock.now():
                return tuple(found)

    def server_time_ms(self) -> int:
        """Ask the venue for its time, once; ms since 1970. Raises `Transient`."""
        return self._calls.server_time_ms()

    def keep_time(self) -> bool:
        """Measure the venue's time if that is due; tells whether the clock can be relied on."""
        return self._calls.keep_time()

    def banned_until(self) -> datetime | None:
        """Give the end of the venue's last ban, kept over restarts from here on; None when it never asked for one."""
        return self._calls.banned_until()

    def account_flags(self) -> AccountFlags:
        """Give what the account may do; raises `Transient` or another `ExchangeError`."""
        return self._read(ACCOUNT, {"omitZeroBalances": "true"}, 20, account_answers.account_flags)

    def account(self) -> tuple[AccountFlags, Mapping[str, Balance]]:
        """Give what the account may do and its non-zero balances; raises `Transient` or another `ExchangeError`."""
        return self._read(
            ACCOUNT,
            {"omitZeroBalances": "true"},
            20,
            lambda value: (account_answers.account_flags(value), account_answers.balances(value)),
        )

    def api_permissions(self) -> ApiPermissions | None:
        """Give what the key may do, None where the venue does not offer the question (test network)."""
        return self._calls.read_judged(PERMISSIONS, {}, 1, _permissions)

    def commission(self, symbol: Symbol) -> CommissionRates:
        """Give the commission rates of a symbol; raises `Transient` or another `ExchangeError`."""
        params = {"symbol": venue_name(symbol)}
        return self._read(COMMISSION, params, 20, lambda value: account_answers.commission(value, symbol))

    def _read(self, path: str, params: Mapping[str, str], weight: int, understand: Callable[[object], Value]) -> Value:
        """Give what a signed read says; an answer that cannot be understood is asked for again."""

        def judged(answer: HttpAnswer) -> Value:
            with _reading():
                return understand(read(answer))

        return self._calls.read_judged(path, params, weight, judged)

    def _send(self, path: str, params: Mapping[str, str], intent: OrderIntent) -> HttpAnswer:
        """Send an order stamped with the instant its intent was made, within the window its purpose allows."""
        window = receive_window(intent, self._calls.window)
        stamped = {**params, "recvWindow": str(window // timedelta(milliseconds=1))}
        return self._calls.write("POST", path, stamped, until=intent.created_at + window)

    def _complete_or_ask(self, told: Told | None, intent: OrderIntent) -> OrderReport:
        """Give a full report; a bare acknowledgement is followed by a query."""
        if told is not None:
            return self._complete(told)
        report = self.order_status(intent.symbol, intent.client_id)
        if report is None or (report.side, report.quantity) != (intent.side, intent.quantity):
            raise Garbled(f"acknowledged {intent.client_id}, then {report}")
        return report

    def _complete(self, told: Told) -> OrderReport:
        if not told.needs_trades:
            return told.report
        of_order = {"orderId": told.order_id}
        fills = self._page(told.report.symbol, of_order)
        if len(fills) == TRADES_PER_PAGE:
            fills += self._after(fills[-1], of_order)
        client_id = told.report.client_id
        return with_trades(told, (replace(fill, client_id=client_id) for fill in fills))

    def _after(self, last: Fill, of_order: Mapping[str, str]) -> list[Fill]:
        """Give all trades after one, page by page."""
        found: list[Fill] = []
        while True:
            page = self._page(last.symbol, {**of_order, "fromId": str(int(last.trade_id) + 1)})
            if page and int(page[0].trade_id) <= int(last.trade_id):
                raise Transient(f"{last.symbol}: a page of trades goes back to {page[0].trade_id}")
            found += page
            if len(page) < TRADES_PER_PAGE:
                return found
            last = page[-1]

    def _page(self, symbol: Symbol, which: Mapping[str, str]) -> list[Fill]:
        order_id = which.get("orderId", "")
        params = {"symbol": venue_name(symbol), **which, "limit": str(TRADES_PER_PAGE)}
        return self._read(
            TRADES, params, 5 if order_id else 20, lambda value: list(trades(value, symbol, order_id=order_id))
        )

    def _open_orders(self, value: object) -> Sequence[OrderReport]:
        reports = []
        for fields in objects(value):
            try:
                reports.append(open_order(fields, self._symbol(fields.text("symbol"))))
            except ValueError as error:
                client_id = fields.record.get("clientOrderId")
                if not isinstance(client_id, str) or client_id.startswith(PREFIX):
                    raise
                log.warning("an order of another program cannot be read error=%s", error)
        return tuple(reports)

    def _symbol(self, name: str) -> Symbol:
        known = self._symbols.get(name)
        return symbol_named(name) if known is None else known


def _permissions(answer: HttpAnswer) -> ApiPermissions | None:
    """Read what a key may do; None where the venue does not know the question."""
    if answer.status == 404:
        return None
    with _reading():
        return account_answers.api_permissions(read(answer))


@contextmanager
def _after_write() -> Iterator[None]:
    """Once a request may have been carried out, whatever cannot be read leaves its outcome unknown."""
    try:
        yield
    except (Garbled, ExchangeError) as error:
        raise OutcomeUnknown(f"unclear answer: {error}") from error


@contextmanager
def _reading() -> Iterator[None]:
    """A read that cannot be understood may be repeated."""
    try:
        yield
    except Garbled as error:
        raise Transient(f"unclear answer: {error}") from error
