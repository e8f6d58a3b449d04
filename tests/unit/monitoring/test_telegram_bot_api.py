"""The client of the Bot API against a server on loopback: what it asks, and which error each answer stands for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bn_ml.clock import SystemClock
from bn_ml.errors import ConfigError
from monitoring.telegram_bot_api import (
    LONGEST_TEXT,
    BotApiDown,
    BotApiError,
    BotApiRefused,
    Button,
    SecondPoller,
    TelegramBotApi,
    TooManyRequests,
    WebhookSet,
    bot_id,
)
from tests.fakes.bot_api_server import CHAT, TOKEN, BotApiServer, Sent, failure
from tests.fakes.stream_server import until


@pytest.fixture
def server() -> Iterator[BotApiServer]:
    with BotApiServer() as made:
        yield made


def client(server: BotApiServer, *, timeout_s: float = 2.0, token: str = TOKEN) -> TelegramBotApi:
    return TelegramBotApi(token, SystemClock(), url=server.url, timeout_s=timeout_s)


def test_updates_from_an_offset_on_are_given_and_those_below_forgotten(server: BotApiServer) -> None:
    first, second = server.write("/status", 1), server.write("/why", 2)
    api = client(server)
    assert [item["update_id"] for item in api.updates(None, 0)] == [first, second]  # type: ignore[index]
    assert [item["update_id"] for item in api.updates(second, 0)] == [second]  # type: ignore[index]
    assert api.updates(second + 1, 0) == []
    assert server.polls[0] == {"timeout": 0, "limit": 100, "allowed_updates": ["message", "callback_query"]}
    assert server.polls[1]["offset"] == second


def test_a_long_poll_returns_as_soon_as_something_is_written(server: BotApiServer) -> None:
    threading.Timer(0.1, lambda: server.write("/status", 1)).start()
    clock = SystemClock()
    began_s = clock.monotonic()
    assert len(client(server).updates(None, 20)) == 1
    assert clock.monotonic() - began_s < 5


def test_a_message_with_a_button_is_sent_cut_to_its_longest_length(server: BotApiServer) -> None:
    api = client(server)
    api.send(CHAT, "x" * (LONGEST_TEXT + 1), button=Button("Yes", "kill:1"))
    api.answer_press("press-1", "done")
    assert server.sent == [Sent(CHAT, "x" * LONGEST_TEXT, "kill:1")]
    assert server.pressed == [("press-1", "done")]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failure(429, "Too Many Requests: retry after 7", retry_after=7), TooManyRequests),
        (failure(429, "Too Many Requests"), TooManyRequests),
        (failure(409, "Conflict: terminated by other getUpdates request"), SecondPoller),
        (failure(409, "Conflict: can't use getUpdates method while webhook is active"), WebhookSet),
        (failure(401, "Unauthorized"), BotApiRefused),
        (failure(400, "Bad Request: chat not found"), BotApiRefused),
        (failure(502, "Bad Gateway"), BotApiDown),
        ((200, b'{"ok": false}'), BotApiDown),
        ((200, b'{"ok": true, "result": {}}'), BotApiDown),
        ((200, b"<html>"), BotApiDown),
        ((200, b"[]"), BotApiDown),
        ((200, b"\xff\xfe"), BotApiDown),
        ((200, b"[" * 100_000), BotApiDown),
        ((302, b""), BotApiDown),
    ],
)
def test_each_answer_stands_for_one_error(
    server: BotApiServer, answer: tuple[int, bytes], expected: type[BotApiError]
) -> None:
    server.troubles.append(answer)
    with pytest.raises(BotApiError) as raised:
        client(server).updates(None, 0)
    assert type(raised.value) is expected


@pytest.mark.parametrize(
    ("parameters", "wait_s"),
    [({"retry_after": 7}, 7.0), ({"retry_after": 10**6}, 3600.0), ({"retry_after": "7"}, 5.0), ({}, 5.0)],
)
def test_the_silence_asked_for_is_read(server: BotApiServer, parameters: dict[str, object], wait_s: float) -> None:
    server.troubles.append(failure(429, "Too Many Requests", **parameters))
    with pytest.raises(TooManyRequests) as raised:
        client(server).send(CHAT, "x")
    assert raised.value.wait_s == wait_s


def test_a_server_that_hangs_is_left_after_the_longest_silence(server: BotApiServer) -> None:
    server.hangs = True
    clock = SystemClock()
    began_s = clock.monotonic()
    with pytest.raises(BotApiDown, match="no complete answer: TimeoutError"):
        client(server, timeout_s=0.2).updates(None, 0)
    assert clock.monotonic() - began_s < 2


@pytest.mark.parametrize(
    ("head", "body", "pause_s"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", b"{", 0.0),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 64, 0.05),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", b"x" * 5_000_000, 0.0),
        (b"SSH-2.0-OpenSSH\r\n", b"", 0.0),
    ],
    ids=["cut off", "drop by drop", "too long", "no HTTP"],
)
def test_an_answer_that_is_none_ends_in_time(head: bytes, body: bytes, pause_s: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve_once, args=(listener, head, body, pause_s), daemon=True)
        serving.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BotApiDown, match="no complete answer"):
            TelegramBotApi(TOKEN, SystemClock(), url=url, timeout_s=0.3).updates(None, 0)
        serving.join(5)
    assert not serving.is_alive()


def serve_once(listener: socket.socket, head: bytes, body: bytes, pause_s: float) -> None:
    """Answer one client, with a pause between bytes when there is one, until it hangs up."""
    peer, _ = listener.accept()
    with peer, suppress(OSError):
        peer.recv(65_536)
        peer.sendall(head)
        for piece in (body[at : at + 1] for at in range(len(body))) if pause_s else (body,):
            peer.sendall(piece)
            threading.Event().wait(pause_s)


def test_a_request_on_its_way_is_ended_from_another_thread(server: BotApiServer) -> None:
    api, ended = client(server, timeout_s=20), []

    def poll() -> None:
        try:
            api.updates(None, 20)
        except BotApiDown as error:
            ended.append(str(error))

    thread = threading.Thread(target=poll)
    thread.start()
    until(lambda: len(server.polls) == 1)
    api.abort()
    thread.join(5)
    assert not thread.is_alive()
    assert len(ended) == 1
    api.abort()


def test_no_error_holds_the_token(server: BotApiServer) -> None:
    server.troubles.append(failure(400, f"Bad Request: /bot{TOKEN}/getUpdates and {TOKEN}"))
    said = []
    for url in (server.url, "http://127.0.0.1:1", "http://no such host"):
        with pytest.raises(BotApiError) as raised:
            TelegramBotApi(TOKEN, SystemClock(), url=url, timeout_s=0.5).updates(None, 0)
        said.append(f"{raised.value!r} {raised.value.__cause__} {raised.value}")
    assert TOKEN not in json.dumps(said)
    assert TOKEN.partition(":")[2] not in json.dumps(said)


def test_a_poll_ends_the_poll_of_another_program(server: BotApiServer) -> None:
    told: list[BotApiError] = []

    def poll() -> None:
        try:
            client(server, timeout_s=20).updates(None, 20)
        except BotApiError as error:
            told.append(error)

    thread = threading.Thread(target=poll)
    thread.start()
    until(lambda: len(server.polls) == 1)
    client(server).updates(None, 0)
    thread.join(5)
    assert [type(error) for error in told] == [SecondPoller]


@pytest.mark.parametrize("token", ["", "123", ":abc", "12a:abc", "123:", "123:a/b", "123:a\r\nb", "123:ä"])
def test_what_is_no_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigError, match="TELEGRAM_BOT_TOKEN: not a bot token") as raised:
        TelegramBotApi(token, SystemClock())
    assert not token or token not in str(raised.value)


def test_the_number_of_a_bot_is_no_secret() -> None:
    assert bot_id(TOKEN) == "7654321"
