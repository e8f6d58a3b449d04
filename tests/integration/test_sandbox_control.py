"""What an operator does through the control port, seen by a client, on a clock that moves only when it is told."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from tests.fakes.sandbox_process import START_MS, SandboxThread

BTC = {"symbol": "BTCUSDC"}


@pytest.fixture
def sandbox() -> Iterator[SandboxThread]:
    running = SandboxThread.start(symbols=("BTC/USDC", "ETH/USDC"))
    yield running
    running.stop()


class Trader:
    """Signs requests with the sandbox's own time."""

    def __init__(self, sandbox: SandboxThread) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()

    def ask(self, method: str, path: str, **params: Any) -> requests.Response:
        query = urlencode({**params, "timestamp": self.sandbox.now_ms()})
        digest = hmac.new(self.sandbox.api_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{self.sandbox.base_url}/api/v3/{path}?{query}&signature={digest}"
        return self.session.request(method, url, headers={"X-MBX-APIKEY": self.sandbox.api_key}, timeout=10)

    def buy(self, quantity: str, **params: Any) -> Any:
        return self.ask("POST", "order", **BTC, side="BUY", type="MARKET", quantity=quantity, **params).json()

    def stop(self, quantity: str, price: float, client_id: str = "stop1") -> Any:
        return self.ask(
            "POST",
            "order",
            **BTC,
            side="SELL",
            type="STOP_LOSS",
            quantity=quantity,
            stopPrice=f"{price:.2f}",
            newClientOrderId=client_id,
        ).json()

    def status(self, client_id: str) -> str:
        answer = self.ask("GET", "order", **BTC, origClientOrderId=client_id).json()
        return str(answer.get("status", answer.get("code")))


@pytest.fixture
def trader(sandbox: SandboxThread) -> Iterator[Trader]:
    made = Trader(sandbox)
    yield made
    made.session.close()


def last(sandbox: SandboxThread) -> float:
    return float(sandbox.get("prices")["BTC/USDC"]["last"])


def minute(sandbox: SandboxThread) -> list[Any]:
    url = f"{sandbox.base_url}/api/v3/klines?symbol=BTCUSDC&interval=1m&limit=1"
    return list(requests.get(url, timeout=10).json()[0])


def longest(sandbox: SandboxThread) -> float:
    return float(sandbox.get("audit")["protection"]["longest_s"].get("BTC/USDC", 0))


def test_a_frozen_clock_moves_only_as_told_and_runs_on_at_a_speed(sandbox: SandboxThread) -> None:
    first = sandbox.now_ms()
    assert sandbox.now_ms() == first
    assert sandbox.post("clock", advance_ms=1500)["now_ms"] == first + 1500

    sandbox.post("clock", speed=1000)
    while sandbox.now_ms() < first + 3000:
        continue
    assert sandbox.post("clock", freeze=True)["frozen"]


def test_time_stops_exactly_at_its_end() -> None:
    running = SandboxThread.start(symbols=("BTC/USDC",), frozen=False, speed=1000, end_ms=START_MS + 700)
    try:
        while running.now_ms() < START_MS + 700:
            continue
        assert running.post("clock", advance_ms=5000)["now_ms"] == START_MS + 700
    finally:
        running.stop()


def test_the_clock_advances_to_an_instant(sandbox: SandboxThread) -> None:
    assert sandbox.post("clock", until_ms=START_MS + 90_000)["now_ms"] == START_MS + 90_000


def test_a_market_that_went_on_without_the_sandbox_fires_the_stops_it_passed(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.db"
    first = SandboxThread.start(symbols=("BTC/USDC",), state_file=state)
    trader = Trader(first)
    trader.buy("0.01")
    bottom = min(float(row[3]) for row in hours(first, START_MS + 86_400_000))
    trader.stop("0.00999", bottom * 1.001)
    trader.session.close()
    first.stop()

    again = SandboxThread.start(
        symbols=("BTC/USDC",), state_file=state, start_ms=START_MS + 86_400_000, follows_wall=True
    )
    audit = again.get("audit")
    again.stop()

    stop = next(order for order in audit["orders"] if order["client_id"] == "stop1")
    assert stop["status"] == "FILLED"
    assert START_MS < stop["updated_ms"] < START_MS + 86_400_000
    assert float(audit["trades"][-1]["price"]) == pytest.approx(bottom, rel=0.01)


def hours(sandbox: SandboxThread, until_ms: int) -> list[Any]:
    """The hours still to come."""
    source = SandboxThread.start(symbols=("BTC/USDC",), start_ms=until_ms)
    try:
        url = f"{source.base_url}/api/v3/klines?symbol=BTCUSDC&interval=15m&startTime={sandbox.now_ms()}"
        return list(requests.get(url, timeout=10).json()[1:-1])
    finally:
        source.stop()


def test_a_clock_jump_moves_the_servers_time_but_not_the_market(sandbox: SandboxThread) -> None:
    before = sandbox.now_ms()
    sandbox.post("clock", jump_ms=-2000)

    assert requests.get(f"{sandbox.base_url}/api/v3/time", timeout=10).json()["serverTime"] == before - 2000
    assert sandbox.now_ms() == before


def test_a_gap_fires_the_stop_at_the_price_beyond_it(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    start = last(sandbox)
    trader.stop("0.00999", start * 0.98)

    sandbox.post("prices", symbol="BTC/USDC", gap="-0.05")

    assert trader.status("stop1") == "FILLED"
    fill = sandbox.get("audit")["trades"][-1]
    assert float(fill["price"]) < start * 0.96
    assert float(minute(sandbox)[3]) == pytest.approx(start * 0.95, rel=1e-6)
    assert last(sandbox) == pytest.approx(start * 0.95, rel=1e-6)


def test_a_gap_stays_in_the_bars_that_follow(sandbox: SandboxThread) -> None:
    plain = SandboxThread.start(symbols=("BTC/USDC", "ETH/USDC"))
    sandbox.post("prices", symbol="BTC/USDC", gap="0.1")
    for running in (sandbox, plain):
        running.post("clock", advance_ms=3 * 3_600_000)
    try:
        url = "/api/v3/klines?symbol=BTCUSDC&interval=15m&limit=4"
        moved, stored = (requests.get(running.base_url + url, timeout=10).json() for running in (sandbox, plain))
    finally:
        plain.stop()

    assert [row[0] for row in moved] == [row[0] for row in stored]
    for ours, theirs in zip(moved, stored, strict=True):
        for column in (1, 2, 3, 4):
            assert float(ours[column]) == pytest.approx(float(theirs[column]) * 1.1, rel=1e-6)


def test_a_pinned_price_holds_with_its_book_until_it_is_released(sandbox: SandboxThread) -> None:
    sandbox.post("prices", symbol="BTC/USDC", last="50000", bid="49990", ask="50020")
    sandbox.post("clock", advance_ms=5000)
    pinned = sandbox.get("prices")["BTC/USDC"]
    sandbox.post("prices", symbol="BTC/USDC", release=True)

    assert (float(pinned["last"]), float(pinned["bid"]), float(pinned["ask"])) == (50000, 49990, 50020)
    assert last(sandbox) != 50000


def test_filters_change_between_two_looks_at_the_rules(sandbox: SandboxThread, trader: Trader) -> None:
    sandbox.post("symbols", symbol="BTC/USDC", filters={"step": "0.01", "min_quantity": "0.01", "max_algo_orders": 3})

    answer = trader.buy("0.001")
    info = requests.get(f"{sandbox.base_url}/api/v3/exchangeInfo?symbol=BTCUSDC", timeout=10).json()

    assert answer["msg"] == "Filter failure: LOT_SIZE"
    filters = {row["filterType"]: row for row in info["symbols"][0]["filters"]}
    assert float(filters["LOT_SIZE"]["stepSize"]) == 0.01
    assert filters["MAX_NUM_ALGO_ORDERS"]["maxNumAlgoOrders"] == 3
    assert sandbox.get("symbols")["BTC/USDC"]["step"] == "0.01"


def test_a_delisted_symbol_is_unknown_and_its_orders_expire(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    trader.stop("0.005", last(sandbox) * 0.9)

    sandbox.post("symbols", symbol="BTC/USDC", delist=True)

    assert trader.buy("0.01")["code"] == -1121
    assert "BTC/USDC" not in sandbox.get("symbols")
    assert {order["status"] for order in sandbox.get("audit")["orders"]} == {"FILLED", "EXPIRED"}
    sandbox.post("clock", advance_ms=2000)


def test_orders_expired_by_the_exchange_say_so(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    trader.stop("0.005", last(sandbox) * 0.9)

    sandbox.post("symbols", symbol="BTC/USDC", status="BREAK", expire=True)

    assert trader.status("stop1") == "EXPIRED"
    assert sandbox.get("symbols")["BTC/USDC"]["status"] == "BREAK"


def test_somebody_trades_and_cancels_by_hand(sandbox: SandboxThread, trader: Trader) -> None:
    placed = sandbox.post("account", order={"symbol": "BTC/USDC", "side": "BUY", "quantity": "0.02"})
    trader.stop("0.01", last(sandbox) * 0.9)
    cancelled = sandbox.post("account", cancel={"symbol": "BTC/USDC", "client_id": "stop1"})

    assert placed["order"]["clientOrderId"].startswith("web_")
    assert float(placed["balances"]["BTC"]["free"]) == pytest.approx(0.02 * 0.999)
    assert cancelled["cancelled"][0]["status"] == "CANCELED"
    assert trader.status("stop1") == "CANCELED"


def test_money_leaves_the_account_and_the_books_still_add_up(sandbox: SandboxThread, trader: Trader) -> None:
    sandbox.post("account", withdraw={"USDC": "40000"})
    trader.buy("0.01")
    audit = sandbox.get("audit")

    assert audit["deposits"]["USDC"] == "60000"
    assert audit["violations"] == []


def test_units_bought_by_hand_are_nobodys_to_protect(sandbox: SandboxThread) -> None:
    sandbox.post("account", order={"symbol": "BTC/USDC", "side": "BUY", "quantity": "0.02"})
    sandbox.post("clock", advance_ms=9000)

    assert longest(sandbox) == 0


def test_the_audit_measures_how_long_units_had_no_stop(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    sandbox.post("clock", advance_ms=3000)
    trader.stop("0.00999", last(sandbox) * 0.9)
    sandbox.post("clock", advance_ms=60_000)
    covered = longest(sandbox)
    trader.ask("DELETE", "order", **BTC, origClientOrderId="stop1")
    sandbox.post("clock", advance_ms=5000)
    report = sandbox.get("audit")

    assert covered == 3.0
    assert [stretch["seconds"] for stretch in report["protection"]["stretches"]] == [3.0, 5.0]
    assert report["protection"]["stretches"][1]["until_ms"] is None
    assert report["violations"] == []


def test_a_stop_for_a_part_leaves_the_rest_uncovered_unless_it_is_dust(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    trader.stop("0.00996", last(sandbox) * 0.9)
    sandbox.post("clock", advance_ms=4000)
    assert longest(sandbox) == 0

    trader.ask("DELETE", "order", **BTC, origClientOrderId="stop1")
    trader.stop("0.009", last(sandbox) * 0.9, "stop2")
    sandbox.post("clock", advance_ms=4000)
    assert longest(sandbox) == 4


def test_time_in_which_nobody_was_served_is_counted_apart(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    sandbox.post("clock", advance_ms=1000)
    sandbox.post("faults", script=[{"kind": "timeout_before", "times": 2}])
    trader.stop("0.00999", last(sandbox) * 0.9)
    sandbox.post("clock", advance_ms=10_000)
    trader.stop("0.00999", last(sandbox) * 0.9)
    trader.stop("0.00999", last(sandbox) * 0.9)
    stretch = sandbox.get("audit")["protection"]["stretches"][0]

    assert stretch["seconds"] == 11
    assert stretch["reachable_s"] == 1


def test_an_order_whose_answer_is_lost_was_placed(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    sandbox.post("faults", script=[{"kind": "drop_after", "method": "POST", "path": "/api/v3/order"}])

    with pytest.raises(requests.ConnectionError):
        trader.stop("0.00999", last(sandbox) * 0.9)

    assert trader.status("stop1") == "NEW"
    assert sandbox.get("faults")["counts"] == {"drop_after": 1}


def test_an_order_under_way_arrives_after_its_sender_gave_up(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01")
    sandbox.post("faults", script=[{"kind": "late", "amount": 300, "method": "POST"}])
    with pytest.raises(requests.ConnectionError):
        trader.stop("0.00999", last(sandbox) * 0.9)

    assert trader.status("stop1") == "-2013"
    sandbox.post("clock", advance_ms=1000)
    assert trader.status("stop1") == "NEW"


def test_a_delayed_answer_comes_late_and_whole(sandbox: SandboxThread, trader: Trader) -> None:
    sandbox.post("faults", script=[{"kind": "delay", "amount": 150}])

    answer = trader.ask("GET", "account")

    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.14


def test_the_monthly_wipe_forgets_all_orders(sandbox: SandboxThread, trader: Trader) -> None:
    trader.buy("0.01", newClientOrderId="mine")
    sandbox.post("reset", balances={"USDC": "500"})

    assert trader.status("mine") == "-2013"
    assert sandbox.get("account")["balances"] == {"USDC": {"free": "500", "locked": "0"}}
    assert trader.buy("0.001")["status"] == "FILLED"


def test_maintenance_shows_in_the_system_status(sandbox: SandboxThread) -> None:
    sandbox.post("account", maintenance=True)

    assert requests.get(f"{sandbox.base_url}/sapi/v1/system/status", timeout=10).json()["status"] == 1


@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("prices", {"symbol": "XYZ/USDC", "last": "1"}),
        ("prices", {"symbol": "BTC/USDC"}),
        ("prices", {"symbol": "BTC/USDC", "last": "5", "bid": "6", "ask": "4"}),
        ("prices", {"symbol": "BTC/USDC", "last": "-5"}),
        ("prices", {"symbol": "BTC/USDC", "last": "NaN"}),
        ("account", {"withdraw": {"USDC": "100000.01"}}),
        ("prices", {"symbol": "BTC/USDC", "gap": "-1"}),
        ("symbols", {"symbol": "BTC/USDC", "filters": {"colour": 1}}),
        ("symbols", {"symbol": "BTC/USDC", "status": "DANCING"}),
        ("clock", {"advance_ms": -1}),
        ("clock", {"speed": 0}),
        ("faults", {"profile": "mild"}),
        ("faults", {"script": [{"kind": "earthquake"}]}),
        ("faults", {"script": "x"}),
        ("account", {"deposit": {"USDC": "-5"}}),
        ("account", {"deposit": 5}),
        ("account", {"order": {"symbol": "BTC/USDC", "side": "BUY", "quantity": "999"}}),
        ("reset", {"balances": 1}),
    ],
)
def test_wishes_that_make_no_sense_are_refused_with_a_reason(
    sandbox: SandboxThread, name: str, wish: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="error"):
        sandbox.post(name, **wish)


def test_unknown_words_are_not_found(sandbox: SandboxThread) -> None:
    for wish in (None, b"{}"):
        answer = requests.request("POST" if wish else "GET", f"{sandbox.control_url}/weather", data=wish, timeout=5)
        assert answer.status_code == 404
    assert requests.post(f"{sandbox.control_url}/clock", data=b"[1]", timeout=5).status_code == 400


def test_an_unknown_path_is_an_html_page_and_the_old_key_route_is_gone(sandbox: SandboxThread) -> None:
    missing = requests.get(f"{sandbox.base_url}/api/v3/nothing", timeout=5)
    gone = requests.post(f"{sandbox.base_url}/api/v3/userDataStream", timeout=5)

    assert (missing.status_code, gone.status_code) == (404, 410)
    assert missing.text.startswith("<html>")
    assert "nginx" in gone.text
