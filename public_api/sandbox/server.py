"""The sandbox on loopback: REST, market streams and the WebSocket API on one port, the control port beside it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from ipaddress import ip_address

from aiohttp import web

from bn_ml.errors import ConfigError
from bn_ml.ports import Clock
from bn_ml.venue.errors import VenueError
from public_api.sandbox.answers import Json
from public_api.sandbox.control import Control
from public_api.sandbox.delivery import deliver, linger, transmitted
from public_api.sandbox.requests import Request
from public_api.sandbox.socket_session import SocketRules, SocketSession
from public_api.sandbox.streams import StreamClient
from public_api.sandbox.user_hub import UserClient
from public_api.sandbox.world import World
from public_api.sandbox.ws_api import WebSocketApi, framed, read_frame, refused

_PUMP_S = 0.05
_GOODBYE_S = 2.0
_CONNECTS_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens; port 0 stands for any free one, and a control port of None for the next one."""

    host: str = "127.0.0.1"
    port: int = 9101
    control_port: int | None = None

    def __post_init__(self) -> None:
        """Refuse every address but loopback; raises `ConfigError`."""
        if not is_loopback(self.host):
            raise ConfigError([f"--host: the sandbox serves this machine only (127.0.0.1, ::1), got {self.host}"])


@dataclass(slots=True)
class SandboxServer:
    """Serves one world until stopped; `port` and `control_port` are known after `start`."""

    world: World
    addresses: Addresses
    wall: Clock
    rules: SocketRules = field(default_factory=SocketRules)
    port: int = 0
    control_port: int = 0
    _runners: list[web.AppRunner] = field(default_factory=list)
    _pump: asyncio.Task[None] | None = None
    _connects: deque[float] = field(default_factory=deque)

    async def start(self) -> None:
        """Open both ports and let time run."""
        # The name may stand for two addresses, and a free port of one need not be free on the other.
        host = "127.0.0.1" if self.addresses.host == "localhost" else self.addresses.host
        port = self.addresses.port
        self.port = await self._open(self._public(), host, port)
        wanted = self.addresses.control_port
        chosen = (self.port + 1 if port else 0) if wanted is None else wanted
        self.control_port = await self._open(Control(self.world).application(), host, chosen)
        self._pump = asyncio.create_task(self._run())

    async def wait(self, stop: asyncio.Event) -> None:
        """Return once `stop` is set; raises what has ended the market before that."""
        stopping = asyncio.ensure_future(stop.wait())
        waiting = {stopping} if self._pump is None else {stopping, self._pump}
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Close everything."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self.world.streams.drop_all()
        self.world.users.drop_all()
        for runner in self._runners:
            await runner.cleanup()
        self.world.close()

    async def _open(self, application: web.Application, host: str, port: int) -> int:
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    def _public(self) -> web.Application:
        application = web.Application(client_max_size=2**20)
        application.router.add_get("/ws", self._market_socket)
        application.router.add_get("/ws/{streams:.*}", self._market_socket)
        application.router.add_get("/stream", self._market_socket)
        application.router.add_get("/ws-api/v3", self._api_socket)
        application.router.add_route("*", "/{path:.*}", self._rest)
        return application

    async def _run(self) -> None:
        while True:
            self.world.move()
            await asyncio.sleep(_PUMP_S)

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        body = (await request.read()).decode("utf-8", "replace")
        received = Request(
            request.method, path, query, body, dict(request.headers), request.remote or self.addresses.host
        )
        return await deliver(self.world, received, request)

    async def _market_socket(self, request: web.Request) -> web.StreamResponse:
        socket, session = await self._accept(request)
        combined = request.path == "/stream"
        names = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        client = StreamClient(session, [name for name in names.split("/") if name], combined=combined)
        hub = self.world.streams
        hub.join(client, self.world.move())

        async def answer(text: str) -> None:
            hub.answer(client, text, self.world.move())

        try:
            await session.serve(answer, self.wall, self.world.clock)
        finally:
            hub.clients.remove(client)
        return socket

    async def _api_socket(self, request: web.Request) -> web.StreamResponse:
        socket, session = await self._accept(request)
        client = UserClient(session, self.world.clock.now_ms())
        api = WebSocketApi(self.world)
        self.world.users.clients.append(client)

        async def answer(text: str) -> None:
            await self._obey(api, client, text)

        try:
            await session.serve(answer, self.wall, self.world.clock)
        finally:
            self.world.users.clients.remove(client)
        return socket

    async def _obey(self, api: WebSocketApi, client: UserClient, text: str) -> None:
        """Answer one frame; what goes wrong on the line drops the whole connection."""
        identity: Json = None
        try:
            self.world.move()
            frame = read_frame(text)
            identity = frame.get("id")
            request = api.inner_request(client, frame)
            if request is None:
                client.session.offer(api.about_session(client, frame))
                return
        except VenueError as refusal:
            client.session.offer(refused(identity, refusal))
            return
        sent = transmitted(self.world, request)
        await linger(self.world, sent)
        if sent.drop is not None or sent.cut_at is not None:
            client.session.drop()
        else:
            client.session.offer(framed(identity, sent.response))

    async def _accept(self, request: web.Request) -> tuple[web.WebSocketResponse, SocketSession]:
        now_s = self.wall.monotonic()
        while self._connects and now_s - self._connects[0] >= _CONNECTS_WITHIN_S:
            self._connects.popleft()
        if len(self._connects) >= self.rules.connects_per_5min:
            raise web.HTTPTooManyRequests
        self._connects.append(now_s)
        socket = web.WebSocketResponse(autoping=False, max_msg_size=2**16, timeout=_GOODBYE_S)
        await socket.prepare(request)
        return socket, SocketSession(socket, request.transport, self.rules)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
