"""Whatever a client sends in whatever order, the venue's books stay whole and its answers keep their form."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.venue.invariants import violations
from public_api.sandbox.faults import FaultPlan, open_profile
from public_api.sandbox.requests import Parameters, Request
from public_api.sandbox.transmission import UnreliableLine
from tests.fakes.sandbox_world import NOW, Client, sandbox, signed

ONE = {"symbol": "ABCUSDT"}
PRICES = st.integers(85, 115).map(str)
SIZES = st.sampled_from(["0.05", "1", "2.5", "40", "400"])
SIDES = st.sampled_from(["BUY", "SELL"])
IDS = st.sampled_from(["a", "b", "c", "d"])
MODES = st.sampled_from(["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"])

single = st.fixed_dictionaries(
    {
        "side": SIDES,
        "type": st.sampled_from(["MARKET", "LIMIT", "LIMIT_MAKER", "STOP_LOSS", "TAKE_PROFIT", "STOP_LOSS_LIMIT"]),
        "quantity": SIZES,
        "newClientOrderId": IDS,
        "selfTradePreventionMode": MODES,
    },
    optional={
        "price": PRICES,
        "stopPrice": PRICES,
        "trailingDelta": st.sampled_from(["50", "500", "5000"]),
        "timeInForce": st.sampled_from(["GTC", "IOC", "FOK"]),
    },
)
pair = st.fixed_dictionaries({"quantity": SIZES, "abovePrice": PRICES, "belowStopPrice": PRICES, "side": SIDES})
chain = st.fixed_dictionaries({"workingQuantity": SIZES, "workingPrice": PRICES, "pendingBelowStopPrice": PRICES})
step = st.one_of(
    st.tuples(st.just("order"), single),
    st.tuples(st.just("replace"), single),
    st.tuples(st.just("oco"), pair),
    st.tuples(st.just("opoco"), chain),
    st.tuples(st.just("otoco"), chain),
    st.tuples(st.just("cancel"), IDS),
    st.tuples(st.just("cancel all"), st.none()),
    st.tuples(st.just("amend"), st.tuples(IDS, SIZES)),
    st.tuples(st.just("quote"), st.tuples(PRICES, st.sampled_from(["500", "20000", "2000000"]))),
)


def request_of(name: str, detail: object) -> tuple[str, str, dict[str, object]] | None:
    if name == "order" and isinstance(detail, dict):
        return "POST", "/api/v3/order", {**ONE, **detail}
    if name == "replace" and isinstance(detail, dict):
        rest = {"cancelReplaceMode": "ALLOW_FAILURE", "cancelOrigClientOrderId": "a"}
        return "POST", "/api/v3/order/cancelReplace", {**ONE, **detail, **rest}
    if name == "oco" and isinstance(detail, dict):
        types = {"aboveType": "LIMIT_MAKER", "belowType": "STOP_LOSS"}
        return "POST", "/api/v3/orderList/oco", {**ONE, **types, **detail}
    if name in ("opoco", "otoco") and isinstance(detail, dict):
        fixed = {
            "workingType": "LIMIT",
            "workingTimeInForce": "GTC",
            "workingSide": "BUY",
            "pendingSide": "SELL",
            "pendingAboveType": "LIMIT_MAKER",
            "pendingAbovePrice": "116",
            "pendingBelowType": "STOP_LOSS",
        }
        size = {"pendingQuantity": detail["workingQuantity"]} if name == "otoco" else {}
        return "POST", f"/api/v3/orderList/{name}", {**ONE, **fixed, **detail, **size}
    if name == "cancel":
        return "DELETE", "/api/v3/order", {**ONE, "origClientOrderId": detail}
    if name == "cancel all":
        return "DELETE", "/api/v3/openOrders", dict(ONE)
    if name == "amend" and isinstance(detail, tuple):
        return "PUT", "/api/v3/order/amend/keepPriority", {**ONE, "origClientOrderId": detail[0], "newQty": detail[1]}
    return None


def carry_out(client: Client, name: str, detail: object) -> None:
    asked = request_of(name, detail)
    if asked is None:
        assert isinstance(detail, tuple)
        client.quote(detail[0], depth=detail[1])
        client.dialect.settle()
        return
    answer = client.send(*asked)
    body = json.loads(answer.body)
    assert answer.status in (200, 400, 409)
    assert (answer.status == 200) is not (isinstance(body, dict) and "code" in body)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=1, max_size=14))
def test_any_sequence_of_requests_and_prices_leaves_the_books_whole(steps: list[tuple[str, object]]) -> None:
    client = sandbox(base="50")
    for name, detail in steps:
        carry_out(client, name, detail)
    assert violations(client.dialect.venue.state) == ()
    client.send("DELETE", "/api/v3/openOrders", ONE)
    assert all(balance.locked == 0 for balance in client.dialect.venue.balances().values())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(step, min_size=1, max_size=10))
def test_faults_never_break_the_books(seed: int, steps: list[tuple[str, object]]) -> None:
    client = sandbox(base="50")
    line = UnreliableLine(client.dialect, FaultPlan(open_profile("harsh"), seed=seed))
    for name, detail in steps:
        asked = request_of(name, detail)
        client.now_ms += 700
        if asked is not None:
            line.transmit(signed(*asked, client.now_ms), client.now_ms)
    line.tick(client.now_ms + 20_000)
    assert violations(client.dialect.venue.state) == ()


@given(st.text(max_size=60), st.text(max_size=60))
def test_garbage_is_refused_and_never_breaks_the_server(query: str, body: str) -> None:
    client = sandbox()
    for method, path in (("GET", "/api/v3/depth"), ("POST", "/api/v3/order"), ("GET", "/api/v3/myTrades")):
        answer = client.dialect.handle(Request(method, path, query, body, {"X-MBX-APIKEY": query}), NOW)
        assert answer.status in (400, 401)
        assert json.loads(answer.body)["code"] < 0


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.decimals(0, 10**9, places=8), max_size=3))
def test_parameters_are_all_read_or_the_rest_is_counted(numbers: dict[str, Decimal]) -> None:
    params = Parameters("&".join(f"{name}={value:f}" for name, value in numbers.items()))
    assert {name: params.number(name) for name in numbers} == numbers
    params.done()
