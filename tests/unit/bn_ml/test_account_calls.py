"""What each request costs of the minute's weight, how long a failed read waits, and which instant dates an order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from bn_ml.domain.market import to_ms
from bn_ml.errors import OutcomeUnknown, Refused, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.live_exchange import LiveExchange
from tests.fakes.live_orders import (
    BTC,
    ENTRY_ID,
    NOW,
    a_live_exchange,
    a_stop,
    an_intent,
    an_oco,
    an_oco_answer,
    an_order,
    ok,
    refusal,
    two_fills,
)

BUSY = refusal(-1001, "Internal error", 503)
LOST = NoAnswer("timed out")
FLAGS = {"canTrade": True, "canWithdraw": False, "canDeposit": True, "accountType": "SPOT"}
RATES = {"symbol": "BTCUSDC", "standardCommission": dict.fromkeys(("maker", "taker", "buyer", "seller"), "0.001")}


@pytest.mark.parametrize(
    ("answer", "act", "weight"),
    [
        (ok(two_fills(an_intent())), lambda exchange: exchange.create_order(an_intent()), 1),
        (ok(an_oco_answer(*an_oco())), lambda exchange: exchange.create_oco(*an_oco()), 1),
        (refusal(-2011, "Unknown order sent."), lambda exchange: exchange.cancel_order(BTC, ENTRY_ID), 1),
        (ok(an_order(an_intent())), lambda exchange: exchange.order_status(BTC, ENTRY_ID), 4),
        (ok([]), lambda exchange: exchange.open_orders(), 80),
        (ok({"balances": []}), lambda exchange: exchange.balances(), 20),
        (ok([]), lambda exchange: exchange.trades(BTC, NOW), 20),
        (ok({"serverTime": 1_700_000_000_000}), lambda exchange: exchange.server_time_ms(), 1),
        (HttpAnswer(404, ""), lambda exchange: exchange.api_permissions(), 1),
        (ok(FLAGS), lambda exchange: exchange.account_flags(), 20),
        (ok(FLAGS | {"balances": []}), lambda exchange: exchange.account(), 20),
        (ok(RATES), lambda exchange: exchange.commission(BTC), 20),
    ],
)
def test_each_request_is_counted_with_the_venue_s_weight(
    answer: HttpAnswer, act: Callable[[LiveExchange], object], weight: int
) -> None:
    exchange, transport, _ = a_live_exchange(answer)
    act(exchange)
    assert (exchange.weight.used, len(transport.asked)) == (weight, 1)


def test_the_trades_of_one_order_cost_less_than_those_of_a_symbol() -> None:
    body = an_order(an_intent(), executed="0.05", quote="1000")
    exchange, _, _ = a_live_exchange(ok(body), ok([]))
    with pytest.raises(Transient):
        exchange.order_status(BTC, ENTRY_ID)
    assert exchange.weight.used == 4 + 5


def test_asking_whether_the_venue_is_there_costs_one() -> None:
    exchange, transport, clock = a_live_exchange(LOST, LOST, LOST, LOST)
    for _ in range(3):
        with pytest.raises(Transient):
            exchange.order_status(BTC, ENTRY_ID)
    assert exchange.weight.used == 12
    with pytest.raises(Unreachable):
        exchange.order_status(BTC, ENTRY_ID)
    assert (transport.paths()[-1], exchange.weight.used) == ("GET ping", 13)
    assert clock.now() == NOW


def test_a_failed_read_waits_twice_as_long_each_time() -> None:
    settings = {"retry_attempts": 3, "retry_backoff_sec": 0.5, "timeout_ms": 9000}
    exchange, transport, clock = a_live_exchange(BUSY, BUSY, BUSY, ok({"balances": []}), settings=settings)
    exchange.balances()
    sent = [int(params["timestamp"]) - to_ms(NOW) for _, _, params, _ in transport.asked]
    assert sent == [0, 500, 1500, 3500]
    assert clock.now() == NOW + timedelta(seconds=3.5)


def test_a_failed_read_is_given_up_after_its_attempts_and_within_one_time_out() -> None:
    settings = {"retry_attempts": 2, "retry_backoff_sec": 0.5, "timeout_ms": 9000}
    exchange, transport, _ = a_live_exchange(*[BUSY] * 4, settings=settings)
    with pytest.raises(Transient):
        exchange.balances()
    assert len(transport.asked) == 3
    exchange, transport, _ = a_live_exchange(
        *[BUSY] * 4, settings={**settings, "retry_attempts": 9, "timeout_ms": 1500}
    )
    with pytest.raises(Transient):
        exchange.balances()
    assert [int(params["timestamp"]) - to_ms(NOW) for _, _, params, _ in transport.asked] == [0, 500, 1500]


def test_a_read_of_a_start_is_repeated_at_once_and_one_that_makes_no_sense_too() -> None:
    broken = [LOST, ok(""), ok({"balances": [{}]}), HttpAnswer(403, "<html>"), refusal(-1008, "overloaded", 503)]
    exchange, transport, clock = a_live_exchange(*broken, ok({"balances": []}), settings={"retry_attempts": 3})
    exchange.patience.begin_start()
    assert exchange.balances() == {}
    sent = [int(params["timestamp"]) - to_ms(NOW) for _, _, params, _ in transport.asked]
    assert sent == [0, 50, 150, 350, 750, 1550]
    exchange.patience.end_start()
    transport.script = [LOST, ok({"balances": []})]
    began = clock.now()
    exchange.balances()
    assert clock.now() - began == timedelta(seconds=0.5)


def test_the_rights_of_a_key_are_asked_for_again_until_they_can_be_read() -> None:
    rights = {"enableReading": True, "enableSpotAndMarginTrading": True, "enableWithdrawals": False, "ipRestrict": True}
    answers = [ok(""), ok({"enableReading": True}), HttpAnswer(403, "<html>"), ok(rights)]
    exchange, transport, _ = a_live_exchange(*answers, settings={"retry_attempts": 3})
    exchange.patience.begin_start()
    permissions = exchange.api_permissions()
    assert permissions is not None
    assert (permissions.may_withdraw, permissions.is_ip_restricted, len(transport.asked)) == (False, True, 4)


@pytest.mark.parametrize(("wait_s", "asked"), [("10", 2), ("11", 1)])
def test_a_start_outwaits_a_short_ban_to_its_end_and_asks_nothing_before(wait_s: str, asked: int) -> None:
    banned = refusal(-1003, "Too much request weight used.", 429, retry_after=wait_s)
    exchange, transport, clock = a_live_exchange(banned, ok({"balances": []}), settings={"retry_attempts": 3})
    exchange.patience.begin_start()
    if asked == 2:
        exchange.balances()
    else:
        with pytest.raises(Unreachable):
            exchange.balances()
    assert len(transport.asked) == asked
    assert clock.now() == NOW + timedelta(seconds=10 if asked == 2 else 0)


def test_no_start_repeats_an_order() -> None:
    for answer, error in ((LOST, OutcomeUnknown), (BUSY, OutcomeUnknown), (ok(""), OutcomeUnknown)):
        exchange, transport, _ = a_live_exchange(answer, settings={"retry_attempts": 3})
        exchange.patience.begin_start()
        with pytest.raises(error):
            exchange.create_order(an_intent())
        assert len(transport.asked) == 1


@pytest.mark.parametrize(("late_by_ms", "is_sent"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("older", ["target", "stop"])
def test_an_oco_leaves_within_the_window_of_its_older_leg(older: str, late_by_ms: int, is_sent: bool) -> None:
    before = NOW - timedelta(milliseconds=700)
    (target, stop), (early_target, early_stop) = an_oco(), an_oco(created_at=before)
    target, stop = (early_target, stop) if older == "target" else (target, early_stop)
    exchange, transport, clock = a_live_exchange(ok(an_oco_answer(target, stop)), at=before)
    clock.sleep_until(before + timedelta(milliseconds=1000 + late_by_ms))
    if is_sent:
        exchange.create_oco(target, stop)
        assert transport.params["timestamp"] == str(to_ms(before))
    else:
        with pytest.raises(Refused, match="receive window"):
            exchange.create_oco(target, stop)
        assert transport.asked == []


def test_a_cancel_is_dated_with_the_instant_of_its_sending() -> None:
    exchange, transport, clock = a_live_exchange(refusal(-2011, "Unknown order sent."))
    clock.sleep_until(NOW + timedelta(hours=3))
    assert exchange.cancel_order(BTC, a_stop().client_id) is None
    assert transport.params["timestamp"] == str(to_ms(NOW + timedelta(hours=3)))


def test_an_order_refused_for_its_time_is_refused_on_any_clock() -> None:
    exchange, transport, _ = a_live_exchange(refusal(-1021, "Timestamp for this request is outside of the recvWindow."))
    with pytest.raises(Refused) as caught:
        exchange.create_order(an_intent())
    assert (caught.value.code, len(transport.asked)) == (-1021, 1)
