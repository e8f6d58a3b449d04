"""A small stored market with bundles that trade on it, and the settings to replay it through the bot's own wiring."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import RandomForestClassifier

from bn_ml.domain.market import Symbol, from_ms, iso
from bn_ml.settings import Settings
from data_manager.bars import Bars, FloatArray
from data_manager.feature_columns import BASE_TIMEFRAME
from data_manager.feature_engineer import FeatureEngineer
from data_manager.history import HistoryStore
from ml_engine.bundle import OUTLIER_CENTRE, OUTLIER_MEDIAN, OUTLIER_PRECISION, OUTLIER_SCALE, ModelBundle, TestVectors
from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.bundle_store import BundleStore
from ml_engine.inference import CompactEnsemble, LinearMap
from scripts.wiring import Extras, open_bot
from scripts.worlds import open_world
from tests.fakes.bundle_builders import metadata_fields
from tests.fakes.feature_market import MONDAY_MS, STEP_MS, walk

BENCHMARK = Symbol("BTC/USDC")
NAMES = (BENCHMARK, Symbol("AAA/USDC"), Symbol("BBB/USDC"))
WARM, REPLAYED = 1010, 150
COLUMNS = 12
WEIGHTS = {"rf": 0.4, "xgb": 0.3, "lgb": 0.3}


def market_bars() -> tuple[Bars, ...]:
    """The stored market: liquid walks, prices with four decimals."""
    return tuple(_traded(str(name), seed) for seed, name in enumerate(NAMES))


@dataclass(frozen=True)
class Lean:
    """An ensemble that follows a few of the product's own columns, and the rows it was fitted on."""

    ensemble: CompactEnsemble
    columns: tuple[str, ...]
    rows: FloatArray


