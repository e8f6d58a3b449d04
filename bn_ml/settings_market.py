"""Sections for reaching the market: exchange, orders, data, universe, scanner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bn_ml.settings_base import (
    FRACTION,
    SHARE,
    Assets,
    FilePath,
    Instant,
    Section,
    Symbols,
    SymbolText,
    at_least,
    between,
    key,
    more_than,
)

MAJORS = ("BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE")
DEFAULT_BASES = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE")


class OrdersSettings(Section):
    """How entries are sent and how much may be sent."""

    entry_type: Literal["limit_ioc", "market", "limit"] = key("limit_ioc", "order type of an entry")
    entry_slippage_cap_pct: float = key(
        0.001, "how far above the ask an entry limit may be set", between(0, 0.01), FRACTION
    )
    limit_timeout_sec: float = key(30, "a resting entry limit is cancelled after this time", between(5, 600), "seconds")
    max_orders_per_min: int = key(10, "most orders sent in a minute; the code allows no more", between(1, 10), "orders")
    max_notional_per_day_usdt: float = key(1000, "most bought in a UTC day", more_than(0), "quote units")
    stop_replace_min_interval_sec: float = key(
        60, "a resting stop is replaced at most this often", between(10, 3600), "seconds"
    )


class ExchangeSettings(Section):
    """The venue and how it is called."""

    name: Literal["binance"] = key("binance", "the venue")
    testnet: bool | None = key(None, "use the venue's test network; null follows BINANCE_TESTNET")
    enableRateLimit: bool = key(True, "pace requests; false is refused in live")  # noqa: N815 - the users' spelling
    rate_limit_ms: int = key(50, "shortest time between two requests", between(10, 5000), "milliseconds")
    timeout_ms: int = key(10000, "longest wait for an answer", between(1000, 60000), "milliseconds")
    retry_attempts: int = key(3, "repeats of a failed read; orders are never repeated", between(0, 10), "attempts")
    retry_backoff_sec: float = key(
        0.5, "first wait before a read is repeated, doubled each time", between(0.05, 30), "seconds"
    )
    recv_window_ms: int = key(5000, "how old a signed request may be on arrival", between(1000, 60000), "milliseconds")
    base_url: str | None = key(
        None, "another REST address", allowed="null, a loopback address, an official host of the venue"
    )
    ws_url: str | None = key(
        None, "another stream address", allowed="null, a loopback address, an official host of the venue"
    )
    weight_budget_pct: float = key(
        0.7, "share of the venue's request weight this process may use", between(0.1, 0.95), FRACTION
    )
    orders: OrdersSettings = OrdersSettings()


class DataSettings(Section):
    """Where market data comes from and how old it may be."""

    paper_market_data_mode: Literal["live", "synthetic", "replay", "auto"] = key(
        "live", "source of market data in paper; live trading always uses the venue"
    )
    allow_synthetic_fallback: bool = key(False, "paper may go on with generated data when the venue fails")
    replay_dir: FilePath = key(Path("artifacts/history"), "folder of recorded bars to replay")
    replay_from: Instant | None = key(None, "first instant replayed; null is the start of the records")
    replay_to: Instant | None = key(None, "instant the replay ends before; null is the end of the records")
    replay_speed: Literal["max"] | float = key(
        "max", "market seconds per wall second, or as fast as possible", between(1, 10000)
    )
    synthetic_seed: int = key(42, "seed of the generated market", at_least(0))
    synthetic_profile: Literal["random_walk", "garch", "planted"] = key(
        "planted", "what the generated market is made of; only planted holds something to learn"
    )
    synthetic_strength: float = key(
        0.25, "share of return variance the planted pattern explains", between(0, 0.5), FRACTION
    )
    synthetic_speed: float = key(60, "market seconds per wall second of the generated market", between(1, 3600))
    history_dir: FilePath = key(Path("artifacts/history"), "folder of stored bars")
    max_quote_age_entry_sec: float = key(5, "an older quote opens nothing", between(1, 60), "seconds")
    max_quote_age_exit_sec: float = key(15, "an older quote closes nothing on our side", between(1, 120), "seconds")
    max_bar_delay_sec: float = key(
        90, "bars are stale when the newest closed one is later than this", between(10, 900), "seconds"
    )
    max_gap_bars: int = key(3, "most absent bars among the last 96, else HOLD", between(0, 50), "bars")


class DiscoverySettings(Section):
    """Adding symbols of the quote asset by volume and age."""

    enabled: bool = key(False, "add every spot symbol that passes these filters")
    refresh_sec: int = key(900, "the list is renewed this often", between(60, 86400), "seconds")
    min_24h_volume_usdt: float = key(1_000_000, "least 24 h turnover", at_least(0), "quote units")
    min_listing_days: int = key(30, "least age of the listing", between(0, 3650), "days")
    train: bool = key(True, "also train the symbols found")
    exclude_leveraged: bool = key(True, "leave leveraged tokens out")
    exclude_stables: bool = key(True, "leave stable coins out")
    exclude_fiat: bool = key(True, "leave fiat currencies out")


class UniverseSettings(Section):
    """Which symbols are trained and scanned."""

    training_symbols: Symbols = key(
        tuple(f"{base}/USDC" for base in DEFAULT_BASES),
        "symbols trained and scanned",
        allowed="list of symbols such as BTC/<quote>",
    )
    exclude: Symbols = key((), "symbols never scanned", allowed="list of symbols such as BTC/<quote>")
    auto_train_missing: bool = key(True, "train symbols without a bundle in the background")
    auto_train_batch: int = key(5, "most symbols trained in one go", between(1, 50), "symbols")
    train_max_symbols: int = key(120, "most symbols trained in all", between(1, 500), "symbols")
    train_missing_only: bool = key(True, "trainers skip symbols whose bundle is fresh unless told otherwise")
    discovery: DiscoverySettings = DiscoverySettings()


class ScoreWeights(Section):
    """Parts of the composite score; they sum to 1."""

    ml: float = key(0.5, "weight of the model part", between(0, 1), FRACTION)
    technical: float = key(0.3, "weight of the technical part", between(0, 1), FRACTION)
    momentum: float = key(0.2, "weight of the momentum part", between(0, 1), FRACTION)


class SymbolFilter(Section):
    """Limits of one symbol; null keeps the general limit."""

    spread_max_pct: float | None = key(None, "widest spread", between(0, 0.05), FRACTION)
    depth_min_usdt: float | None = key(None, "least depth within 1 % of the middle", at_least(0), "quote units")
    max_correlation: float | None = key(None, "highest correlation with a held symbol", SHARE, FRACTION)


class PairFilterSettings(Section):
    """Limits adapted to the kind of symbol: majors and the rest."""

    enabled: bool = key(True, "use these factors")
    major_bases: Assets = key(MAJORS, "bases that count as majors", allowed="list of asset codes")
    spread_factor_major: float = key(1.1, "multiplies the spread limit of majors", between(0.1, 10))
    spread_factor_alt: float = key(0.95, "multiplies the spread limit of all others", between(0.1, 10))
    depth_factor_major: float = key(0.9, "multiplies the depth limit of majors", between(0.1, 10))
    depth_factor_alt: float = key(1.1, "multiplies the depth limit of all others", between(0.1, 10))
    correlation_bonus_major: float = key(0.05, "added to risk.max_correlation for majors", between(0, 1))
    correlation_penalty_alt: float = key(-0.05, "added to risk.max_correlation for all others", between(-1, 0))
    correlation_limit_benchmark: float = key(1.0, "correlation limit of the benchmark itself", SHARE, FRACTION)
    by_symbol: Mapping[SymbolText, SymbolFilter] = key(
        {},
        "limits of single symbols: spread_max_pct, depth_min_usdt, max_correlation",
        allowed="mapping of symbol to limits",
    )


class ScannerSettings(Section):
    """How often the market is scanned and what counts as an opportunity."""

    scan_interval_sec: int = key(300, "time between scans", between(15, 3600), "seconds")
    exit_interval_sec: int = key(5, "open positions are checked this often between scans", between(1, 60), "seconds")
    top_n: int = key(10, "most opportunities handed to risk", between(1, 100), "symbols")
    max_pairs: int = key(150, "most symbols scanned", between(1, 500), "symbols")
    ohlcv_limit: int = key(500, "bars fetched at a time and timeframe", between(300, 1000), "bars")
    min_score: float = key(6.0, "least composite score of an entry", between(0, 10), "points")
    min_confidence: float = key(0.42, "least calibrated probability of an entry", between(0, 1), FRACTION)
    spread_max_pct: float = key(0.0015, "widest spread of an entry", between(0, 0.05), FRACTION)
    depth_min_usdt: float = key(50000, "least depth within 1 % of the middle", at_least(0), "quote units")
    workers: int = key(2, "threads that fetch", between(1, 16), "threads")
    weights: ScoreWeights = ScoreWeights()
    dynamic_pair_filters: PairFilterSettings = PairFilterSettings()
