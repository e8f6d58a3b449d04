"""A real server on loopback: websockets from admission to the end, and the command that starts it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bn_ml.domain.market import iso
from bn_ml.state_store import StateStore
from public_api.live_feed import MOST_FRAME_BYTES
from scripts.run_api import main
from tests.fakes.api_books import END, SCAN_ROWS, a_traded_book, api_settings
from tests.fakes.api_server import TOKEN, RunningApi, an_api, serving, socket_limits

PREDICTIONS, MOOD = "/ws/predictions", "/ws/market/intelligence"
WAIT_S = 5.0


@pytest.fixture
def book(tmp_path: Path) -> Path:
    a_traded_book(tmp_path / "bn_ml.db")
    return tmp_path / "bn_ml.db"


def run(work: Callable[[], Awaitable[object]]) -> object:
    async def bounded() -> object:
        return await asyncio.wait_for(work(), 30)

    return asyncio.run(bounded())


async def heard(line: ClientConnection) -> dict[str, object]:
    said = json.loads(await asyncio.wait_for(line.recv(), WAIT_S))
    assert isinstance(said, dict)
    return said


def an_open(api: RunningApi, path: str, **more: object) -> connect:
    return connect(api.socket_url(path), proxy=None, **more)  # type: ignore[arg-type]


def test_the_newest_scan_comes_at_once_and_after_each_scan(book: Path) -> None:
    app = an_api(api_settings(book, book.parent), ws_poll_sec=0.5)
    store = StateStore(book)

    async def follow(api: RunningApi) -> None:
        async with an_open(api, f"{PREDICTIONS}?signal=BUY&limit=1") as line:
            first = await heard(line)
            assert (first["type"], len(first["payload"]["rows"])) == ("predictions", 1)  # type: ignore[index,arg-type]
            row = {**SCAN_ROWS[0], "symbol": "ETH/USDT"}
            store.put("latest_scan", {"at": iso(END), "rows": [row]}, END.replace(microsecond=7000))
            second = await heard(line)
            assert second["payload"]["rows"][0]["symbol"] == "ETH/USDT"  # type: ignore[index]

    with serving(app) as api:
        run(lambda: follow(api))
    store.close()


def test_the_mood_and_its_history_come_at_once(book: Path) -> None:
    async def follow(api: RunningApi) -> None:
        async with an_open(api, f"{MOOD}?limit=2") as line:
            said = await heard(line)
            assert said["type"] == "market_intelligence"
            assert said["payload"]["total_rows"] == 3  # type: ignore[index]
            assert said["payload"]["latest"]["index_value"] == 62.5  # type: ignore[index]

    with serving(an_api(api_settings(book, book.parent))) as api:
        run(lambda: follow(api))


def test_a_first_message_comes_without_a_book_too(tmp_path: Path) -> None:
    async def follow(api: RunningApi) -> None:
        async with an_open(api, PREDICTIONS) as line:
            said = await heard(line)
            assert (said["payload"]["rows"], said["payload"]["stale"]) == ([], True)  # type: ignore[index]

    with serving(an_api(api_settings(tmp_path / "none.db", tmp_path))) as api:
        run(lambda: follow(api))


def test_heartbeats_come_when_nothing_happens(book: Path) -> None:
    app = an_api(api_settings(book, book.parent), limits=socket_limits(heartbeat_s=0.1))

    async def follow(api: RunningApi) -> None:
        async with an_open(api, PREDICTIONS) as line:
            kinds = [(await heard(line))["type"] for _ in range(3)]
            assert kinds == ["predictions", "heartbeat", "heartbeat"]

    with serving(app) as api:
        run(lambda: follow(api))


def test_a_frame_is_never_larger_than_the_limit_and_says_how_many_rows_there_are(book: Path) -> None:
    store = StateStore(book)
    rows = [{**SCAN_ROWS[1], "symbol": f"A{place}/USDT", "note": "x" * 300} for place in range(500)]
    store.put("latest_scan", {"at": iso(END), "rows": rows}, END)
    store.close()

    async def follow(api: RunningApi) -> None:
        async with an_open(api, f"{PREDICTIONS}?limit=500") as line:
            text = str(await asyncio.wait_for(line.recv(), WAIT_S))
            payload = json.loads(text)["payload"]
            assert len(text.encode()) <= MOST_FRAME_BYTES
            assert payload["total_rows"] == payload["signals"]["HOLD"] == 500
            assert 0 < payload["returned_rows"] == len(payload["rows"]) < 500

    with serving(an_api(api_settings(book, book.parent))) as api:
        run(lambda: follow(api))


async def refused_with(api: RunningApi, path: str, **more: object) -> int:
    try:
        async with an_open(api, path, **more):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        (PREDICTIONS, "http://evil.org", 403),
        (PREDICTIONS, "null", 403),
        (f"{PREDICTIONS}?limit=501", None, 422),
        (f"{PREDICTIONS}?signal=UP", None, 422),
        (f"{MOOD}?limit=0", None, 422),
    ],
)
def test_a_websocket_that_may_not_open_is_refused(book: Path, path: str, origin: str | None, status: int) -> None:
    with serving(an_api(api_settings(book, book.parent))) as api:
        assert run(lambda: refused_with(api, path, origin=origin)) == status


def test_a_relayed_websocket_needs_the_token_by_sub_protocol_or_first_message(book: Path) -> None:
    app = an_api(api_settings(book, book.parent), token=TOKEN, limits=socket_limits(token_within_s=1.0))
    relayed = {"additional_headers": {"x-forwarded-for": "198.51.100.1"}}

    async def try_all(api: RunningApi) -> None:
        async with an_open(api, PREDICTIONS, subprotocols=["bearer", TOKEN], **relayed) as line:
            assert line.subprotocol == "bearer"
            assert (await heard(line))["type"] == "predictions"
        async with an_open(api, PREDICTIONS, **relayed) as line:
            await line.send(json.dumps({"type": "auth", "token": TOKEN}))
            assert (await heard(line))["type"] == "predictions"
        for word in ('{"type": "auth", "token": "wrong"}', "hello", "[]"):
            async with an_open(api, PREDICTIONS, **relayed) as line:
                await line.send(word)
                with pytest.raises(ConnectionClosed):
                    await heard(line)
        assert await refused_with(api, PREDICTIONS, subprotocols=["bearer", "x" * 40], **relayed) == 401

    with serving(app) as api:
        run(lambda: try_all(api))


def test_there_are_no_more_websockets_than_the_limit_and_a_place_left_is_free_again(book: Path) -> None:
    app = an_api(api_settings(book, book.parent), limits=socket_limits(most=2))

    async def fill(api: RunningApi) -> None:
        async with an_open(api, PREDICTIONS) as first:
            await heard(first)
            async with an_open(api, MOOD) as second:
                await heard(second)
                assert await refused_with(api, PREDICTIONS) == 503
        while app.state.service.metrics.sockets:
            await asyncio.sleep(0.01)
        assert await refused_with(api, PREDICTIONS) == 101

    with serving(app) as api:
        run(lambda: fill(api))


def test_an_open_address_without_token_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNML_API_TOKEN", raising=False)
    assert main(["--host", "0.0.0.0"]) == 2
    assert "public_api.host: 127.0.0.1" in capsys.readouterr().err


def test_a_taken_port_is_named_with_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    told = capsys.readouterr().err
    assert f"port {port} on 127.0.0.1 is taken by" in told
    assert "--port" in told
