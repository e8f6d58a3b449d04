"""The live exchange over real HTTP with the real library: the bytes that leave, and what faults of the wire become."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bn_ml import exchange
from bn_ml.clock import SystemClock
from bn_ml.domain.market import to_ms
from bn_ml.errors import ConfigError, OutcomeUnknown, Refused, Transient
from bn_ml.exchange import TESTNET_URL, CcxtTransport, Credentials, build_client
from bn_ml.http_answers import HttpAnswer, NoAnswer
from bn_ml.live_exchange import LiveExchange
from bn_ml.patience import Patience
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_clock import VenueClock
from tests.fakes.live_orders import (
    BTC,
    ENTRY_ID,
    LIST_ID,
    STOP_ID,
    TARGET_ID,
    a_cancel,
    a_stop,
    a_trade,
    an_intent,
    an_oco,
    an_oco_answer,
    an_order,
    two_fills,
)
from tests.fakes.loopback_account import LoopbackAccount, Reply, Sent
from tests.fakes.recorded_answers import recorded

KEY = Credentials("the-key", "the-secret-of-sixty-four-characters-or-so")


@pytest.fixture
def account() -> Iterator[LoopbackAccount]:
    with LoopbackAccount() as served:
        yield served


def settings(account: LoopbackAccount, **changes: object) -> ExchangeSettings:
    plain = {"base_url": account.url, "timeout_ms": 1000, "rate_limit_ms": 10, "retry_attempts": 0, **changes}
    return ExchangeSettings.model_validate(plain)


def a_transport(account: LoopbackAccount, credentials: Credentials = KEY, **changes: object) -> CcxtTransport:
    return CcxtTransport.connect(settings(account, **changes), credentials)


def an_exchange(account: LoopbackAccount, **changes: object) -> LiveExchange:
    return LiveExchange(a_transport(account, **changes), VenueClock(SystemClock()), settings(account), symbols=(BTC,))


def signature(request: Sent, secret: str = KEY.secret) -> bool:
    """Whether the signature is that of the raw bytes before it."""
    payload, _, given = request.payload.rpartition("&signature=")
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest() == given


def test_an_order_goes_out_as_a_signed_form(account: LoopbackAccount) -> None:
    intent = an_intent(created_at=SystemClock().now())
    account.replies = [Reply(two_fills(intent))]
    report = an_exchange(account).create_order(intent)
    (request,) = account.sent
    assert (request.method, request.target) == ("POST", "/api/v3/order")
    unsigned = request.body.rpartition("&signature=")[0]
    assert unsigned == (
        f"timestamp={to_ms(intent.created_at)}&symbol=BTCUSDC&side=BUY&type=LIMIT&quantity=0.05000&timeInForce=IOC"
        f"&price=20000.00&newClientOrderId={ENTRY_ID}&newOrderRespType=FULL&recvWindow=5000"
    )
    assert signature(request)
    assert request.headers["x-mbx-apikey"] == "the-key"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert report.executed_quantity == Decimal("0.05")


def test_an_oco_goes_out_with_all_its_ids(account: LoopbackAccount) -> None:
    target, stop = an_oco(created_at=SystemClock().now())
    account.replies = [Reply(an_oco_answer(target, stop))]
    an_exchange(account).create_oco(target, stop)
    (request,) = account.sent
    assert (request.method, request.target, signature(request)) == ("POST", "/api/v3/orderList/oco", True)
    ids = {name: text for name, text in request.params.items() if name.endswith("ClientOrderId")}
    assert ids == {"listClientOrderId": LIST_ID, "aboveClientOrderId": TARGET_ID, "belowClientOrderId": STOP_ID}
    assert request.params["timestamp"] == str(to_ms(target.created_at))


def test_a_replacement_goes_out_as_one_request(account: LoopbackAccount) -> None:
    old, new = a_stop(STOP_ID), a_stop(ENTRY_ID, created_at=SystemClock().now())
    body = {
        "cancelResult": "SUCCESS",
        "newOrderResult": "SUCCESS",
        "cancelResponse": a_cancel(old),
        "newOrderResponse": an_order(new),
    }
    account.replies = [Reply(body)]
    an_exchange(account).replace_order(STOP_ID, new)
    (request,) = account.sent
    assert (request.method, request.target, signature(request)) == ("POST", "/api/v3/order/cancelReplace", True)
    assert (request.params["cancelOrigClientOrderId"], request.params["newClientOrderId"]) == (STOP_ID, ENTRY_ID)
    assert request.params["cancelReplaceMode"] == "STOP_ON_FAILURE"


def test_a_cancel_and_the_reads_go_out_as_queries(account: LoopbackAccount) -> None:
    live = an_exchange(account)
    account.replies = [
        Reply(a_cancel(a_stop())),
        Reply(an_order(a_stop())),
        Reply({"serverTime": to_ms(SystemClock().now())}),
        Reply({"serverTime": to_ms(SystemClock().now())}),
        Reply({"serverTime": to_ms(SystemClock().now())}),
        Reply([]),
        Reply({"balances": []}),
        Reply([a_trade("20000.00", "0.01", 5)]),
        Reply(status=404, body="<html>", kind="text/html"),
    ]
    live.cancel_order(BTC, STOP_ID)
    live.order_status(BTC, STOP_ID)
    live.open_orders()
    live.balances()
    live.trades(BTC, SystemClock().now())
    assert live.api_permissions() is None
    lines = [f"{request.method} {request.path}" for request in account.sent]
    assert lines == [
        "DELETE /api/v3/order",
        "GET /api/v3/order",
        "GET /api/v3/time",
        "GET /api/v3/time",
        "GET /api/v3/time",
        "GET /api/v3/openOrders",
        "GET /api/v3/account",
        "GET /api/v3/myTrades",
        "GET /sapi/v1/account/apiRestrictions",
    ]
    asked_time = account.sent[2]
    assert (asked_time.target, "x-mbx-apikey" in asked_time.headers) == ("/api/v3/time", False)
    for request in account.sent[:2] + account.sent[5:]:
        assert (request.body, signature(request)) == ("", True)
        assert request.params["recvWindow"] == "5000"
        assert abs(int(request.params["timestamp"]) - to_ms(SystemClock().now())) < 5000
    # One connection served them all.
    assert account.connections == 1


def test_nothing_but_what_was_asked_is_sent(account: LoopbackAccount) -> None:
    account.otherwise = lambda _: Reply("")
    transport = a_transport(account)
    for _ in range(3):
        transport.request("GET", "/api/v3/account", {}, signed=True)
        transport.request("POST", "/api/v3/order", {"symbol": "BTCUSDC"}, signed=True)
    assert [request.path for request in account.sent] == ["/api/v3/account", "/api/v3/order"] * 3
    # The library would have added a client id of its own.
    assert not any("lientOrderId" in request.body for request in account.sent)


def test_the_documented_signature_is_reproduced(account: LoopbackAccount) -> None:
    (vector,) = recorded("orders/signing_vectors_rest_hmac.json")
    assert (
        hmac.new(vector["secretKey"].encode(), vector["payload"].encode(), hashlib.sha256).hexdigest()
        == (vector["signature"])
    )
    account.replies = [Reply("")]
    params = dict(part.split("=") for part in vector["payload"].split("&") if not part.startswith("recvWindow"))
    transport = a_transport(account, Credentials(vector["apiKey"], vector["secretKey"]))
    transport.request("POST", "/api/v3/order", params, signed=True)
    (request,) = account.sent
    assert signature(request, vector["secretKey"])
    sent = dict(part.split("=") for part in request.body.rpartition("&signature=")[0].split("&"))
    sent.pop("newClientOrderId", None)
    assert sent == dict(part.split("=") for part in vector["payload"].split("&"))


def test_unusual_characters_are_signed_as_they_travel(account: LoopbackAccount) -> None:
    account.replies = [Reply("")]
    a_transport(account).request("GET", "/api/v3/order", {"symbol": "币安 人/生&USDT"}, signed=True)
    (request,) = account.sent
    assert signature(request)
    assert request.params["symbol"] == "币安 人/生&USDT"
    assert request.target.isascii()


def test_a_key_file_with_windows_line_ends_signs(account: LoopbackAccount) -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    for secret in (pem, pem.replace("\n", "\r\n"), f"\n {pem}  ", pem.strip().replace("\n", "\\n")):
        account.replies = [Reply("")]
        a_transport(account, Credentials("k", secret)).request("GET", "/api/v3/account", {}, signed=True)
        query, _, _ = account.sent[-1].payload.rpartition("&signature=")
        private.public_key().verify(base64.b64decode(account.sent[-1].params["signature"]), query.encode())


def test_a_secret_that_cannot_sign_is_a_configuration_error(account: LoopbackAccount) -> None:
    broken = "-----BEGIN PRIVATE KEY-----\nnot-a-key-at-all\n-----END PRIVATE KEY-----"
    with pytest.raises(ConfigError, match="cannot sign") as caught:
        a_transport(account, Credentials("k", broken))
    assert "not-a-key" not in str(caught.value)


def test_a_request_without_a_timestamp_is_stamped_with_the_offset(account: LoopbackAccount) -> None:
    account.replies = [Reply("")]
    transport = a_transport(account)
    transport.set_offset(60_000)
    transport.request("GET", "/api/v3/account", {}, signed=True)
    ahead = int(account.sent[0].params["timestamp"]) - to_ms(SystemClock().now())
    assert 55_000 < ahead <= 60_000


def test_a_path_the_venue_does_not_have_is_a_mistake_of_ours(account: LoopbackAccount) -> None:
    with pytest.raises(ValueError, match="no such path"):
        a_transport(account).request("GET", "/fapi/v1/time", {}, signed=False)


def test_the_reads_of_a_start_are_given_up_soon_and_then_given_longer(account: LoopbackAccount) -> None:
    transport, patience = a_transport(account), Patience(SystemClock(), settings(account))
    transport.hurry(patience)
    slow = Reply({}, delay_s=0.7)

    def is_answered(method: str) -> bool:
        account.replies = [slow]
        try:
            transport.request(method, "/api/v3/order", {}, signed=True)
        except NoAnswer:
            return False
        return True

    assert is_answered("GET")
    patience.begin_start()
    account.replies = [Reply(drop=True)]
    with pytest.raises(NoAnswer):
        transport.request("GET", "/api/v3/order", {}, signed=True)
    assert is_answered("POST")
    assert not is_answered("GET")
    assert is_answered("GET")
    patience.end_start()
    assert is_answered("GET")


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        ({}, "https://api.binance.com"),
        ({"testnet": True}, TESTNET_URL),
        ({"base_url": "https://demo-api.binance.com"}, "https://demo-api.binance.com"),
    ],
)
def test_every_host_is_reached_by_its_own_address(changes: dict[str, object], host: str) -> None:
    client = build_client(ExchangeSettings.model_validate(changes), credentials=KEY, raw=True)
    signed = client.sign("order", ["private"], "GET", {"symbol": "BTCUSDC"})
    assert str(signed["url"]).startswith(f"{host}/api/v3/order?")


UNKNOWN_REPLIES: dict[str, Reply] = {
    "dropped": Reply(drop=True),
    "too late": Reply({"never": "read"}, delay_s=1.3),
    "dripping": Reply({"symbol": "BTCUSDC"}, drip_s=0.1),
    "cut body": Reply('{"symbol":"BTCUSDC","orderId":2', cut=True),
    "empty body": Reply(""),
    "half JSON": Reply('{"symbol":"BTCUSDC","orderId":2'),
    "no gzip": Reply(raw=b"nonsense", headers={"Content-Encoding": "gzip"}),
    "not text": Reply(raw=b"\xff\xfe\x00"),
    "503 unknown": Reply({"msg": "Unknown error, please check your request or try again later."}, 503),
    "503 unavailable": Reply("Service Unavailable.", 503, kind="text/html"),
    "504": Reply({"code": -1007, "msg": "Timeout waiting for response from backend server."}, 504),
    "500": Reply({"code": -1006, "msg": "An unexpected response was received from the message bus."}, 500),
    "500 with a refusal": Reply({"code": -1013, "msg": "Filter failure: LOT_SIZE"}, 500),
    "502": Reply("<html><head><title>502 Bad Gateway</title></head></html>", 502, kind="text/html"),
    "403": Reply("<html>403 Forbidden</html>", 403, kind="text/html"),
    "410": Reply("<html>410 Gone</html>", 410, kind="text/html"),
    "redirected": Reply("", 307, headers={"Location": "/api/v3/order"}),
    "another order": Reply(two_fills(an_intent("bnml-abc123-zzz"))),
}


@pytest.mark.parametrize("name", UNKNOWN_REPLIES)
def test_an_order_without_a_clean_answer_is_unknown_and_sent_once(account: LoopbackAccount, name: str) -> None:
    account.replies = [UNKNOWN_REPLIES[name]]
    with pytest.raises(OutcomeUnknown):
        an_exchange(account).create_order(an_intent(created_at=SystemClock().now()))
    assert len(account.sent) == 1


@pytest.mark.parametrize("name", [name for name in UNKNOWN_REPLIES if name not in ("too late", "dripping")])
def test_a_read_without_a_clean_answer_may_be_repeated(account: LoopbackAccount, name: str) -> None:
    account.replies = [UNKNOWN_REPLIES[name]]
    with pytest.raises(Transient):
        an_exchange(account).order_status(BTC, ENTRY_ID)
    assert len(account.sent) == 1


def test_an_exchange_that_is_not_there_is_unknown_for_orders_and_transient_for_reads() -> None:
    with LoopbackAccount() as account:
        gone = settings(account)
    live = LiveExchange(CcxtTransport.connect(gone, KEY), VenueClock(SystemClock()), gone)
    with pytest.raises(OutcomeUnknown):
        live.create_order(an_intent(created_at=SystemClock().now()))
    with pytest.raises(Transient):
        live.order_status(BTC, ENTRY_ID)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply({"code": -2010, "msg": "Account has insufficient balance for requested action."}, 400), -2010),
        (Reply({"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}, 400), -1021),
        (Reply({"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, 401), -2015),
        (Reply({"code": -1015, "msg": "Too many new orders."}, 429, headers={"Retry-After": "3"}), -1015),
    ],
)
def test_a_refusal_is_heard_in_the_venue_s_own_words(account: LoopbackAccount, reply: Reply, code: int) -> None:
    account.replies = [reply]
    with pytest.raises(Refused) as caught:
        an_exchange(account).create_order(an_intent(created_at=SystemClock().now()))
    assert caught.value.code == code


def test_a_revoked_key_after_success_is_no_rate_limit(account: LoopbackAccount) -> None:
    live = an_exchange(account)
    intent = an_intent(created_at=SystemClock().now())
    account.replies = [
        Reply(two_fills(intent)),
        Reply({"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, 401),
    ]
    live.create_order(intent)
    with pytest.raises(Refused) as caught:
        live.create_order(intent)
    assert (caught.value.code, live.weight.banned_until) == (-2015, None)


def test_the_time_is_measured_anew_when_a_request_is_refused_for_it(account: LoopbackAccount) -> None:
    ahead_ms = 90_000

    def served(request: Sent) -> Reply:
        if request.path == "/api/v3/time":
            return Reply({"serverTime": to_ms(SystemClock().now()) + ahead_ms})
        return Reply({"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}, 400)

    account.otherwise = served
    clock = VenueClock(SystemClock())
    live = LiveExchange(a_transport(account), clock, settings(account), symbols=(BTC,))
    with pytest.raises(Refused):
        live.create_order(an_intent(created_at=clock.now()))
    assert clock.offset_s is not None
    assert abs(clock.offset_s - ahead_ms / 1000) < 1
    assert [request.path for request in account.sent] == ["/api/v3/order"] + ["/api/v3/time"] * 3


def test_the_weight_the_venue_counted_is_taken_over(account: LoopbackAccount) -> None:
    live = an_exchange(account)
    account.replies = [Reply(an_order(a_stop()), headers={"X-MBX-USED-WEIGHT-1M": "321"})]
    live.order_status(BTC, STOP_ID)
    assert live.weight.used in (321, 0)


def test_a_compressed_answer_is_read(account: LoopbackAccount) -> None:
    body = {"balances": [{"asset": f"A{number}", "free": "1", "locked": "0"} for number in range(20_000)]}
    account.replies = [Reply({"serverTime": to_ms(SystemClock().now())})] * 3
    account.replies.append(Reply(raw=gzip.compress(json.dumps(body).encode()), headers={"Content-Encoding": "gzip"}))
    assert len(an_exchange(account).balances()) == 20_000


def test_an_error_of_the_wire_does_not_repeat_the_signed_address(account: LoopbackAccount) -> None:
    account.replies = [Reply(drop=True)]
    with pytest.raises(NoAnswer) as caught:
        a_transport(account).request("GET", "/api/v3/account", {}, signed=True)
    assert "signature" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_requests_leave_their_distance(account: LoopbackAccount) -> None:
    account.otherwise = lambda _: Reply("")
    transport = a_transport(account, rate_limit_ms=60)
    began = SystemClock().monotonic()
    answers: list[Any] = [transport.request("GET", "/api/v3/ping", {}, signed=False) for _ in range(4)]
    assert SystemClock().monotonic() - began >= 0.17
    assert all(isinstance(answer, HttpAnswer) for answer in answers)


def test_a_connection_idle_for_long_is_not_used_for_an_order(
    account: LoopbackAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.otherwise = lambda _: Reply("")
    transport = a_transport(account)
    for _ in range(2):
        transport.request("GET", "/api/v3/ping", {}, signed=False)
    assert account.connections == 1
    monkeypatch.setattr(exchange, "_LONGEST_IDLE_S", 0.0)
    transport.request("POST", "/api/v3/order", {"symbol": "BTCUSDC"}, signed=True)
    assert account.connections == 2


def test_an_answer_without_end_is_cut_off(account: LoopbackAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_LONGEST_BODY", 1000)
    account.replies = [Reply("x" * 1000), Reply("x" * 1001)]
    transport = a_transport(account)
    assert len(transport.request("GET", "/api/v3/account", {}, signed=True).body) == 1000
    with pytest.raises(NoAnswer):
        transport.request("GET", "/api/v3/account", {}, signed=True)
