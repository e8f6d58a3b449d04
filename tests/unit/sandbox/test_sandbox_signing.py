"""Keys, signatures over the bytes as sent, and the time a request may be under way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from public_api.sandbox.dialect import Dialect
from public_api.sandbox.requests import Request
from public_api.sandbox.signing import is_signed_by
from tests.fakes import venue_world
from tests.fakes.sandbox_world import KEY, NOW, PAYLOADS, SECRET, Client, MemoryMarket, body_of, sandbox, signed

AHEAD = {"code": -1021, "msg": "Timestamp for this request was 1000ms ahead of the server's time."}
OUTSIDE = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
FORGED = {"code": -1022, "msg": "Signature for this request is not valid."}
ACCOUNT = "/api/v3/account"


def hmac_of(payload: str) -> str:
    return hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()


def send(request: Request, client: Client | None = None) -> object:
    return body_of((client or sandbox(base="5")).dialect.handle(request, NOW))


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="recorded payloads are not beside the repository")
def test_the_published_vector_verifies() -> None:
    (vector,) = json.loads((PAYLOADS / "orders" / "signing_vectors_rest_hmac.json").read_text(encoding="utf-8"))
    payload = vector["payload"].encode()
    assert is_signed_by(vector["secretKey"], payload, vector["signature"])
    assert is_signed_by(vector["secretKey"], payload, vector["signature"].upper())
    assert not is_signed_by(vector["secretKey"], payload + b"0", vector["signature"])


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", "symbol=ABCUSDT&side=SELL&type=MARKET&quantity=1&timestamp={now}&signature={sig}"),
        ("symbol=ABCUSDT&side=SELL&type=MARKET&quantity=1&timestamp={now}&signature={sig}", ""),
        ("symbol=ABCUSDT&side=SELL", "type=MARKET&quantity=1&timestamp={now}&signature={sig}"),
        ("symbol=ABCUSDT&signature={sig}&side=SELL", "type=MARKET&quantity=1&timestamp={now}"),
    ],
)
def test_query_and_body_are_signed_together_as_sent(query: str, body: str) -> None:
    bare = "".join(
        "&".join(part for part in text.format(now=NOW, sig="").split("&") if not part.startswith("signature"))
        for text in (query, body)
    )
    filled = [text.format(now=NOW, sig=hmac_of(bare)) for text in (query, body)]
    answer = send(Request("POST", "/api/v3/order", *filled, {"x-mbx-apikey": KEY}))
    assert isinstance(answer, dict)
    assert answer["status"] == "FILLED"


def test_a_changed_byte_or_another_encoding_breaks_the_signature() -> None:
    good = signed("GET", "/api/v3/order", {"symbol": "ABCUSDT", "origClientOrderId": "a-b"}, NOW)
    assert send(good) == {"code": -2013, "msg": "Order does not exist."}
    for changed in (good.query.replace("ABC", "ABD"), good.query.replace("a-b", "a%2Db")):
        assert send(Request("GET", good.path, changed, "", good.headers)) == FORGED


def test_of_a_parameter_sent_twice_the_query_counts() -> None:
    query = "symbol=ABCUSDT&side=SELL&type=MARKET&quantity=1"
    body = f"quantity=2&timestamp={NOW}"
    request = Request(
        "POST", "/api/v3/order", query, f"{body}&signature={hmac_of(query + body)}", {"X-MBX-APIKEY": KEY}
    )
    answer = send(request)
    assert isinstance(answer, dict)
    assert answer["origQty"] == "1.00000000"


def test_ed25519_and_rsa_keys_sign_in_base64() -> None:
    ed, rsa = Ed25519PrivateKey.generate(), generate_private_key(65537, 2048)
    pems = [
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() for key in (ed, rsa)
    ]
    dialect = Dialect(venue_world.venue(), MemoryMarket(), {"key-of-ed25519": pems[0], "key-of-rsa-2048": pems[1]})
    payload = f"timestamp={NOW}"
    for name, raw in (
        ("key-of-ed25519", ed.sign(payload.encode())),
        ("key-of-rsa-2048", rsa.sign(payload.encode(), PKCS1v15(), SHA256())),
    ):
        signature = quote_plus(base64.b64encode(raw).decode())
        request = Request("GET", ACCOUNT, f"{payload}&signature={signature}", "", {"X-MBX-APIKEY": name})
        assert dialect.handle(request, NOW).status == 200
        for bad in ("AAAA", "not base64!"):
            forged = Request("GET", ACCOUNT, f"{payload}&signature={quote_plus(bad)}", "", {"X-MBX-APIKEY": name})
            assert body_of(dialect.handle(forged, NOW)) == FORGED


@pytest.mark.parametrize(
    ("key", "code", "text"),
    [
        (None, -2014, "API-key format invalid."),
        ("short", -2014, "API-key format invalid."),
        ("a-key-nobody-knows", -2015, "Invalid API-key, IP, or permissions for action."),
    ],
)
def test_keys_are_tested_before_anything_else(key: str | None, code: int, text: str) -> None:
    headers = {} if key is None else {"X-MBX-APIKEY": key}
    response = sandbox().dialect.handle(Request("GET", ACCOUNT, "", "", headers), NOW)
    assert response.status == 401
    assert body_of(response) == {"code": code, "msg": text}


def test_a_revoked_or_restricted_key_is_refused() -> None:
    client = sandbox(base="5")
    client.dialect.keys.may_trade = False
    assert client.sell()["code"] == -2015
    assert "balances" in client.get(ACCOUNT)
    assert client.get("/sapi/v1/account/apiRestrictions")["enableSpotAndMarginTrading"] is False
    client.dialect.keys.revoke(KEY)
    assert client.get(ACCOUNT)["code"] == -2015
    client.dialect.keys.restore(KEY, SECRET)
    assert "balances" in client.get(ACCOUNT)


@pytest.mark.parametrize(
    ("offset_ms", "window", "answer"),
    [
        (999, None, None),
        (1000, None, AHEAD),
        (-5000, None, None),
        (-5001, None, OUTSIDE),
        (-10_000, "10000", None),
        (-10_001, "10000", OUTSIDE),
        (-60_000, "60000", None),
        (-1, "0.5", OUTSIDE),
        (-1, "1.000", None),
    ],
)
def test_a_request_is_good_from_a_second_ahead_to_the_end_of_its_window(
    offset_ms: int, window: str | None, answer: object
) -> None:
    params = {"timestamp": NOW + offset_ms, **({} if window is None else {"recvWindow": window})}
    got = send(signed("GET", ACCOUNT, params, NOW))
    assert isinstance(got, dict)
    assert ("balances" in got) if answer is None else (got == answer)


@pytest.mark.parametrize(
    ("params", "code"),
    [({"recvWindow": "60001"}, -1131), ({"recvWindow": "1.0001"}, -1102), ({"timestamp": "soon"}, -1100)],
)
def test_malformed_times_are_refused(params: dict[str, object], code: int) -> None:
    got = send(signed("GET", ACCOUNT, {"timestamp": NOW, **params}, NOW))
    assert isinstance(got, dict)
    assert got["code"] == code


def test_microsecond_timestamps_are_understood() -> None:
    got = send(signed("GET", ACCOUNT, {"timestamp": NOW * 1000 + 999}, NOW))
    assert isinstance(got, dict)
    assert "balances" in got


def test_missing_time_or_signature_is_named() -> None:
    for query, name in (("", "timestamp"), (f"timestamp={NOW}", "signature")):
        assert send(Request("GET", ACCOUNT, query, "", {"X-MBX-APIKEY": KEY})) == {
            "code": -1102,
            "msg": f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.",
        }


@pytest.mark.parametrize(("late_ms", "placed"), [(5000, True), (5001, False)])
def test_the_window_is_tested_again_before_matching_and_a_late_order_counts(late_ms: int, placed: bool) -> None:
    client = sandbox(base="5")
    order = {
        "symbol": "ABCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "1",
        "price": "110",
    }
    answer = client.send("POST", "/api/v3/order", order, engine_ms=NOW + late_ms)
    assert (answer.status == 200) is placed
    assert len(client.dialect.venue.open_orders()) == int(placed)
    client.now_ms += late_ms
    assert client.get("/api/v3/rateLimit/order")[1]["count"] == 1


@pytest.mark.parametrize(("unit", "factor"), [(None, 1), ("millisecond", 1), ("MICROSECOND", 1000)])
def test_times_come_in_the_unit_asked_for(unit: str | None, factor: int) -> None:
    client = sandbox(base="5")
    headers = {} if unit is None else {"X-MBX-TIME-UNIT": unit}

    def ask(path: str, query: str = "") -> Any:
        return body_of(client.dialect.handle(Request("GET", f"/api/v3/{path}", query, "", headers), NOW))

    assert ask("time") == {"serverTime": NOW * factor}
    kline = ask("klines", "symbol=ABCUSDT&interval=1m&limit=1")[0]
    assert kline[6] - kline[0] == 59_999 * factor
    request = signed("POST", "/api/v3/orderList/oco", OCO, NOW)
    sent = Request(request.method, request.path, request.query, request.body, {**request.headers, **headers})
    stop = body_of(client.dialect.handle(sent, NOW))["orderReports"][0]
    assert (stop["transactTime"], stop["workingTime"]) == (NOW * factor, -1)


OCO = {
    "symbol": "ABCUSDT",
    "side": "SELL",
    "quantity": "1",
    "aboveType": "LIMIT_MAKER",
    "abovePrice": "110",
    "belowType": "STOP_LOSS",
    "belowStopPrice": "95",
}


def test_another_unit_is_refused() -> None:
    got = send(Request("GET", "/api/v3/time", headers={"x-mbx-time-unit": "DAY"}))
    assert isinstance(got, dict)
    assert got["code"] == -1194
