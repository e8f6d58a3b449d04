"""One run of the sandbox: market, account, ports, the words that tell how to use it, and an orderly end."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bn_ml.clock import SimulatedClock, SystemClock
from bn_ml.config import load_settings
from bn_ml.domain.market import from_iso, from_ms, iso, to_ms
from bn_ml.env import load_env
from bn_ml.errors import ConfigError, MarketDataError
from bn_ml.settings import Settings
from bn_ml.venue.account import FeeRates
from data_manager.open_source import replay_source, synthetic_source
from data_manager.source import DataSource
from public_api.sandbox.faults import open_profile
from public_api.sandbox.market_feed import MarketFeed
from public_api.sandbox.server import Addresses, SandboxServer
from public_api.sandbox.world import World, WorldOptions
from scripts import cli

DISTANT = from_ms(4_102_444_800_000)
_REPLAY = "replay:"
_DEFAULT_BALANCE = "1000"


def run_session(arguments: argparse.Namespace) -> int:
    """Serve as the arguments say until SIGTERM or SIGINT; gives the exit code."""
    logging.basicConfig(level=arguments.log_level or "WARNING", format="%(asctime)s %(levelname)s %(message)s")
    addresses = Addresses(arguments.host, arguments.port, arguments.control_port)
    settings = _settings(arguments)
    source = _source(arguments, settings)
    feed = MarketFeed(source, arguments.seed, arguments.quote)
    world = World(feed, _options(arguments, settings, feed), SystemClock())
    server = SandboxServer(world, addresses, SystemClock())
    return asyncio.run(_serve(server, as_json=arguments.json))


async def _serve(server: SandboxServer, *, as_json: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await server.start()
        print(_as_json(server) if as_json else _as_text(server), flush=True)
        await server.wait(stop)
    finally:
        await server.stop()
    return cli.DONE


def _settings(arguments: argparse.Namespace) -> Settings:
    overrides: dict[str, object] = {"data.synthetic_seed": arguments.seed}
    if arguments.source.startswith(_REPLAY):
        overrides["data.replay_dir"] = arguments.source.removeprefix(_REPLAY)
    return load_settings(arguments.config, environ=load_env(Path.cwd()), overrides=overrides).settings


def _source(arguments: argparse.Namespace, settings: Settings) -> DataSource:
    """Open the prices behind a clock that stands far ahead, so that running bars can be walked to their known end."""
    ahead = SimulatedClock(DISTANT)
    if arguments.source == "synthetic":
        return synthetic_source(settings, ahead)
    if arguments.source.startswith(_REPLAY):
        if not Path(settings.data.replay_dir).is_dir():
            raise MarketDataError(f"--source: no folder {settings.data.replay_dir}")
        return replay_source(settings, ahead)
    raise ConfigError([f"--source: must be synthetic or replay:PATH, got {arguments.source!r}"])


def _options(arguments: argparse.Namespace, settings: Settings, feed: MarketFeed) -> WorldOptions:
    if not 0 < arguments.speed <= 3600:
        raise ConfigError([f"--speed: must be more than 0 and at most 3600, got {arguments.speed}"])
    start_ms = feed.begin_ms if arguments.source != "synthetic" else to_ms(SystemClock().now())
    quote = arguments.quote or _usual_quote(settings, feed)
    return WorldOptions(
        start_ms=start_ms if arguments.since is None else _instant("--from", arguments.since),
        follows_wall=arguments.source == "synthetic" and arguments.since is None,
        end_ms=None if arguments.until is None else _instant("--to", arguments.until),
        speed=arguments.speed,
        seed=arguments.seed,
        balances=_balances(arguments.balance or [f"{quote}={_DEFAULT_BALANCE}"]),
        state_file=None if arguments.state is None else Path(arguments.state),
        fees=FeeRates(pay_with_discount_asset=arguments.bnb_fees),
        profile=open_profile(arguments.fault_profile),
    )


def _usual_quote(settings: Settings, feed: MarketFeed) -> str:
    quotes = sorted({symbol.quote for symbol in feed.rules})
    return settings.base_quote if settings.base_quote in quotes or not quotes else quotes[0]


def _instant(flag: str, text: str) -> int:
    try:
        return to_ms(from_iso(text))
    except ValueError as error:
        raise ConfigError([f"{flag}: {text!r} is no ISO 8601 instant such as 2022-11-07T00:00:00Z"]) from error


def _balances(texts: list[str]) -> Mapping[str, Decimal]:
    found: dict[str, Decimal] = {}
    for text in texts:
        asset, _, amount = text.partition("=")
        try:
            found[asset.upper()] = Decimal(amount)
        except InvalidOperation as error:
            raise ConfigError([f"--balance: must look like USDC=1000, got {text!r}"]) from error
        if not (asset.isalnum() and found[asset.upper()].is_finite() and found[asset.upper()] > 0):
            raise ConfigError([f"--balance: must look like USDC=1000, got {text!r}"])
    return found


def _as_json(server: SandboxServer) -> str:
    keys = server.world.keys
    return json.dumps(
        {
            "host": server.addresses.host,
            "port": server.port,
            "control_port": server.control_port,
            "base_url": _url(server, "http", server.port),
            "ws_url": _url(server, "ws", server.port),
            "control_url": _url(server, "http", server.control_port),
            "api_key": keys.api_key,
            "api_secret": keys.secret,
            "ed25519_api_key": keys.ed25519_key,
            "ed25519_private_key": keys.ed25519_private,
            "market_time": iso(from_ms(server.world.clock.now_ms())),
            "symbols": sorted(server.world.feed.rules),
        }
    )


def _as_text(server: SandboxServer) -> str:
    keys = server.world.keys
    return f"""\
SANDBOX EXCHANGE: no real market, no real money. Stop it with Ctrl-C.
market time {iso(from_ms(server.world.clock.now_ms()))}, speed {server.world.clock.speed:g}, \
{len(server.world.feed.rules)} symbols, prices: {server.world.feed.name}

# in the configuration of the bot
exchange:
  base_url: {_url(server, "http", server.port)}
  ws_url: {_url(server, "ws", server.port)}

# in its environment
BINANCE_API_KEY={keys.api_key}
BINANCE_API_SECRET={keys.secret}

control route: {_url(server, "http", server.control_port)}"""


def _url(server: SandboxServer, scheme: str, port: int) -> str:
    host = server.addresses.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
