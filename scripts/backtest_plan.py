"""What a backtest is going to do: settings, span, symbols, what is left out and why, and when models are trained."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bn_ml.config import load_settings, settings_hash
from bn_ml.domain.market import Symbol, from_iso, from_ms, iso, to_ms
from bn_ml.errors import ConfigError, MarketDataError
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.history import HistoryStore, content_hash
from evidence.run_card import BOOK_FILE, LeftOut
from ml_engine.training_data import window_start_ms
from scripts.backtest_bars import BASE, placed, read_bars
from scripts.market_basket import basket

DEFAULT_DAYS = 90
MODELS = "models"
HERE = (
    "model.models_dir",
    "storage.sqlite_path",
    "storage.backup.base_dir",
    "monitoring.logs_dir",
    "monitoring.metrics_dir",
    "santrade_intelligence.state_path",
    "data.replay_dir",
    "data.history_dir",
)
"""Keys that say where things lie on this machine: they are no part of what a run is."""


@dataclass(frozen=True, slots=True)
class BacktestPlan:
    """One backtest.

    `bars` holds the stored base bars of every symbol that takes part. `left_out` names those that do not, or not from
    the beginning. `searches` is whether trainings search for parameters.
    """

    settings: Settings
    folder: Path
    begin: datetime
    end: datetime
    bars: Mapping[Symbol, Bars]
    left_out: tuple[LeftOut, ...]
    walk_forward: bool
    searches: bool
    seed: int
    config_sha256: str
    data_sha256: str

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """Those that are traded, in configured order."""
        wanted = dict.fromkeys(map(Symbol, self.settings.universe.training_symbols))
        return tuple(symbol for symbol in wanted if symbol in self.bars)

    @property
    def trainings(self) -> tuple[datetime, ...]:
        """When models are trained: at the start, then whenever bundles have reached the age they are renewed at."""
        if not self.walk_forward:
            return ()
        step = timedelta(hours=self.settings.model.retraining.max_model_age_hours)
        count = -(-(self.end - self.begin) // step)
        return tuple(self.begin + number * step for number in range(count))

    @property
    def fingerprint(self) -> str:
        """What tells a run that may be resumed from another one."""
        parts = (self.config_sha256, self.data_sha256, iso(self.begin), iso(self.end), str(self.walk_forward))
        return hashlib.sha256("|".join((*parts, str(self.searches), str(self.seed))).encode()).hexdigest()


def make_plan(arguments: argparse.Namespace) -> BacktestPlan:
    """Lay the flags over the configuration and look at what is stored.

    Raises `ConfigError` naming the flag, its value and what is allowed; `MarketDataError` when nothing is stored.
    """
    settings = load_settings(arguments.config, overrides=_flags(arguments)).settings
    root = Path(arguments.data_dir or settings.data.replay_dir)
    store = HistoryStore(root)
    if not store.symbols():
        raise MarketDataError(f"no bars in {root}: use `bnml-data import` or `download`, or give --data-dir")
    wanted = tuple(dict.fromkeys((*map(Symbol, settings.universe.training_symbols), *basket(settings))))
    begin, end = _span(arguments, settings, store, wanted)
    folder = Path(arguments.out_dir or f"artifacts/backtests/{begin:%Y%m%d}_{end:%Y%m%d}")
    stored = read_bars(store, wanted, begin, end)
    used, left_out = stored.bars, tuple(stored.left_out)
    if not any(Symbol(name) in used for name in settings.universe.training_symbols):
        told = "; ".join(f"{item.symbol}: {item.reason}" for item in left_out)
        raise MarketDataError(f"no symbol has bars from {iso(begin)} to {iso(end)} in {root} ({told})")
    traded = [name for name in dict.fromkeys(settings.universe.training_symbols) if Symbol(name) in used]
    data = _data(placed(store, stored, folder), traded, begin, end)
    here = _placed(arguments, settings, folder, {**_flags(arguments), **data})
    first_ms = window_start_ms(here.model, to_ms(begin))
    return BacktestPlan(
        settings=here,
        folder=folder,
        begin=begin,
        end=end,
        bars=used,
        left_out=left_out,
        walk_forward=arguments.walk_forward,
        searches=arguments.walk_forward and here.model.hpo.enabled and not arguments.no_hpo,
        seed=here.model.random_state if arguments.seed is None else arguments.seed,
        config_sha256=_config_hash(here),
        data_sha256=_data_hash(used, first_ms, to_ms(end)),
    )


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    given = {
        "environment": "paper",
        "data.paper_market_data_mode": "replay",
        "universe.training_symbols": arguments.symbol,
        "risk.fees_pct": arguments.fee,
        "risk.slippage_pct": arguments.slippage,
        "model.random_state": arguments.seed,
    }
    return {key: value for key, value in given.items() if value is not None}


def _data(root: Path, traded: Sequence[str], begin: datetime, end: datetime) -> dict[str, object]:
    return {
        "data.replay_dir": str(root),
        "data.replay_from": iso(begin),
        "data.replay_to": iso(end),
        "universe.training_symbols": list(traded),
    }


def _placed(arguments: argparse.Namespace, settings: Settings, folder: Path, chosen: Mapping[str, object]) -> Settings:
    """Give the settings of the run: its own book and models, the paper account with the backtest's capital."""
    models = folder / MODELS if arguments.walk_forward else Path(settings.model.models_dir)
    own = {
        "model.models_dir": str(models),
        "risk.capital_total": arguments.capital or settings.backtest.initial_capital,
        "storage.sqlite_path": str(folder / BOOK_FILE),
        "storage.backup.base_dir": str(folder / "backups"),
        "storage.min_free_disk_mb": 0,
        "santrade_intelligence.state_path": str(folder / "santrade_intelligence.joblib"),
        "monitoring.logs_dir": str(folder / "logs"),
        "monitoring.metrics_dir": str(folder / "metrics"),
    }
    return load_settings(arguments.config, overrides={**chosen, **own}).settings


