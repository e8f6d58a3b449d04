"""When the live exchange sends nothing: late, banned or out of request weight; and what it repeats."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from bn_ml.domain.market import from_ms
from bn_ml.errors import OutcomeUnknown, Refused, StateError, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer, NoAnswer
from tests.fakes.live_orders import (
    BTC,
    NOW,
    STOP_ID,
    a_live_exchange,
    an_intent,
    an_order,
    ok,
    refusal,
    two_fills,
)


def test_an_order_is_not_sent_after_its_receive_window() -> None:
    exchange, transport, clock = a_live_exchange(ok(an_order(an_intent())))
    clock.sleep_until(NOW + timedelta(milliseconds=5001))
    with pytest.raises(Refused, match="receive window") as caught:
        exchange.create_order(an_intent())
    assert (caught.value.code, transport.asked) == (0, [])
    exchange, transport, clock = a_live_exchange(ok(an_order(an_intent())))
    clock.sleep_until(NOW + timedelta(milliseconds=5000))
    exchange.create_order(an_intent())
    assert len(transport.asked) == 1


def test_a_ban_stops_orders_and_reads_until_it_ends() -> None:
    answer = refusal(-1003, "Too much request weight used.", 429, retry_after="17")
    exchange, transport, clock = a_live_exchange(answer, ok({"balances": []}))
    with pytest.raises(Refused) as caught:
        exchange.create_order(an_intent())
    assert caught.value.code == -1003
    assert exchange.weight.banned_until == NOW + timedelta(seconds=17)
    clock.sleep_until(NOW + timedelta(seconds=16))
    with pytest.raises(Refused, match="stay away") as refused:
        exchange.create_order(an_intent(created_at=clock.now()))
    assert refused.value.code == 0
    with pytest.raises(Refused):
        exchange.cancel_order(BTC, STOP_ID)
    with pytest.raises(Unreachable):
        exchange.balances()
    assert len(transport.asked) == 1
    clock.sleep_until(NOW + timedelta(seconds=17))
    assert exchange.balances() == {}


def test_a_read_told_to_stay_away_bans_orders_as_well() -> None:
    exchange, transport, _ = a_live_exchange(HttpAnswer(418, "", {}))
    with pytest.raises(Unreachable):
        exchange.open_orders()
    with pytest.raises(Refused):
        exchange.create_order(an_intent())
    assert len(transport.asked) == 1


class Memory:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def remember(self, until: Any) -> None:
        self.kept.append(until)

    def recall(self) -> Any:
        return self.kept[-1] if self.kept else None


def test_a_ban_is_remembered_over_a_restart() -> None:
    memory = Memory()
    exchange, _, _ = a_live_exchange(refusal(-1003, "banned", 418, retry_after="120"), bans=memory)
    with pytest.raises(Refused):
        exchange.create_order(an_intent())
    assert memory.kept == [NOW + timedelta(seconds=120)]
    later, transport, _ = a_live_exchange(at=NOW + timedelta(seconds=119), bans=memory)
    with pytest.raises(Refused):
        later.create_order(an_intent(created_at=NOW + timedelta(seconds=119)))
    assert (transport.asked, memory.kept) == ([], [NOW + timedelta(seconds=120)])


def test_a_ban_that_a_scan_was_told_of_is_remembered_when_its_end_is_asked_for() -> None:
    memory = Memory()
    exchange, transport, _ = a_live_exchange(bans=memory)
    assert (exchange.banned_until(), memory.kept) == (None, [])
    exchange.weight.ban(NOW + timedelta(seconds=3))
    assert exchange.banned_until() == NOW + timedelta(seconds=3)
    assert (memory.kept, transport.asked) == ([NOW + timedelta(seconds=3)], [])


class FullDisk(Memory):
    def remember(self, until: Any) -> None:
        raise StateError("no space left")


def test_an_acceptance_is_not_lost_because_a_ban_cannot_be_kept() -> None:
    exchange, _, clock = a_live_exchange(ok(two_fills(an_intent())), bans=FullDisk())
    exchange.weight.ban(clock.now())
    assert exchange.create_order(an_intent()).executed_quantity == Decimal("0.05")


def test_reads_are_repeated_and_orders_never() -> None:
    busy = refusal(-1001, "Internal error", 503)
    exchange, transport, _ = a_live_exchange(busy, busy, ok({"balances": []}), settings={"retry_attempts": 2})
    assert exchange.balances() == {}
    assert len(transport.asked) == 3
    assert transport.asked[0][2]["timestamp"] != transport.asked[1][2]["timestamp"]
    exchange, transport, _ = a_live_exchange(busy, settings={"retry_attempts": 2})
    with pytest.raises(OutcomeUnknown):
        exchange.create_order(an_intent())
    assert len(transport.asked) == 1


def test_a_read_that_timed_out_is_not_repeated_on_the_spot() -> None:
    exchange, transport, _ = a_live_exchange(NoAnswer("timed out"), settings={"retry_attempts": 3})
    transport.takes = timedelta(seconds=10)
    with pytest.raises(Transient):
        exchange.open_orders()
    assert len(transport.asked) == 1


def test_after_three_failed_reads_the_venue_is_pinged_before_the_next() -> None:
    lost = NoAnswer("timed out")
    exchange, transport, _ = a_live_exchange(lost, lost, lost, lost)
    for _ in range(3):
        with pytest.raises(Transient):
            exchange.open_orders()
    with pytest.raises(Unreachable):
        exchange.open_orders()
    assert transport.paths() == ["GET openOrders"] * 3 + ["GET ping"]
    transport.script = [ok(an_order(an_intent()))]
    exchange.create_order(an_intent())


def test_scans_leave_orders_their_share_of_the_weight() -> None:
    exchange, transport, clock = a_live_exchange(ok(an_order(an_intent())), settings={"weight_budget_pct": 0.1})
    meter = exchange.weight
    assert meter.budget == 600
    meter.spend(480)
    exchange.create_order(an_intent())
    assert (len(transport.asked), clock.now()) == (1, NOW)
    meter.spend(1)
    assert clock.now() > NOW


def test_an_order_without_room_in_its_window_is_refused_here() -> None:
    exchange, transport, clock = a_live_exchange(settings={"weight_budget_pct": 0.1})
    exchange.weight.observe("600", clock.now())
    with pytest.raises(Refused, match="weight of this minute") as caught:
        exchange.create_order(an_intent())
    assert (caught.value.code, transport.asked, clock.now()) == (0, [], NOW)


def test_an_order_waits_for_weight_within_its_window() -> None:
    at = from_ms(1_700_000_040_000 - 2_000)
    exchange, transport, clock = a_live_exchange(ok(an_order(an_intent())), at=at, settings={"weight_budget_pct": 0.1})
    exchange.weight.observe("600", clock.now())
    exchange.create_order(an_intent(created_at=at))
    assert (len(transport.asked), clock.now()) == (1, from_ms(1_700_000_040_000))
