"""A real API server on loopback in a thread, and a caller from far away that needs no network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from bn_ml.settings import Settings
from public_api.app import Limits, create_app
from public_api.serving import Address, opened, server_of
from public_api.sockets import SocketLimits

TOKEN = "t0ken-" + "x" * 40
PLENTY = Limits(requests_per_s=1e6, burst=10**6)
FAR_AWAY = "203.0.113.7"


@dataclass(frozen=True)
class RunningApi:
    """Where it listens."""

    host: str
    port: int
    app: FastAPI

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def socket_url(self, path: str) -> str:
        return f"ws://{self.host}:{self.port}{path}"

    def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.get(f"{self.url}{path}", headers=named, timeout=10, trust_env=False)


@contextmanager
def serving(app: FastAPI, host: str = "127.0.0.1") -> Iterator[RunningApi]:
    """Serve an application on a free port until the block ends."""
    with opened(Address(host, 0)) as line:
        server = server_of(app)
        thread = threading.Thread(target=_run, args=(server, line), daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            thread.join(0.01)
        try:
            yield RunningApi(host, line.getsockname()[1], app)
        finally:
            server.should_exit = True
            thread.join(10)


def an_api(
    settings: Settings, *, token: str = "", published: bool = False, limits: Limits = PLENTY, **wanted: object
) -> FastAPI:
    """Build an application; `wanted` are keys of `public_api`."""
    kept = settings.model_dump(mode="json", by_alias=True)
    kept["public_api"] = {**kept["public_api"], **wanted}
    return create_app(Settings.from_mapping(kept), token=token, published=published, limits=limits)


def socket_limits(**wanted: float) -> Limits:
    return Limits(requests_per_s=1e6, burst=10**6, sockets=SocketLimits(**wanted))  # type: ignore[arg-type]


def asked(
    app: FastAPI,
    path: str,
    *,
    address: str = "127.0.0.1",
    host: str = "localhost",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Ask an application directly, as a caller from any address."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, client=(address, 40_000), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(
                method, path, headers={name: value.encode() for name, value in (headers or {}).items()}
            )

    return asyncio.run(ask())


def _run(server: uvicorn.Server, line: object) -> None:
    server.run(sockets=[line])  # type: ignore[list-item]
