"""The live exchange against the sandbox, over HTTP and with the real library: every call, and what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.orders import OrderIntent, OrderStatus, OrderType, Side, TimeInForce
from bn_ml.errors import OutcomeUnknown, Refused, Unreachable
from bn_ml.exchange import CcxtTransport, Credentials
from bn_ml.live_exchange import LiveExchange
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_clock import VenueClock
from tests.fakes.live_orders import BTC, a_market_exit, a_stop, an_intent
from tests.fakes.sandbox_process import SandboxThread, now_wall_ms

QUANTITY = Decimal("0.002")


@dataclass
class Desk:
    sandbox: SandboxThread
    exchange: LiveExchange
    clock: VenueClock
    transport: CcxtTransport
    numbers: Iterator[int]

    def price(self, factor: str) -> Decimal:
        answer = self.transport.request("GET", "/api/v3/ticker/price", {"symbol": "BTCUSDC"}, signed=False)
        last = Decimal(answer.body.partition('"price":')[2].strip(' "}').partition('"')[0])
        return (last * Decimal(factor)).quantize(Decimal("0.01"))

    def stamped(self, intent: OrderIntent, **changes: Any) -> OrderIntent:
        own = {"client_id": f"bnml-live00-{next(self.numbers):03d}", "created_at": self.clock.now()}
        return replace(intent, **{"quantity": QUANTITY, **own, **changes})

    def entry(self, factor: str, **changes: Any) -> OrderIntent:
        return self.stamped(an_intent(), limit_price=self.price(factor), **changes)

    def stop(self, factor: str, **changes: Any) -> OrderIntent:
        return self.stamped(a_stop(), stop_price=self.price(factor), **changes)

    def bought(self) -> None:
        self.exchange.create_order(self.stamped(a_market_exit(), side=Side.BUY, quantity=Decimal("0.01")))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxThread]:
    running = SandboxThread.start(frozen=False, start_ms=now_wall_ms())
    yield running
    running.stop()


@pytest.fixture(scope="module")
def desk(sandbox: SandboxThread) -> Desk:
    settings = ExchangeSettings.model_validate({"base_url": sandbox.base_url, "rate_limit_ms": 10})
    transport = CcxtTransport.connect(settings, Credentials(sandbox.api_key, sandbox.api_secret))
    clock = VenueClock(SystemClock())
    exchange = LiveExchange(transport, clock, settings, symbols=(BTC,))
    assert exchange.keep_time()
    made = Desk(sandbox, exchange, clock, transport, count(1))
    made.bought()
    return made


def test_the_time_is_that_of_the_sandbox(desk: Desk) -> None:
    assert abs(desk.exchange.server_time_ms() - desk.sandbox.now_ms()) < 1000
    assert desk.clock.doubt_s < 0.5


def test_a_limit_buy_that_takes_is_filled_with_numbered_trades(desk: Desk) -> None:
    before = desk.exchange.balances()
    intent = desk.entry("1.001")
    report = desk.exchange.create_order(intent)
    assert (report.status, report.executed_quantity) == (OrderStatus.FILLED, QUANTITY)
    assert sum(fill.quantity for fill in report.fills) == QUANTITY
    fees = sum((fill.fee for fill in report.fills if fill.fee_asset == "BTC"), Decimal(0))
    after = desk.exchange.balances()
    assert after["BTC"].total - before["BTC"].total == QUANTITY - fees
    assert before["USDC"].total - after["USDC"].total == report.executed_quote
    again = desk.exchange.order_status(BTC, intent.client_id)
    assert again is not None
    assert [(fill.trade_id, fill.quantity, fill.fee) for fill in again.fills] == [
        (fill.trade_id, fill.quantity, fill.fee) for fill in report.fills
    ]


def test_a_limit_buy_that_cannot_take_expires_empty(desk: Desk) -> None:
    report = desk.exchange.create_order(desk.entry("0.9", time_in_force=TimeInForce.IOC))
    assert (report.status, report.executed_quantity, report.fills) == (OrderStatus.EXPIRED, Decimal(0), ())


def test_a_resting_order_is_seen_and_cancelled_once(desk: Desk) -> None:
    intent = desk.entry("0.9", time_in_force=TimeInForce.GTC)
    assert desk.exchange.create_order(intent).status is OrderStatus.NEW
    assert intent.client_id in {report.client_id for report in desk.exchange.open_orders()}
    ended = desk.exchange.cancel_order(BTC, intent.client_id)
    assert ended is not None
    assert (ended.client_id, ended.status) == (intent.client_id, OrderStatus.CANCELED)
    assert desk.exchange.cancel_order(BTC, intent.client_id) is None
    known = desk.exchange.order_status(BTC, intent.client_id)
    assert known is not None
    assert known.status is OrderStatus.CANCELED


def test_an_order_nobody_sent_is_not_known(desk: Desk) -> None:
    assert desk.exchange.order_status(BTC, "bnml-live00-zzz") is None


@pytest.mark.parametrize("trailing", [0, 150])
def test_a_stop_rests_by_price_or_trailing(desk: Desk, trailing: int) -> None:
    intent = desk.stop("0.97", trailing_bp=trailing)
    assert desk.exchange.create_order(intent).status.is_open
    assert desk.exchange.cancel_order(BTC, intent.client_id) is not None


def test_a_stop_past_the_market_is_refused_in_the_venue_s_words(desk: Desk) -> None:
    with pytest.raises(Refused, match="trigger immediately") as caught:
        desk.exchange.create_order(desk.stop("1.05"))
    assert caught.value.code == -2010


def test_an_id_that_is_open_already_is_no_refusal(desk: Desk) -> None:
    intent = desk.stop("0.97")
    desk.exchange.create_order(intent)
    with pytest.raises(OutcomeUnknown, match="Duplicate"):
        desk.exchange.create_order(replace(intent, created_at=desk.clock.now()))
    desk.exchange.cancel_order(BTC, intent.client_id)


@pytest.mark.parametrize("trailing", [0, 150])
def test_an_oco_rests_with_both_legs_and_goes_with_either(desk: Desk, trailing: int) -> None:
    list_id = f"bnml-live00-L{next(desk.numbers)}"
    target = desk.entry("1.05", side=Side.SELL, time_in_force=None, list_id=list_id)
    stop = desk.stop("0.95", list_id=list_id, trailing_bp=trailing)
    above, below = desk.exchange.create_oco(target, stop)
    assert (above.client_id, below.client_id) == (target.client_id, stop.client_id)
    assert above.status.is_open
    assert below.status.is_open
    open_ids = {report.client_id for report in desk.exchange.open_orders()}
    assert {target.client_id, stop.client_id} <= open_ids
    ended = desk.exchange.cancel_order(BTC, stop.client_id)
    assert ended is not None
    assert ended.client_id == stop.client_id
    other = desk.exchange.order_status(BTC, target.client_id)
    assert other is not None
    assert not other.status.is_open


def test_a_stop_is_replaced_in_one_request(desk: Desk) -> None:
    old = desk.stop("0.95")
    desk.exchange.create_order(old)
    new = desk.stop("0.96")
    done = desk.exchange.replace_order(old.client_id, new)
    assert (done.canceled.client_id, done.canceled.status) == (old.client_id, OrderStatus.CANCELED)
    assert done.placed is not None
    assert (done.placed.client_id, done.placed.status.is_open) == (new.client_id, True)
    desk.exchange.cancel_order(BTC, new.client_id)


def test_a_replacement_that_would_trigger_ends_the_old_order_only(desk: Desk) -> None:
    old = desk.stop("0.95")
    desk.exchange.create_order(old)
    done = desk.exchange.replace_order(old.client_id, desk.stop("1.05"))
    assert done.canceled.client_id == old.client_id
    assert done.placed is None
    assert (done.code, "trigger" in done.refusal) == (-2010, True)


def test_a_replacement_of_what_is_gone_does_nothing(desk: Desk) -> None:
    new = desk.stop("0.96")
    with pytest.raises(Refused) as caught:
        desk.exchange.replace_order("bnml-live00-zzz", new)
    assert caught.value.code == -2011
    assert desk.exchange.order_status(BTC, new.client_id) is None


def test_a_market_sale_gives_quote_less_its_fee(desk: Desk) -> None:
    report = desk.exchange.create_order(desk.stamped(a_market_exit()))
    assert (report.status, report.executed_quantity) == (OrderStatus.FILLED, QUANTITY)
    trades = desk.exchange.trades(BTC, desk.clock.now() - timedelta(minutes=5))
    assert {fill.trade_id for fill in report.fills} <= {fill.trade_id for fill in trades}


def test_a_precision_the_venue_does_not_take_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused) as caught:
        desk.exchange.create_order(desk.entry("0.9", quantity=Decimal("0.00000000012")))
    assert caught.value.code == -1111


def test_the_account_can_be_looked_at(desk: Desk) -> None:
    assert desk.exchange.account_flags().can_trade
    permissions = desk.exchange.api_permissions()
    assert permissions is None or permissions.may_trade_spot
    assert desk.exchange.commission(BTC).taker[Side.BUY] > 0


def test_an_order_stamped_too_early_is_refused_by_the_venue(desk: Desk) -> None:
    late = desk.clock.now() + timedelta(seconds=3)
    with pytest.raises(Refused) as caught:
        desk.exchange.create_order(desk.entry("0.9", created_at=late))
    assert caught.value.code == -1021
    assert desk.clock.is_measured


def test_order_types_without_a_price_level_are_not_misread(desk: Desk) -> None:
    report = desk.exchange.create_order(desk.stamped(a_market_exit(), side=Side.BUY, type=OrderType.MARKET))
    assert report.executed_quantity == QUANTITY


NEVER_SEEN = ("drop_before", "unavailable", "overloaded", "unknown_before", "timeout_before", "forbidden")
CARRIED_OUT = ("drop_after", "unknown_after", "timeout_after", "bus_error_after", "empty", "cut", "bad_gateway_after")


@pytest.mark.parametrize("kind", [*NEVER_SEEN, *CARRIED_OUT])
def test_an_order_that_met_a_fault_is_unknown_and_found_where_it_was_carried_out(desk: Desk, kind: str) -> None:
    desk.sandbox.post("faults", script=[{"kind": kind, "method": "POST", "path": "/api/v3/order", "amount": 500}])
    intent = desk.entry("0.9", time_in_force=TimeInForce.GTC)
    with pytest.raises(OutcomeUnknown):
        desk.exchange.create_order(intent)
    found = desk.exchange.order_status(BTC, intent.client_id)
    assert (found is not None) is (kind in CARRIED_OUT)
    if found is not None:
        assert (found.side, found.quantity, found.status) == (Side.BUY, QUANTITY, OrderStatus.NEW)
        desk.exchange.cancel_order(BTC, intent.client_id)


def test_a_cancel_that_met_a_fault_is_unknown_and_done_once(desk: Desk) -> None:
    intent = desk.entry("0.9", time_in_force=TimeInForce.GTC)
    desk.exchange.create_order(intent)
    desk.sandbox.post("faults", script=[{"kind": "drop_after", "method": "DELETE", "path": "/api/v3/order"}])
    with pytest.raises(OutcomeUnknown):
        desk.exchange.cancel_order(BTC, intent.client_id)
    assert desk.exchange.cancel_order(BTC, intent.client_id) is None


def test_a_burst_of_429_stops_orders_too(desk: Desk) -> None:
    desk.sandbox.post("faults", script=[{"kind": "burst_429", "method": "GET", "amount": 1000}])
    with pytest.raises(Unreachable):
        desk.exchange.open_orders()
    assert desk.exchange.weight.banned_until is not None
    with pytest.raises(Refused, match="not sent"):
        desk.exchange.create_order(desk.stamped(a_market_exit()))
