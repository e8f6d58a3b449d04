"""The whole engine over recorded bars, in a process of its own, through the wiring of the bot."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from statistics import median

import yaml

from benchmarks.bench_base import ROOT, Result, say, task
from benchmarks.bench_bundles import Ensemble
from benchmarks.bench_market import BENCHMARK, store_walks, symbols, walk
from benchmarks.reference_replay import naive_replay
from bn_ml.domain.market import Symbol

BASES = "BTC ETH SOL XRP ADA DOGE LINK LTC AAVE ALGO ATOM AVAX AXS BCH DOT EOS ETC FIL FTM MANA"
RECORDED = tuple(Symbol(f"{base}/USDT") for base in BASES.split())
SPANS = {"short": ("2023-06-05", "2023-06-12", 672), "long": ("2023-06-05", "2023-06-19", 1344)}
RUNS = 3
REFERENCE_BARS = 300
WALK_BARS = 18_000
PEER_BAR, ABSOLUTE_BAR, GROWTH_BAR = 10.0, 150_000.0, 2.1


def measure(ensemble: Ensemble, folder: Path) -> list[Result]:
    """P9 with predictions, growth with the length of the replay, and memory."""
    history, names = _bars(folder)
    say(f"replaying {len(names)} symbols of {history.name}")
    models = folder / "replay_models"
    ensemble.save(models, names)
    short = [_replay(folder, history, names, "short", run) for run in range(RUNS)]
    long = _replay(folder, history, names, "long", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        spent, _ = naive_replay(
            walk(BENCHMARK, REFERENCE_BARS, seed=4), ensemble.rows[:REFERENCE_BARS], ensemble.library
        )
    naive = REFERENCE_BARS / spent
    cpu = median(run["cpu_s"] for run in short)
    bars = SPANS["short"][2] * len(names)
    rate = bars / cpu
    note = (
        f"{len(names)} symbols x {SPANS['short'][2]} bars, features and single predictions included, "
        f"{short[0]['orders']:.0f} orders, books as a backtest writes them; start-up {short[0]['open_s']:.1f} s apart"
    )
    slow = "reference: rows of pandas, the libraries asked at every bar, features given"
    return [
        Result("P9_replay_vs_naive_loop", rate, naive, rate / naive, PEER_BAR, "ratio >=", "symbol-bars/s", RUNS, slow),
        Result("P9_replay_bars_per_s", rate, naive, rate / naive, ABSOLUTE_BAR, "ours >=", "symbol-bars/s", RUNS, note),
        Result(
            "P18_growth_replay_twice_the_bars", long["cpu_s"], cpu, long["cpu_s"] / cpu, GROWTH_BAR, "ratio <=",
            "s CPU", 1, f"{SPANS['long'][2]} against {SPANS['short'][2]} bars a symbol",
        ),
        Result(
            "replay_peak_memory", long["peak_mb"], short[0]["peak_mb"], long["peak_mb"] / short[0]["peak_mb"], None,
            "shown", "MB", 1, "the long replay against the short one",
        ),
    ]  # fmt: skip


def _bars(folder: Path) -> tuple[Path, tuple[Symbol, ...]]:
    """Give a folder of recorded bars and its symbols; walks where no record is found."""
    recorded = Path(os.environ.get("BNML_TEST_DATA", ROOT.parent / "shared" / "data")) / "spot_2022_2023"
    if recorded.is_dir():
        return recorded, RECORDED
    names = symbols(len(RECORDED))
    store_walks(folder / "walks", names, WALK_BARS)
    return folder / "walks", names


def _replay(folder: Path, history: Path, names: tuple[Symbol, ...], span: str, run: int) -> dict[str, float]:
    begin, end, _ = SPANS[span]
    benchmark = str(names[0])
    settings = {
        "base_quote": names[0].quote,
        "log_level": "ERROR",
        "universe": {"training_symbols": [str(name) for name in names], "auto_train_missing": False},
        "data": {
            "paper_market_data_mode": "replay",
            "replay_dir": str(history),
            "history_dir": str(history),
            "replay_from": f"{begin}T00:00:00Z",
            "replay_to": f"{end}T00:00:00Z",
        },
        "model": {
            "models_dir": str(folder / "replay_models"),
            "max_bundle_age_hours": 8760,
            "drift": {"benchmark_symbol": benchmark},
            "ensemble": {
                "skill_gate": False, "ev_gate": False, "outlier_gate": False,
            },
        },
        "scanner": {"min_score": 0.0, "min_confidence": 0.0},
        "risk": {"circuit_breakers": {"volatility_benchmark_symbol": benchmark}},
        "storage": {"sqlite_path": str(folder / f"{span}{run}.db")},
        "monitoring": {"logs_dir": str(folder / "logs"), "metrics_dir": str(folder / "metrics")},
    }  # fmt: skip
    path = folder / f"{span}{run}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return task("replay", str(path))
