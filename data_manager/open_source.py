"""Which market data the bot runs on, chosen once at start."""

from __future__ import annotations

from bn_ml.domain.market import Symbol
from bn_ml.errors import BnMlError, ConfigError, MarketDataError
from bn_ml.patience import Patience
from bn_ml.ports import Clock
from bn_ml.settings import Settings
from bn_ml.weight import WeightMeter
from data_manager.source import DataSource
from data_manager.sources.synthetic import SyntheticSource
from data_manager.sources.synthetic_paths import World
from data_manager.sources.synthetic_world import Profile

MODES = ("live", "synthetic", "replay", "auto")


def open_source(settings: Settings, clock: Clock, mode: str) -> DataSource:
    """Open the source of a mode: live, synthetic, replay or auto.

    `auto` is live if the exchange answers at this moment, else synthetic; its `notice` then says so loudly. `live` in
    paper gives the source `synthetic_fallback` when the exchange does not answer and the settings allow that. Raises
    `MarketDataError` when there is nothing to replay or the exchange does not answer, `ConfigError` on another mode.
    """
    match mode:
        case "synthetic":
            return synthetic_source(settings, clock)
        case "replay":
            return replay_source(settings, clock)
        case "live":
            return _live_or_fallback(settings, clock)
        case "auto":
            return _auto(settings, clock)
    raise ConfigError([f"data.paper_market_data_mode: must be one of {', '.join(MODES)}, got {mode!r}"])


def synthetic_source(settings: Settings, clock: Clock, *, name: str = "synthetic") -> SyntheticSource:
    """Open the generated market of the configured symbols and benchmarks."""
    data = settings.data
    world = World(Profile(data.synthetic_profile), data.synthetic_seed, strength=data.synthetic_strength)
    return SyntheticSource(clock, needed_symbols(settings), world, name=name)


def replay_source(settings: Settings, clock: Clock) -> DataSource:
    """Open the stored bars of `data.replay_dir`."""
    # Parquet costs time and memory: only a replay loads it.
    from data_manager.sources.replay import ReplaySource

    source = ReplaySource(settings.data.replay_dir, clock)
    if not source.markets():
        raise MarketDataError(f"no bars to replay in {settings.data.replay_dir}: use `bnml-data import` or `download`")
    return source


def live_source(settings: Settings, clock: Clock) -> DataSource:
    """Open the exchange's public data; raises `ExchangeError` unless it answers now."""
    # ccxt costs half a second and 60 MB: only those who use it load it.
    from data_manager.sources.binance import BinanceSource

    return BinanceSource.connect(settings.exchange, clock)


def account_source(settings: Settings, clock: Clock, weight: WeightMeter, patience: Patience) -> DataSource:
    """Give the public data of an exchange that has just told its time, which `clock` shows; nothing is sent yet.

    `weight` is the request weight shared with whatever else this process sends, `patience` that of its start.
    """
    from data_manager.sources.binance import CONCURRENCY_BESIDE_ORDERS, BinanceSource

    return BinanceSource(
        settings.exchange, clock, weight=weight, patience=patience, concurrency=CONCURRENCY_BESIDE_ORDERS
    )


def needed_symbols(settings: Settings) -> tuple[Symbol, ...]:
    """Give the configured symbols and benchmarks, each once."""
    benchmarks = (
        settings.model.drift.benchmark_symbol,
        settings.santrade_intelligence.benchmark_symbol,
        settings.risk.circuit_breakers.volatility_benchmark_symbol,
    )
    return tuple(dict.fromkeys(Symbol(name) for name in (*settings.universe.training_symbols, *benchmarks)))


def _live_or_fallback(settings: Settings, clock: Clock) -> DataSource:
    try:
        return live_source(settings, clock)
    except BnMlError as error:
        if settings.environment != "paper" or not settings.data.allow_synthetic_fallback:
            raise
        return _with_reason(synthetic_source(settings, clock, name="synthetic_fallback"), error)


def _auto(settings: Settings, clock: Clock) -> DataSource:
    try:
        return live_source(settings, clock)
    except BnMlError as error:
        return _with_reason(synthetic_source(settings, clock), error)


def _with_reason(source: SyntheticSource, error: BnMlError) -> SyntheticSource:
    source.notice = f"{source.notice} The exchange did not answer at start: {error}"
    return source
