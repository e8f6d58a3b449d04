"""Whatever a receiver answers, it is an answer or no answer, never another error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bn_ml.clock import SystemClock
from bn_ml.http_answers import HttpAnswer, NoAnswer
from monitoring.channel_failures import ChannelFailed
from monitoring.channel_telegram import retry_after_s
from monitoring.channel_webhook import require_accepted
from monitoring.outgoing_http import OutgoingHttp

PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 429 Slow\r\n",
        b"HTTP/9 x y\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -7\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Retry-After: 1e400\r\n",
        b": \r\n",
        b"\r\n",
        b"\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffffff\r\n",
        b"\x00\xff",
    ]
)
ANSWERS = st.lists(st.one_of(PARTS, st.binary(max_size=30)), max_size=8).map(b"".join)


class RawServer:
    """Answers each connection with the bytes set, then hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(4096)
                    connection.sendall(self.answer)
                except OSError:
                    continue

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[RawServer]:
    raw = RawServer()
    yield raw
    raw.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANSWERS)
def test_any_bytes_are_an_answer_or_no_answer(server: RawServer, answer: bytes) -> None:
    server.answer = answer
    client = OutgoingHttp(f"http://127.0.0.1:{server.port}/x", SystemClock(), timeout_s=2)
    try:
        given_back = client.request("POST", body=b"{}")
    except NoAnswer:
        return
    assert 100 <= given_back.status <= 999
    if not 200 <= given_back.status < 300:
        with pytest.raises(ChannelFailed) as caught:
            require_accepted(given_back, "host")
        assert 0 <= (caught.value.wait_s or 0) <= 86_400


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(["[" * 60_000, '{"parameters": {"retry_after": 9e999}}', '{"parameters": []}', "3"]),
        st.integers(-5, 10**12).map(lambda number: f'{{"parameters": {{"retry_after": {number}}}}}'),
    ),
    st.text(max_size=10),
)
def test_any_text_is_a_wait_or_none(body: str, header: str) -> None:
    wait_s = retry_after_s(HttpAnswer(429, body, {"retry-after": header}))
    assert wait_s is None or 0 <= wait_s <= 86_400
