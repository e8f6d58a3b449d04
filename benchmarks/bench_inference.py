"""The ensemble: one row against the libraries, cold loads of bundles, and the memory a process holds with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.bench_base import Result, cpu_seconds, faster, say, smaller, task
from benchmarks.bench_bundles import Ensemble
from benchmarks.bench_market import symbols

LOADED, HELD = 50, 150
LOADS = 3
AGREES = 1e-6


def one_row(ensemble: Ensemble) -> list[Result]:
    """P4: one row at a time, and the largest difference over 256 rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        row = ensemble.rows[-1:]
        theirs = cpu_seconds(lambda: ensemble.library.probabilities(row), runs=9, loops=3)
        ours = cpu_seconds(lambda: ensemble.compact.probabilities(row), runs=15, loops=10)
        sample = ensemble.rows[:: len(ensemble.rows) // 256]
        gap = float(np.abs(ensemble.compact.probabilities(sample) - ensemble.library.probabilities(sample)).max())
    note = "RF 300 x depth 8, XGB 500 x 3 x depth 3, LGB 400 x 3 x 8 leaves; mixture and calibration on both sides"
    return [
        faster("P4_inference_one_row", ours * 1e3, theirs * 1e3, bar=20.0, runs=9, unit="ms CPU", note=note),
        Result("P4_inference_difference", gap, AGREES, gap / AGREES, AGREES, "ours <=", "probability", 1),
    ]


def many_bundles(ensemble: Ensemble, folder: Path) -> list[Result]:
    """P5 and P6: cold loads in fresh processes, then as many bundles held as a scan of 150 symbols needs."""
    models = folder / "models"
    say(f"saving {LOADED} bundles")
    ensemble.save(models, symbols(LOADED))
    ours = [task("load-ours", str(models), str(LOADED)) for _ in range(5)]
    native = [task("load-native", str(models), str(LOADED)) for _ in range(LOADS)]
    held = task("load-ours", str(models), str(HELD))
    native_held = task("load-native", str(models), str(HELD))
    size = sum(file.stat().st_size for file in models.rglob("*.joblib")) / LOADED / 1e6
    core = sum((models / symbols(1)[0].key / name).stat().st_size for name in ("ensemble.bin", "vectors.npz")) / 1e6
    note = (
        f"{LOADED} bundles of {size:.1f} MB joblib, {core:.1f} MB core; signature, every hash and the test vectors "
        "are checked in ours; imports in neither"
    )
    rss = f"{HELD} bundles held ({LOADED} on disk, read three times); imports in both"
    mb = [held["rss_mb"], native_held["rss_mb"]]
    cpu = [median(run["cpu_s"] for run in runs) for runs in (ours, native)]
    return [
        faster("P5_cold_load_50_bundles", cpu[0], cpu[1], bar=20.0, runs=LOADS, unit="s CPU", note=note),
        smaller("P6_rss_150_bundles", mb[0], mb[1], bar=0.25, runs=1, unit="MB", note=rss),
    ]
