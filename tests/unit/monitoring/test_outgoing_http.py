"""Requests to one pinned address: where they may go, and that they end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bn_ml.clock import SystemClock
from bn_ml.http_answers import NoAnswer
from monitoring.outgoing_address import AddressRefused, is_public, target_of
from monitoring.outgoing_http import LONGEST_ANSWER, OutgoingHttp
from tests.fakes.alert_receivers import WebReceiver, own_certificate

CLOCK = SystemClock()


def a_client(url: str, timeout_s: float = 2.0) -> OutgoingHttp:
    return OutgoingHttp(url, CLOCK, timeout_s=timeout_s)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a",
        "ftp://example.org",
        "https://",
        "",
        "https://user:secret@example.org/",
        "https://example.org:port/",
        "https://example.org/a b",
        "https://example.org/\r\nX: y",
        "http://127.0.0.2/",
        "http://[::ffff:127.0.0.1]/",
        "//example.org",
    ],
)
def test_unusable_addresses_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        target_of(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
    ],
)
def test_private_and_metadata_addresses_are_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_open_addresses_are_public(text: str) -> None:
    assert is_public(text)


def leads_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names lead to the addresses given, one answer after the other; gives the names asked for."""
    asked: list[str] = []
    left = list(answers)
    really = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **more: Any) -> Sequence[object]:
        if host[0].isdigit():
            return really(host, port, *args, **more)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in left.pop(0)]

    monkeypatch.setattr("monitoring.outgoing_address.socket.getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["93.184.216.34", "169.254.169.254"], []])
def test_a_name_that_leads_into_a_private_network_is_refused(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    leads_to(monkeypatch, addresses)
    with pytest.raises(AddressRefused):
        a_client("https://hooks.example.org/secret").request("POST")


def test_a_name_of_this_machine_that_leads_away_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    leads_to(monkeypatch, ["93.184.216.34"])
    with pytest.raises(AddressRefused):
        a_client("http://localhost:1/").request("GET")


def test_a_name_is_resolved_once() -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, WebReceiver() as receiver:
        asked = leads_to(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
        client = a_client(f"http://localhost:{receiver.port}/hook")
        assert [client.request("GET").status for _ in range(3)] == [200, 200, 200]
        assert asked == ["localhost"]


def test_a_request_carries_what_was_given() -> None:
    with WebReceiver() as receiver:
        client = a_client(f"{receiver.url}/hook?a=b")
        answer = client.request("POST", body=b"{}", headers={"Content-Type": "application/json"})
        (posted,) = receiver.posts
    assert (answer.status, answer.body) == (200, "ok")
    assert (posted.method, posted.path, posted.body) == ("POST", "/hook?a=b", b"{}")
    assert posted.headers["content-type"] == "application/json"


def test_a_redirect_is_not_followed() -> None:
    with WebReceiver() as receiver:
        receiver.answers = [(302, b"", {"Location": f"{receiver.url}/elsewhere"})]
        assert a_client(receiver.url).request("GET").status == 302
        assert len(receiver.posts) == 1


def test_a_long_answer_is_cut() -> None:
    with WebReceiver(answers=[(200, b"x" * (4 * LONGEST_ANSWER), {})]) as receiver:
        assert len(a_client(receiver.url).request("GET").body) <= LONGEST_ANSWER


@pytest.mark.parametrize("drips", [False, True])
def test_a_receiver_that_never_ends_its_answer_is_left_in_time(drips: bool) -> None:
    with WebReceiver(drips=drips) as receiver:
        if not drips:
            receiver.hangs.set()
        began_s = CLOCK.monotonic()
        with pytest.raises(NoAnswer, match="too late"):
            a_client(receiver.url, timeout_s=0.4).request("GET")
        assert CLOCK.monotonic() - began_s < 4


def test_a_status_counts_though_its_body_never_comes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 10\r\n\r\n")
                done.wait(5)

        thread = threading.Thread(target=answer)
        thread.start()
        assert a_client(f"http://127.0.0.1:{server.getsockname()[1]}").request("GET").status == 204
        done.set()
        thread.join()


def test_nobody_there_is_no_answer_and_the_path_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(NoAnswer) as caught:
        a_client(f"http://127.0.0.1:{port}/bot123:secret/x").request("GET")
    assert "secret" not in str(caught.value)


def test_a_certificate_nobody_vouches_for_is_no_answer(tmp_path: Path) -> None:
    server, trusting = own_certificate(tmp_path)
    with WebReceiver(tls=server) as receiver:
        with pytest.raises(NoAnswer, match="certificate"):
            a_client(receiver.url).request("GET")
        trusted = OutgoingHttp(receiver.url, CLOCK, timeout_s=2, trust=trusting)
        assert trusted.request("GET").status == 200


def test_garbage_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"who are you\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NoAnswer):
            a_client(f"http://127.0.0.1:{server.getsockname()[1]}").request("GET")
        thread.join()
