"""Which stream belongs to the REST address in use, so that prices of one market never meet orders of another."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlparse

from bn_ml.errors import ConfigError
from bn_ml.settings import ExchangeSettings
from bn_ml.settings_rules import LOOPBACK_HOSTS

_MARKET, _TESTNET, _DEMO, _LOCAL = "the market", "the test network", "the demo network", "a local exchange"
_REST_HOSTS: Mapping[str, str] = {"testnet.binance.vision": _TESTNET, "demo-api.binance.com": _DEMO}
_STREAM_HOSTS: Mapping[str, str] = {
    "stream.binance.com": _MARKET,
    "data-stream.binance.vision": _MARKET,
    "stream.testnet.binance.vision": _TESTNET,
    "demo-stream.binance.com": _DEMO,
}
_STREAMS: Mapping[str, str] = {
    _MARKET: "wss://stream.binance.com:9443",
    _TESTNET: "wss://stream.testnet.binance.vision",
    _DEMO: "wss://demo-stream.binance.com",
}


def stream_url(exchange: ExchangeSettings) -> str | None:
    """Give the address of the combined stream, None for a local exchange without `ws_url`.

    Raises `ConfigError` when `ws_url` is not a stream or not of the market the REST address leads to.
    """
    market = _market_of(exchange)
    if exchange.ws_url is None:
        return f"{_STREAMS[market]}/stream" if market in _STREAMS else None
    host = urlparse(exchange.ws_url).hostname or ""
    streamed = _LOCAL if host in LOOPBACK_HOSTS else _STREAM_HOSTS.get(host, "no stream of prices")
    if streamed != market:
        raise ConfigError(
            [
                f"exchange.ws_url: {exchange.ws_url!r} leads to {streamed}, but exchange.base_url and "
                f"exchange.testnet to {market}; write the stream of the same market, or null"
            ]
        )
    root = exchange.ws_url.rstrip("/").removesuffix("/stream").removesuffix("/ws")
    return f"{root}/stream"


def _market_of(exchange: ExchangeSettings) -> str:
    if exchange.base_url is None:
        return _TESTNET if exchange.testnet else _MARKET
    host = urlparse(exchange.base_url).hostname or ""
    return _LOCAL if host in LOOPBACK_HOSTS else _REST_HOSTS.get(host, _MARKET)
