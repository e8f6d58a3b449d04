"""The kill switch's own line to the venue: what leaves, how it is signed, and what counts as no answer."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from bn_ml.clock import SystemClock
from bn_ml.errors import ConfigError, ExchangeError, Transient
from bn_ml.http_answers import NoAnswer
from bn_ml.order_history import OrderHistory
from bn_ml.plain_transport import LONGEST_IDLE_S, TESTNET_URL, VENUE_URL, PlainTransport, plain_transport, signer
from bn_ml.settings import ExchangeSettings
from scripts.kill_switch_parts import fetched_prices, fetched_rules
from tests.fakes.loopback_account import LoopbackAccount, Reply
from tests.fakes.loopback_exchange import symbol_record
from tests.fakes.money_world import AAA, BTC
from tests.fakes.recorded_answers import recorded
from tests.fakes.venue_world import START, StepClock

PEM = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


@pytest.fixture
def account() -> Iterator[LoopbackAccount]:
    with LoopbackAccount() as opened:
        yield opened


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
def line(account: LoopbackAccount, clock: StepClock) -> Iterator[PlainTransport]:
    made = PlainTransport(account.url, "the-key", signer("the-secret"), clock, timeout_s=0.3, window_ms=5000)
    yield made
    made.close()


def test_a_signed_request_carries_key_stamp_window_and_signature(
    account: LoopbackAccount, line: PlainTransport
) -> None:
    account.replies = [Reply({"ok": 1}, headers={"X-MBX-USED-WEIGHT-1M": "7"})]
    answer = line.request("POST", "/api/v3/order", {"symbol": "BTCUSDC", "note": "a b&c"}, signed=True)
    (sent,) = account.sent
    assert (answer.status, answer.body, answer.headers["x-mbx-used-weight-1m"]) == (200, '{"ok": 1}', "7")
    assert sent.headers["x-mbx-apikey"] == "the-key"
    payload, _, signature = sent.payload.partition("&signature=")
    assert payload == "timestamp=1686369600000&recvWindow=5000&symbol=BTCUSDC&note=a%20b%26c"
    assert signature == signer("the-secret")(payload.encode())


def test_a_stamp_that_was_brought_is_kept(account: LoopbackAccount, line: PlainTransport) -> None:
    line.request("DELETE", "/api/v3/order", {"timestamp": "12", "recvWindow": "9"}, signed=True)
    assert (account.sent[0].params["timestamp"], account.sent[0].params["recvWindow"]) == ("12", "9")


def test_an_open_request_is_not_signed(account: LoopbackAccount, line: PlainTransport) -> None:
    line.request("GET", "/api/v3/ping", {}, signed=False)
    assert (account.sent[0].target, account.sent[0].method) == ("/api/v3/ping", "GET")


def test_refusals_come_back_as_they_are(line: PlainTransport) -> None:
    answer = line.request("GET", "/api/v3/order", {}, signed=True)
    assert (answer.status, answer.body) == (400, '{"code": -1121, "msg": "Invalid symbol."}')


@pytest.mark.parametrize(
    "reply",
    [Reply(drop=True), Reply({"a": 1}, cut=True), Reply(delay_s=1)],
    ids=["dropped", "cut off", "late"],
)
def test_what_does_not_arrive_whole_and_in_time_is_no_answer(
    account: LoopbackAccount, line: PlainTransport, reply: Reply
) -> None:
    account.replies = [reply]
    with pytest.raises(NoAnswer) as raised:
        line.request("POST", "/api/v3/order", {}, signed=True)
    assert "signature" not in str(raised.value)
    assert len(account.sent) == 1
    assert line.request("GET", "/api/v3/ping", {}, signed=False).status == 400


def test_an_answer_that_drips_is_not_waited_for(account: LoopbackAccount) -> None:
    line = PlainTransport(account.url, "", signer("x"), SystemClock(), timeout_s=0.2, window_ms=5000)
    account.replies = [Reply("x" * 400, drip_s=0.05)]
    began = SystemClock().monotonic()
    with pytest.raises(NoAnswer):
        line.request("GET", "/api/v3/ping", {}, signed=False)
    assert SystemClock().monotonic() - began < 1


def test_nobody_there_is_no_answer(clock: StepClock) -> None:
    line = PlainTransport("http://127.0.0.1:9", "", signer("x"), clock, timeout_s=0.2, window_ms=5000)
    with pytest.raises(NoAnswer):
        line.request("GET", "/api/v3/ping", {}, signed=False)


def test_an_answer_without_end_is_no_answer(
    account: LoopbackAccount, line: PlainTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bn_ml.plain_transport.LONGEST_BODY", 10)
    account.replies = [Reply("x" * 11)]
    with pytest.raises(NoAnswer):
        line.request("GET", "/api/v3/ping", {}, signed=False)


def test_a_venue_that_cannot_prove_who_it_is_gives_no_answer(account: LoopbackAccount, clock: StepClock) -> None:
    address = account.url.replace("http", "https")
    line = PlainTransport(address, "", signer("x"), clock, timeout_s=0.3, window_ms=5000)
    with pytest.raises(NoAnswer):
        line.request("GET", "/api/v3/ping", {}, signed=False)
    assert account.sent == []


def test_a_connection_is_kept_but_not_after_a_pause(
    account: LoopbackAccount, line: PlainTransport, clock: StepClock
) -> None:
    for pause_s in (0.0, LONGEST_IDLE_S, LONGEST_IDLE_S + 0.1):
        clock.sleep_until(clock.now() + timedelta(seconds=pause_s))
        line.request("GET", "/api/v3/ping", {}, signed=False)
    assert account.connections == 2


def test_the_documented_signature_comes_out() -> None:
    (vector,) = recorded("orders/signing_vectors_rest_hmac.json")
    assert signer(vector["secretKey"])(vector["payload"].encode()) == vector["signature"]


def test_private_keys_sign_however_their_lines_end() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(*PEM).decode()
    for text in (pem, pem.replace("\n", "\r\n"), pem.strip().replace("\n", "\\n")):
        key.public_key().verify(base64.b64decode(signer(text)(b"a=1")), b"a=1")
    other = rsa.generate_private_key(65537, 2048)
    signature = base64.b64decode(signer(other.private_bytes(*PEM).decode())(b"a=1"))
    other.public_key().verify(signature, b"a=1", padding.PKCS1v15(), hashes.SHA256())


def test_a_key_that_cannot_sign_is_refused() -> None:
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(*PEM).decode()
    for text in (curve, "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----"):
        with pytest.raises(ConfigError):
            signer(text)


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (ExchangeSettings(), VENUE_URL),
        (ExchangeSettings(testnet=True), TESTNET_URL),
        (ExchangeSettings(base_url="http://127.0.0.1:9101", testnet=True), "http://127.0.0.1:9101"),
    ],
)
def test_the_address_follows_the_settings(settings: ExchangeSettings, address: str, clock: StepClock) -> None:
    made = plain_transport(settings, "k", "s", clock)
    assert made.url == address


def test_rules_and_prices_are_fetched_for_the_symbols_asked_for(
    account: LoopbackAccount, line: PlainTransport, clock: StepClock
) -> None:
    account.replies = [
        Reply({"symbols": [symbol_record("BTC", "USDC")]}),
        Reply({"bidPrice": "99.5", "askPrice": "100.5"}),
        Reply({"msg": "down"}, 503),
    ]
    assert list(fetched_rules(line, [BTC])) == [BTC]
    assert account.sent[0].params == {"symbols": '["BTCUSDC"]'}
    prices = fetched_prices(line, [BTC, AAA], clock)
    assert {symbol: str(quote.bid) for symbol, quote in prices.items()} == {BTC: "99.5"}
    assert fetched_rules(line, []) == {}
    account.replies = [Reply("no json"), Reply([1]), Reply(drop=True)]
    for expected in (Transient, ExchangeError, Transient):
        with pytest.raises(expected):
            fetched_rules(line, [BTC])


def test_the_history_holds_the_trades_of_our_orders_only() -> None:
    orders = [
        {"orderId": 7, "clientOrderId": "bnml-abcdef-1x"},
        {"orderId": 8, "clientOrderId": "web_1"},
    ]
    trade = {
        "symbol": "BTCUSDC",
        "price": "100.0",
        "qty": "2.0",
        "quoteQty": "200.0",
        "commission": "0.002",
        "commissionAsset": "BTC",
        "time": 1686369600000,
        "isBuyer": True,
    }
    trades = [{**trade, "id": 1, "orderId": 7}, {**trade, "id": 2, "orderId": 8}]
    asked: list[tuple[str, str]] = []

    def read(path: str, params: object, weight: int) -> object:
        asked.append((path, str(weight)))
        return orders if path == "/api/v3/allOrders" else trades

    (fill,) = OrderHistory(read, lambda text: text.startswith("bnml-")).fills(BTC)
    assert (fill.client_id, fill.trade_id, fill.at) == ("bnml-abcdef-1x", "1", START)
    assert asked == [("/api/v3/allOrders", "20"), ("/api/v3/myTrades", "20")]
    with pytest.raises(Transient):
        OrderHistory(lambda path, params, weight: {"msg": "odd"}, lambda text: True).fills(BTC)
