"""The read-only HTTP and websocket interface: `create_app` builds it, `run` serves it, `app` is it for uvicorn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.env import Secrets, load_env
from bn_ml.ports import Clock
from bn_ml.settings import Settings
from public_api.admission import Admission, Origins
from public_api.binding import checked_binding
from public_api.book_queries import BookQueries
from public_api.book_watch import BookWatch
from public_api.callers import Trust
from public_api.gate import Gate
from public_api.live_feed import LiveFeed
from public_api.paging import ALLOWED
from public_api.rate_limit import RateLimit
from public_api.refusals import ErrorAnswer, Refusal, refused
from public_api.routes import health, live, market, metrics, models, runtime, site
from public_api.service import Service
from public_api.serving import Address, opened, serve
from public_api.site_files import site_files
from public_api.sockets import SocketLimits, Sockets, deny

TITLE, VERSION = "BN-ML Public API", "1"
ABOUT = (
    "Read-only. Amounts are in the quote asset, fields named _pct are fractions, instants are ISO 8601 UTC. Every "
    "answer tells its age. Errors are {detail, error_id}."
)
_WORDS = {404: "there is nothing here", 405: "allowed methods: GET, HEAD"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is served: requests per second and address, the burst before that, seconds for an answer to begin."""

    requests_per_s: float = 10.0
    burst: int = 20
    answer_s: float = 5.0
    sockets: SocketLimits = field(default_factory=SocketLimits)


def create_app(
    settings: Settings | None = None,
    *,
    token: str | None = None,
    clock: Clock | None = None,
    published: bool | None = None,
    limits: Limits | None = None,
) -> FastAPI:
    """Build the interface; nothing is opened yet.

    What is not given is read as the command does, from the configuration file and the environment. `published` says
    that a container's port is reachable from its host's loopback only. Raises `ConfigError` for settings that must not
    be served.
    """
    if settings is None or token is None or published is None:
        environ = load_env(Path.cwd())
        settings = load_settings(environ=environ).settings if settings is None else settings
        token = Secrets.from_environ(environ).api_token if token is None else token
        published = is_published(environ) if published is None else published
    wanted, limits, clock = settings.public_api, limits or Limits(), clock or SystemClock()
    binding = checked_binding(wanted, token, published=published)
    admission = Admission(
        trust=Trust(token, binding.hosts, published),
        origins=Origins(frozenset(origin.lower().rstrip("/") for origin in wanted.cors_origins)),
        rate=RateLimit(clock, per_s=limits.requests_per_s, burst=limits.burst),
        public_market=wanted.public_market,
    )
    database = Path(settings.storage.sqlite_path)
    service = Service(
        settings, clock, BookQueries(database), BookWatch(database), database, Path(settings.model.models_dir)
    )
    return _assembled(service, admission, limits)


def run(
    *,
    host: str | None = None,
    port: int | None = None,
    models_dir: Path | None = None,
    config: Path | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; what is not given comes from the configuration. `started` hears the address.

    Raises `ConfigError` for an address that must not be opened and `PortTaken` for one that cannot.
    """
    environ = load_env(Path.cwd())
    given = {"public_api.host": host, "public_api.port": port, "model.models_dir": models_dir and str(models_dir)}
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(config, environ=environ, overrides=overrides).settings
    token = Secrets.from_environ(environ).api_token
    made = create_app(settings, token=token, published=is_published(environ))
    address = Address(settings.public_api.host, settings.public_api.port)
    with opened(address) as line:
        if started is not None:
            started(address.url)
        serve(made, line)


def is_published(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment says that the container's port is on the host's loopback only."""
    return environ.get("BNML_API_LOOPBACK_PUBLISHED", "").strip().lower() in ("1", "true", "yes", "on")


def _assembled(service: Service, admission: Admission, limits: Limits) -> FastAPI:
    @asynccontextmanager
    async def lifespan(made: FastAPI) -> AsyncIterator[None]:
        del made
        yield
        service.watch.close()

    made = FastAPI(
        title=TITLE,
        version=VERSION,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    made.state.service = service
    made.state.site = site_files()
    made.state.sockets = Sockets(
        service, LiveFeed(service, poll_s=service.settings.public_api.ws_poll_sec), admission, limits.sockets
    )
    parts = (health, runtime, market, models, metrics, live, site)
    for part in parts:
        # Straight into one table: looked through faster than nested routers, and readable as a list of paths.
        made.router.routes.extend(part.router.routes)
    _answer_errors(made)
    service.metrics.know(paths_of(made))
    made.add_middleware(Gate, service=service, admission=admission, limit_s=limits.answer_s)
    return made


def paths_of(made: FastAPI) -> tuple[str, ...]:
    """Give every path the application serves, websockets included, as templates."""
    return tuple(dict.fromkeys(str(path) for route in made.routes if (path := getattr(route, "path", None))))


def _answer_errors(made: FastAPI) -> None:
    @made.exception_handler(Refusal)
    async def on_refusal(request: Request, error: Refusal) -> Response:
        del request
        return refused(error)

    @made.exception_handler(RequestValidationError)
    async def on_parameters(request: Request, error: RequestValidationError) -> Response:
        del request
        return refused(Refusal(422, _said(error.errors())))

    @made.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        del request
        return refused(Refusal(error.status_code, _WORDS.get(error.status_code, "the request cannot be answered")))

    @made.exception_handler(WebSocketRequestValidationError)
    async def on_socket(socket: WebSocket, error: WebSocketRequestValidationError) -> None:
        await deny(socket, Refusal(422, _said(error.errors())))


def _said(errors: Sequence[object]) -> str:
    """Give one sentence for parameters outside their range: which, and what is allowed; never what was sent."""
    return "; ".join(dict.fromkeys(_one(error) for error in errors if isinstance(error, dict)))


def _one(error: Mapping[str, object]) -> str:
    where, allowed = error.get("loc"), str(error.get("msg", "")).replace("Input should be ", "allowed: ")
    name = str(where[-1]) if isinstance(where, tuple | list) and where else "parameter"
    return f"{name}: allowed: {ALLOWED[name]}" if name in ALLOWED else f"{name}: {allowed}"


@cache
def _served() -> FastAPI:
    return create_app()


def __getattr__(name: str) -> object:
    """Build `app` when it is asked for: importing this module reads no file."""
    if name == "app":
        return _served()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["ErrorAnswer", "Limits", "create_app", "is_published", "run"]
