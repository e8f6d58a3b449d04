"""Lists that need several pages, lists that contradict themselves, and the venue's time along the way."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from bn_ml.clock import SimulatedClock
from bn_ml.errors import Transient
from bn_ml.live_exchange import LiveExchange
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_clock import VenueClock
from tests.fakes.live_orders import (
    BTC,
    ENTRY_ID,
    NOW,
    ScriptedTransport,
    a_live_exchange,
    a_stop,
    a_trade,
    an_intent,
    an_order,
    ok,
)

SERVER_MS = 1_700_000_000_500


def pages_of(count: int) -> list[list[dict[str, object]]]:
    trades = [a_trade("10.00", "0.001", 100 + number) for number in range(count)]
    return [trades[begin : begin + 1000] for begin in range(0, count + 1, 1000)]


@pytest.mark.parametrize("status", ["CANCELED", "EXPIRED", "REJECTED", "EXPIRED_IN_MATCH"])
def test_an_ended_order_among_the_open_ones_is_asked_for_again(status: str) -> None:
    with pytest.raises(Transient, match="open orders hold"):
        a_live_exchange(ok([an_order(a_stop(), status=status)]))[0].open_orders()


@pytest.mark.parametrize(("count", "requests"), [(1000, 3), (1999, 3), (2000, 4), (2001, 4)])
def test_trades_of_an_order_are_read_until_a_page_is_not_full(count: int, requests: int) -> None:
    quantity = Decimal(count) / 1000
    intent = an_intent(quantity=quantity)
    body = an_order(intent, executed=str(quantity), quote=str(quantity * 10))
    exchange, transport, _ = a_live_exchange(ok(body), *(ok(page) for page in pages_of(count)))
    report = exchange.order_status(BTC, ENTRY_ID)
    assert report is not None
    assert [int(fill.trade_id) for fill in report.fills] == list(range(100, 100 + count))
    assert {fill.client_id for fill in report.fills} == {ENTRY_ID}
    assert len(transport.asked) == requests
    assert transport.params["fromId"] == str(100 + (requests - 2) * 1000)


def test_each_look_at_orders_or_balances_measures_a_venue_clock_that_needs_it() -> None:
    machine = SimulatedClock(NOW)
    clock = VenueClock(machine)
    times = [ok({"serverTime": SERVER_MS})] * 3
    transport = ScriptedTransport(*times, ok([]), ok({"balances": []}), *times)
    exchange = LiveExchange(transport, clock, ExchangeSettings.model_validate({"retry_attempts": 0}))
    assert exchange.open_orders() == ()
    assert (clock.is_measured, clock.offset_s) == (True, 0.5)
    exchange.balances()
    assert [path for _, path, _, _ in transport.asked].count("/api/v3/time") == 3
    machine.sleep_until(NOW + timedelta(seconds=600))
    assert exchange.keep_time()
    assert transport.script == []


def test_a_clock_of_its_own_needs_no_measuring() -> None:
    exchange, transport, _ = a_live_exchange()
    assert exchange.keep_time()
    assert transport.asked == []
