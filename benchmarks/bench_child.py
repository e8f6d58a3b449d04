"""Tasks that need a process of their own; each prints one JSON line of figures last."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from benchmarks.bench_base import memory_mb

Figures = dict[str, float]


def load_ours(models: str, count: str) -> Figures:
    """Load bundles the way the trading process does, through store and predictor, and hold them."""
    from bn_ml.domain.market import from_iso
    from bn_ml.settings import Settings
    from ml_engine.bundle_store import BundleStore
    from ml_engine.predictor import MLEnsemblePredictor

    import_module("scripts.wiring")
    settings, now = Settings(), from_iso("2023-02-15")
    stores = [BundleStore(models) for _ in range(_rounds(models, count))]
    held: list[object] = []
    started = time.process_time()
    for store in stores:
        predictor = MLEnsemblePredictor(settings.model, store)
        held += [predictor, *(predictor.bundle_at(symbol, now) for symbol in store.symbols())]
    return {"cpu_s": time.process_time() - started, "rss_mb": memory_mb("VmRSS"), "held": len(held) - len(stores)}


def load_native(models: str, count: str) -> Figures:
    """Load the members' joblib files and hold the objects."""
    import joblib

    for library in ("lightgbm", "sklearn.ensemble", "xgboost"):
        import_module(library)
    folders = [folder for folder in sorted(Path(models).iterdir()) if (folder / "rf.joblib").is_file()]
    held = []
    started = time.process_time()
    for folder in folders * _rounds(models, count):
        held.append([joblib.load(folder / f"{name}.joblib") for name in ("rf", "xgb", "lgb")])
    return {
        "cpu_s": time.process_time() - started,
        "rss_mb": memory_mb("VmRSS"),
        "held": len(held),
    }


def replay(config: str) -> Figures:
    """Run a replay of the bot to its end; the start-up is measured apart."""
    import threading

    from bn_ml.config import load_settings
    from scripts.wiring import Extras, open_bot
    from scripts.worlds import open_world

    settings = load_settings(Path(config)).settings
    started = time.process_time()
    world = open_world(settings, "replay", threading.Event())
    bot = open_bot(settings, world, Extras())
    # As a backtest does.
    bot.store.session.execute("PRAGMA synchronous = OFF")
    opened = time.process_time()

    def done() -> bool:
        return world.ends_at is not None and world.clock.now() >= world.ends_at

    bot.engine.run(done)
    finished = time.process_time()
    orders = len(bot.store.recent_intents(1_000_000))
    bot.close()
    return {"cpu_s": finished - opened, "open_s": opened - started, "orders": orders, "peak_mb": memory_mb("VmHWM")}


def _rounds(models: str, count: str) -> int:
    return round(int(count) / sum((folder / "rf.joblib").is_file() for folder in Path(models).iterdir()))


TASKS: Mapping[str, Callable[..., Figures]] = {"load-ours": load_ours, "load-native": load_native, "replay": replay}


if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