def _span(
    arguments: argparse.Namespace, settings: Settings, store: HistoryStore, wanted: Sequence[Symbol]
) -> tuple[datetime, datetime]:
    """Give the span asked for, no longer than `backtest.ohlcv_limit` bars.

    Raises `ConfigError` where it is no span of the stored bars.
    """
    series = [store.describe(symbol, BASE) for symbol in wanted if store.has(symbol, BASE)]
    series = [item for item in series if item.rows]
    if not series:
        raise MarketDataError(f"none of the configured symbols has {BASE.value} bars in {store.root}")
    first = from_ms(min(item.first_ms for item in series))
    last = from_ms(max(item.last_ms for item in series) + BASE.ms)
    end = _instant("--to", arguments.end) or last
    length = timedelta(days=arguments.days or DEFAULT_DAYS)
    begin = _instant("--from", arguments.begin) or end - length
    if arguments.begin and arguments.days:
        end = min(end, begin + length) if arguments.end is None else end
    problems = []
    if begin >= end:
        problems.append(f"--from {iso(begin)}: must lie before --to {iso(end)}")
    if begin < first or end > last:
        told = f"{iso(begin)} to {iso(end)}"
        problems.append(f"--from/--to: {told} is not stored, {store.root} holds {iso(first)} to {iso(last)}")
    if problems:
        raise ConfigError(problems)
    most = settings.backtest.ohlcv_limit
    return (max(begin, end - most * BASE.length) if most else begin), end


def _instant(flag: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return from_iso(text)
    except ValueError as error:
        raise ConfigError([f"{flag} {text}: give a date such as 2023-01-01 or an instant ending in Z"]) from error


def _config_hash(settings: Settings) -> str:
    """Give the SHA-256 of the effective values without those that only say where things lie."""
    tree = settings.model_copy(deep=True)
    for dotted in HERE:
        *sections, name = dotted.split(".")
        section: object = tree
        for part in sections:
            section = getattr(section, part)
        object.__setattr__(section, name, "")
    return settings_hash(tree)


def _data_hash(bars: Mapping[Symbol, Bars], first_ms: int, end_ms: int) -> str:
    """Give the SHA-256 over what of the bars a run may see."""
    digest = hashlib.sha256()
    for symbol in sorted(bars):
        digest.update(f"{symbol} {content_hash(bars[symbol].between(first_ms, end_ms))}\n".encode())
    return digest.hexdigest()