def fitted_on(bars: Bars) -> Lean:
    """Fit a lean ensemble on a symbol's bars before the replay."""
    frame = FeatureEngineer().build({BASE_TIMEFRAME: bars})
    known = frame.values[400:WARM]
    usable = np.isfinite(known).all(axis=0) & (known.std(axis=0) > 0)
    places = np.flatnonzero(usable)[:: max(1, int(usable.sum()) // COLUMNS)][:COLUMNS]
    rows = np.ascontiguousarray(known[:, places])
    lean = rows[:, 0] / rows[:, 0].std() + rows[:, 1] / rows[:, 1].std()
    classes = np.digitize(lean, np.quantile(lean, [0.33, 0.66]))
    members = {
        "rf": RandomForestClassifier(10, max_depth=4, random_state=1, n_jobs=1).fit(rows, classes),
        "xgb": xgboost.XGBClassifier(
            n_estimators=6, max_depth=3, objective="multi:softprob", n_jobs=1, random_state=1
        ).fit(rows, classes),
        "lgb": lightgbm.LGBMClassifier(n_estimators=6, num_leaves=6, n_jobs=1, random_state=1, verbose=-1).fit(
            rows, classes
        ),
    }
    ensemble = CompactEnsemble.from_members(
        members,
        temperatures={"rf": 1.0, "xgb": 1.0, "lgb": 1.0},
        weights=WEIGHTS,
        final_map=LinearMap.of(np.eye(3).tolist(), [0.0, 0.0, 0.0]),
    )
    return Lean(ensemble, tuple(frame.columns[place] for place in places), rows)


def save_bundles(models: Path, lean: Lean, names: Sequence[Symbol]) -> None:
    """Save a signed bundle for every symbol, in force before the replay begins."""
    ensemble, columns, rows = lean.ensemble, lean.columns, lean.rows
    feature_hash = FeatureEngineer().feature_hash
    store = BundleStore(models, feature_hash=feature_hash)
    raw = ensemble.member_probabilities(rows[:64])
    reference = {
        OUTLIER_MEDIAN: np.median(rows, axis=0),
        OUTLIER_CENTRE: np.zeros(len(columns)),
        OUTLIER_SCALE: rows.std(axis=0),
        OUTLIER_PRECISION: np.eye(len(columns)),
    }
    trained_at = from_ms(MONDAY_MS + (WARM - 8) * STEP_MS)
    for symbol in names:
        fields = metadata_fields(
            symbol=str(symbol),
            model_key=symbol.key,
            trained_at=trained_at,
            valid_from=trained_at,
            label_end=trained_at - timedelta(hours=1),
            data_span={"start": from_ms(MONDAY_MS), "end": trained_at, "rows": len(rows), "source": "walk"},
            feature_columns=columns,
            optional_columns=(),
            feature_hash=feature_hash,
            ensemble_weights=WEIGHTS,
        )
        metadata = BundleMetadata.model_validate(fields)
        store.save(ModelBundle(metadata, ensemble, TestVectors(rows[:64], raw, ensemble.combine(raw)), reference), {})


def store_market(folder: Path, markets: Sequence[Bars], lean: Lean) -> None:
    """Write bars and bundles into a folder."""
    store = HistoryStore(folder / "history")
    for bars in markets:
        store.write(bars)
    save_bundles(folder / "models", lean, [bars.symbol for bars in markets])


def trading_settings(world: Path, book: Path, names: Sequence[Symbol] = NAMES) -> Settings:
    """Settings that replay the market stored in `world` into the book `book`, loosened so that it is traded often."""
    return Settings.from_mapping(
        {
            "base_quote": "USDC",
            "universe": {"training_symbols": [str(name) for name in names], "auto_train_missing": False},
            "data": {
                "paper_market_data_mode": "replay",
                "replay_dir": str(world / "history"),
                "history_dir": str(world / "history"),
                "replay_from": iso(from_ms(MONDAY_MS + WARM * STEP_MS)),
                "replay_to": iso(from_ms(MONDAY_MS + (WARM + REPLAYED) * STEP_MS)),
            },
            "model": {
                "models_dir": str(world / "models"),
                "ensemble": {
                    "skill_gate": False,
                    "ev_gate": False,
                    "outlier_gate": False,
                    "min_buy_proba": 0.36,
                    "min_sell_proba": 0.36,
                    "min_margin": 0.0,
                    "hold_bias": 0.0,
                },
            },
            "scanner": {"min_score": 0.0, "min_confidence": 0.0},
            "risk": {
                "exit_mode": "atr",
                "max_holding_period": 6,
                "symbol_cooldown_min": 0,
                "min_net_profit_pct": 0,
                "max_loss_per_day": 0.2,
                "max_loss_per_week": 0.2,
                "max_daily_risk_pct": 0.5,
                "max_weekly_risk_pct": 1.0,
                "circuit_breakers": {"max_consecutive_losses": 20, "volatility_spike_ratio": 20},
            },
            "storage": {"sqlite_path": str(book), "min_free_disk_mb": 0},
            "monitoring": {"logs_dir": str(book.parent / "logs"), "metrics_dir": str(book.parent / "metrics")},
        }
    )


def run_replay(settings: Settings, *, until_ms: int | None = None) -> None:
    """Run the bot as its command does, to the end of the replay or to the first bar boundary at or after `until_ms`."""
    world = open_world(settings, "replay", threading.Event())
    assert world.ends_at is not None
    ends_at = world.ends_at if until_ms is None else from_ms(until_ms)
    bot = open_bot(settings, world, Extras())
    try:
        bot.store.session.execute("PRAGMA synchronous = OFF")
        bot.engine.run(lambda: world.clock.now() >= ends_at)
    finally:
        bot.close()


def _traded(name: str, seed: int) -> Bars:
    bars = walk(name, bars=WARM + REPLAYED + 1, seed=seed + 11)
    names = ("open", "high", "low", "close")
    rounded = {column: np.round(getattr(bars, column), 4) for column in names}
    return replace(bars, **rounded, volume=np.round(bars.volume * 1e4, 3))
