"""A running sandbox exchange for tests: in a thread of this process, or as the command in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError

import ccxt
import requests
from requests.adapters import HTTPAdapter

from bn_ml.clock import SimulatedClock, SystemClock
from bn_ml.domain.market import Symbol, from_ms, to_ms
from data_manager.sources.synthetic import SyntheticSource
from public_api.sandbox.market_feed import MarketFeed
from public_api.sandbox.server import Addresses, SandboxServer
from public_api.sandbox.socket_session import SocketRules
from public_api.sandbox.world import World, WorldOptions

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS = ("BTC/USDC", "ETH/USDC", "BNB/USDC")
START_MS = 1_706_780_123_456
FAR = SimulatedClock(from_ms(4_102_444_800_000))
_STARTED_WITHIN_S = 60.0


@dataclass
class Sandbox:
    """How to reach a running sandbox."""

    base_url: str
    control_url: str
    ws_url: str
    api_key: str
    api_secret: str

    def get(self, name: str) -> Any:
        """Ask the control route."""
        return self._call(name, None)

    def post(self, name: str, **wish: Any) -> Any:
        """Tell the control route; a refusal raises `ValueError`."""
        return self._call(name, wish)

    def now_ms(self) -> int:
        return int(self.get("clock")["now_ms"])

    def client(self, **options: Any) -> ccxt.binance:
        """A stock client led here by its addresses."""
        made = ccxt.binance(self.credentials(**options))
        redirect(made.urls["api"], self.base_url)
        return made

    def credentials(self, **options: Any) -> dict[str, Any]:
        return {"apiKey": self.api_key, "secret": self.api_secret, "options": options, "rateLimit": 1}

    def rewritten_client(self, **options: Any) -> ccxt.binance:
        """A stock client with its own addresses, whose session leads them here."""
        made = ccxt.binance(self.credentials(**options))
        made.session.mount("https://api.binance.com/", Rewriting("https://api.binance.com", self.base_url))
        for host in ("fapi", "dapi"):
            made.session.mount(f"https://{host}.binance.com/", Rewriting(f"https://{host}.binance.com", self.base_url))
        return made

    def _call(self, name: str, wish: Mapping[str, Any] | None) -> Any:
        body = None if wish is None else json.dumps(wish).encode()
        request = urllib.request.Request(f"{self.control_url}/{name}", body)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                raise ValueError(error.read().decode()) from None


class Rewriting(HTTPAdapter):
    """Sends requests for one address to another; the caller keeps seeing the first."""

    def __init__(self, shown: str, real: str) -> None:
        super().__init__()
        self._shown, self._real = shown, real

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        shown = str(request.url)
        request.url = shown.replace(self._shown, self._real, 1)
        answer = super().send(request, *args, **options)
        answer.url = shown
        return answer


def redirect(urls: dict[str, Any], base_url: str) -> None:
    """Lead every REST address of a client to a base."""
    for section, address in urls.items():
        if isinstance(address, str):
            path = address.partition("://")[2].partition("/")[2]
            urls[section] = f"{base_url}/{path}"


@dataclass
class SandboxThread(Sandbox):
    """A sandbox in this process; its time stands still unless it is told to run."""

    world: World = field(kw_only=True)
    _loop: asyncio.AbstractEventLoop = field(kw_only=True)
    _server: SandboxServer = field(kw_only=True)
    _thread: threading.Thread = field(kw_only=True)

    @classmethod
    def start(
        cls,
        *,
        frozen: bool = True,
        symbols: Sequence[str] = SYMBOLS,
        rules: SocketRules | None = None,
        feed: MarketFeed | None = None,
        **options: Any,
    ) -> SandboxThread:
        """Open one; options are those of the world."""
        balances = {"USDC": Decimal(100_000), "BNB": Decimal(1)}
        chosen = {"start_ms": START_MS, "seed": 7, "balances": balances} | options
        source = SyntheticSource(FAR, [Symbol(name) for name in symbols])
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        async def opened() -> SandboxServer:
            world = World(feed or MarketFeed(source, 7), WorldOptions(**chosen), SystemClock())
            if frozen:
                world.clock.freeze()
            server = SandboxServer(world, Addresses(port=0), SystemClock(), rules or SocketRules())
            await server.start()
            return server

        server = asyncio.run_coroutine_threadsafe(opened(), loop).result(30)
        keys = server.world.keys
        return cls(
            base_url=f"http://127.0.0.1:{server.port}",
            control_url=f"http://127.0.0.1:{server.control_port}",
            ws_url=f"ws://127.0.0.1:{server.port}",
            api_key=keys.api_key,
            api_secret=keys.secret,
            world=server.world,
            _loop=loop,
            _server=server,
            _thread=thread,
        )

    def stop(self) -> None:
        """Close it."""
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@dataclass
class SandboxProcess(Sandbox):
    """The command `bnml-sandbox` in a process of its own."""

    process: subprocess.Popen[str] = field(kw_only=True)
    symbols: list[str] = field(kw_only=True)
    errors: IO[str] = field(kw_only=True)

    @classmethod
    def start(cls, *arguments: str) -> SandboxProcess:
        """Start the command on free ports and wait until it serves; raises `RuntimeError` when it does not."""
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when the process has ended
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.sandbox", "--port", "0", "--json", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        killer = threading.Timer(_STARTED_WITHIN_S, process.kill)
        killer.start()
        line = process.stdout.readline()
        killer.cancel()
        if not line:
            process.communicate(timeout=10)
            errors.seek(0)
            raise RuntimeError(f"the sandbox ended with {process.returncode}: {errors.read()}")
        told = json.loads(line)
        return cls(
            base_url=told["base_url"],
            control_url=told["control_url"],
            ws_url=told["ws_url"],
            api_key=told["api_key"],
            api_secret=told["api_secret"],
            symbols=told["symbols"],
            process=process,
            errors=errors,
        )

    def stop(self) -> int:
        """Ask it to end and give its exit code."""
        self.process.terminate()
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended and give its exit code."""
        self.process.communicate(timeout=20)
        self.errors.close()
        return self.process.returncode

    def kill(self) -> None:
        """End it without a goodbye."""
        self.process.kill()
        self.ended()


def now_wall_ms() -> int:
    """The present by the wall."""
    return to_ms(SystemClock().now())
