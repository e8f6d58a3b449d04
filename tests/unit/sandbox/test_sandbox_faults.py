"""What goes wrong on the line: by script, by seed, by profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bn_ml.errors import ConfigError
from public_api.sandbox.faults import (
    Fault,
    FaultKind,
    FaultPlan,
    FaultProfile,
    ScriptedFault,
    open_profile,
    read_script,
)
from public_api.sandbox.requests import Request
from public_api.sandbox.transmission import Drop, Transmission, UnreliableLine
from tests.fakes.sandbox_world import Client, sandbox, signed

ORDER = "/api/v3/order"
ONE = {"symbol": "ABCUSDT"}
SELL = {**ONE, "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "110"}


class Line:
    """A client whose requests go over an unreliable line."""

    def __init__(self, *faults: ScriptedFault) -> None:
        self.client: Client = sandbox(base="50")
        self.line = UnreliableLine(self.client.dialect)
        self.line.plan.script(faults)

    def send(self, method: str, path: str, **params: object) -> Transmission:
        return self.line.transmit(signed(method, path, params, self.client.now_ms), self.client.now_ms)

    @property
    def resting(self) -> int:
        return len(self.client.dialect.venue.open_orders())


def scripted(kind: FaultKind, amount: int = 0, **where: Any) -> ScriptedFault:
    return ScriptedFault(Fault(kind, amount), **where)


@pytest.mark.parametrize(
    ("kind", "status", "body", "carried_out"),
    [
        (FaultKind.UNAVAILABLE, 503, "Service Unavailable.", False),
        (FaultKind.OVERLOADED, 503, "-1008", False),
        (FaultKind.UNKNOWN_BEFORE, 503, '{"msg":"Unknown error, please check', False),
        (FaultKind.UNKNOWN_AFTER, 503, '{"msg":"Unknown error, please check', True),
        (FaultKind.TIMEOUT_BEFORE, 504, "-1007", False),
        (FaultKind.TIMEOUT_AFTER, 504, "-1007", True),
        (FaultKind.BUS_ERROR_AFTER, 500, "-1006", True),
        (FaultKind.EMPTY, 200, "", True),
        (FaultKind.FORBIDDEN, 403, "<html>", False),
        (FaultKind.BAD_GATEWAY_BEFORE, 502, "<html>", False),
        (FaultKind.BAD_GATEWAY_AFTER, 502, "<html>", True),
    ],
)
def test_answers_that_are_replaced(kind: FaultKind, status: int, body: str, carried_out: bool) -> None:
    line = Line(scripted(kind))
    got = line.send("POST", ORDER, **SELL)
    assert got.response.status == status
    assert body in got.response.body
    assert (body == "") is (got.response.body == "")
    assert line.resting == int(carried_out)
    assert line.send("POST", ORDER, **SELL).fault is None


@pytest.mark.parametrize(
    ("kind", "drop", "carried_out"),
    [(FaultKind.DROP_BEFORE, Drop.BEFORE, 0), (FaultKind.DROP_AFTER, Drop.AFTER, 1)],
)
def test_connections_that_break(kind: FaultKind, drop: Drop, carried_out: int) -> None:
    line = Line(scripted(kind))
    assert line.send("POST", ORDER, **SELL).drop is drop
    assert line.resting == carried_out


def test_an_answer_that_takes_its_time() -> None:
    line = Line(scripted(FaultKind.DELAY, 12_000))
    got = line.send("POST", ORDER, **SELL)
    assert (got.delay_ms, got.drop, got.response.status) == (12_000, None, 200)


def test_a_body_that_is_cut() -> None:
    line = Line(scripted(FaultKind.CUT, 500))
    got = line.send("POST", ORDER, **SELL)
    assert got.cut_at is not None
    assert 0 < got.cut_at < len(got.response.body)
    with pytest.raises(json.JSONDecodeError):
        json.loads(got.response.body[: got.cut_at])


@pytest.mark.parametrize(("late_ms", "placed"), [(4999, 1), (5000, 1), (5001, 0)])
def test_a_request_that_arrives_late_is_placed_unless_its_window_is_over(late_ms: int, placed: int) -> None:
    line = Line(scripted(FaultKind.LATE, late_ms))
    assert line.send("POST", ORDER, **SELL).drop is Drop.AFTER
    line.line.tick(line.client.now_ms + late_ms - 1)
    assert line.resting == 0
    line.line.tick(line.client.now_ms + late_ms)
    assert line.resting == placed
    line.line.tick(line.client.now_ms + late_ms)
    assert line.resting == placed


def test_a_new_order_is_not_found_for_a_while() -> None:
    line = Line(scripted(FaultKind.LAG, 2))
    line.send("POST", ORDER, **SELL, newClientOrderId="mine")
    answers = [line.send("GET", ORDER, **ONE, origClientOrderId="mine").response for _ in range(3)]
    assert [answer.status for answer in answers] == [400, 400, 200]
    assert json.loads(answers[0].body)["code"] == -2013


def test_the_legs_of_a_list_lag_too() -> None:
    line = Line(scripted(FaultKind.LAG, 1))
    line.send(
        "POST", "/api/v3/orderList/oco", **ONE, side="SELL", quantity="1", aboveType="LIMIT_MAKER", abovePrice="110",
        belowType="STOP_LOSS", belowStopPrice="95", belowClientOrderId="stop",
    )  # fmt: skip
    assert [line.send("GET", ORDER, **ONE, origClientOrderId="stop").response.status for _ in range(2)] == [400, 200]


def test_open_orders_are_stale_for_a_while() -> None:
    line = Line(scripted(FaultKind.STALE_OPEN_ORDERS, 2, skip=1))
    line.send("POST", ORDER, **SELL)
    line.send("POST", ORDER, **SELL)
    counts = [
        len(json.loads(line.send("GET", "/api/v3/openOrders", **where).response.body)) for where in (ONE, {}, ONE)
    ]
    assert counts == [1, 1, 2]


def test_the_venues_clock_jumps() -> None:
    line = Line(scripted(FaultKind.CLOCK_JUMP, 1500, path="/api/v3/time"))
    got = line.line.transmit(Request("GET", "/api/v3/time"), line.client.now_ms)
    assert json.loads(got.response.body)["serverTime"] == line.client.now_ms + 1500
    line.line.plan.script([scripted(FaultKind.CLOCK_JUMP, -2000)])
    refused = line.send("GET", "/api/v3/account")
    assert "ahead of the server" in refused.response.body


def test_a_burst_of_429_ends_by_itself() -> None:
    line = Line(scripted(FaultKind.BURST_429, 3000))
    first = line.send("POST", ORDER, **SELL).response
    assert (first.status, line.resting) == (429, 0)
    assert first.headers["Retry-After"] == "3"
    line.client.now_ms += 3000
    assert line.send("POST", ORDER, **SELL).response.status == 200


def test_a_request_delivered_twice_is_carried_out_twice() -> None:
    line = Line(scripted(FaultKind.TWICE))
    got = line.send("POST", ORDER, **ONE, side="SELL", type="MARKET", quantity="1", newClientOrderId="same")
    assert got.response.status == 200
    assert line.client.free("ABC") == 48


def test_scripted_faults_wait_for_the_requests_they_are_meant_for() -> None:
    line = Line(*read_script([{"kind": "forbidden", "method": "post", "path": ORDER, "skip": 1, "times": 2}]))
    assert line.send("GET", ORDER, **ONE, orderId=1).fault is None
    statuses = [line.send("POST", ORDER, **SELL).response.status for _ in range(4)]
    assert statuses == [200, 403, 403, 200]
    assert line.line.plan.counts[FaultKind.FORBIDDEN] == 2
    assert [record.number for record in line.line.plan.records] == [3, 4]


def decisions(seed: int, profile: FaultProfile, count: int = 300) -> list[Fault | None]:
    plan = FaultPlan(profile, seed=seed)
    return [plan.decide(Request("POST" if number % 2 else "GET", ORDER)) for number in range(count)]


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    harsh = open_profile("harsh")
    assert decisions(1, harsh) == decisions(1, harsh)
    assert decisions(1, harsh) != decisions(2, harsh)


def test_profiles_grow_worse_by_name() -> None:
    met = [sum(fault is not None for fault in decisions(5, open_profile(name))) for name in ("none", "flaky", "harsh")]
    assert met[0] == 0 < met[1] < met[2]


def test_a_read_is_never_carried_out_twice_or_late() -> None:
    profile = FaultProfile(dict.fromkeys((FaultKind.TWICE, FaultKind.LATE, FaultKind.LAG), 0.3))
    plan = FaultPlan(profile)
    assert all(plan.decide(Request("GET", ORDER)) is None for _ in range(100))
    assert any(plan.decide(Request("POST", ORDER)) is not None for _ in range(10))


def test_a_profile_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"rates": {"delay": 1.0}, "sizes": {"delay": [7, 7]}}', encoding="utf-8")
    assert decisions(1, open_profile(str(path)), 3) == [Fault(FaultKind.DELAY, 7)] * 3


@pytest.mark.parametrize("content", ["{", "[]", '{"rates": {"flood": 0.1}}', '{"rates": {"delay": 2}}', '{"sizes": 1}'])
def test_a_profile_that_makes_no_sense_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError):
        open_profile(str(path))


@pytest.mark.parametrize("row", [{"kind": "flood"}, {}, {"kind": "delay", "size": 3}, {"kind": "lag", "amount": "x"}])
def test_a_script_that_makes_no_sense_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        read_script([row])


def test_a_missing_profile_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="none, flaky, harsh"):
        open_profile("absent")


def test_a_plan_can_be_changed_and_cleared() -> None:
    plan = FaultPlan(seed=1)
    plan.script([scripted(FaultKind.EMPTY)])
    plan.clear()
    assert plan.decide(Request("GET", ORDER)) is None
    plan.use(FaultProfile({FaultKind.EMPTY: 1.0}))
    assert plan.decide(Request("GET", ORDER)) == Fault(FaultKind.EMPTY)
