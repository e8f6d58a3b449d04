"""Training spread over processes and a real Dask cluster: the same bundles; a worker that dies takes none along."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.errors import ConfigError, Transient
from bn_ml.settings import Settings, TrainingSettings
from ml_engine.training_backends import DIED, Work, spread, versions
from ml_engine.training_data import TrainingMarket
from ml_engine.training_progress import FAILED, TRAINED, Message, SymbolOutcome
from ml_engine.training_session import TrainingJob, run_session
from tests.fakes.feature_market import walk

NAMES = tuple(map(Symbol, ("AAA/USDC", "BBB/USDC", "CCC/USDC")))
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def a_job(folder: Path, **training: str) -> TrainingJob:
    bars = {name: walk(name, bars=5_000, seed=seed) for seed, name in enumerate(NAMES)}
    settings = Settings.from_mapping(
        {
            "model": {
                "models_dir": str(folder),
                "min_train_rows": 500,
                "training_window_days": 45,
                "drift": {"benchmark_symbol": "AAA/USDC"},
                "multi_timeframe": {"timeframes": ["1h"]},
                "training": training,
            }
        }
    )
    end_ms = int(bars[NAMES[0]].close_time[-1])
    market = TrainingMarket(bars, {}, NAMES, NAMES[0], end_ms)
    return TrainingJob(settings, market, True, from_ms(end_ms), "test", signing_key=folder / "own.key")


def contents(folder: Path) -> dict[str, bytes]:
    """What was learned, without what names the run: the compact ensembles."""
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("*/ensemble.bin"))}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("distributed", reason="the dask extra is not installed")
    folder = tmp_path_factory.mktemp("cluster")
    script = folder / "cluster.py"
    script.write_text(CLUSTER)
    root = str(Path(__file__).resolve().parents[2])
    environ = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], cwd=folder, env=environ, text=True, **pipes) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        yield child.stdout.readline().strip()
        child.stdin.close()
        child.wait(30)


def test_processes_and_a_cluster_of_two_give_the_bundles_of_one_process(tmp_path: Path, cluster: str) -> None:
    heard: list[Message] = []
    alone = run_session(a_job(tmp_path / "alone"), NAMES[:2], heard.append, jobs=1)
    spread_out = run_session(a_job(tmp_path / "two"), NAMES[:2], heard.append, jobs=2)
    remote = run_session(a_job(tmp_path / "dask", backend="dask", scheduler=cluster), NAMES[:2], heard.append, jobs=1)
    assert [outcome.result for outcome in (*alone, *spread_out, *remote)] == [TRAINED] * 6
    assert [outcome.symbol for outcome in remote] == list(NAMES[:2])
    expected = contents(tmp_path / "alone")
    assert len(expected) == 2
    assert contents(tmp_path / "two") == expected
    assert contents(tmp_path / "dask") == expected


def _deadly(folder: Path, symbol: Symbol) -> str:
    """Kill the worker at one symbol; the others take their time."""
    if symbol == NAMES[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    clock = SystemClock()
    clock.sleep_until(clock.now() + timedelta(seconds=0.3))
    (folder / symbol.key).write_text("done")
    return "done"


def _died(symbol: Symbol, why: str) -> str:
    return why


def collect(work: Work[Path, str], settings: TrainingSettings, symbols: Sequence[Symbol] = NAMES) -> dict[Symbol, str]:
    return dict(spread(work, symbols, settings, jobs=2))


def test_a_worker_that_dies_fails_its_own_symbol_alone(tmp_path: Path) -> None:
    result = collect(Work(_deadly, tmp_path, _died), TrainingSettings())
    assert result == {NAMES[0]: "done", NAMES[1]: DIED, NAMES[2]: "done"}


def test_a_symbol_that_cannot_be_trained_fails_on_the_cluster_too(tmp_path: Path, cluster: str) -> None:
    job = a_job(tmp_path, backend="dask", scheduler=cluster)
    outcomes = run_session(job, (NAMES[0], Symbol("ZZZ/USDC")), lambda message: None, jobs=1)
    assert [outcome.result for outcome in outcomes] == [TRAINED, FAILED]
    assert "no bars" in outcomes[1].reasons[0]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (TrainingSettings(backend="dask"), ConfigError, "model.training.scheduler"),
        (TrainingSettings(backend="dask", scheduler="tcp://127.0.0.1:9"), Transient, "no cluster answers"),
    ],
)
def test_a_cluster_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: TrainingSettings, error: type[Exception], words: str
) -> None:
    pytest.importorskip("distributed", reason="the dask extra is not installed")
    monkeypatch.setattr("ml_engine.training_backends.ANSWER_WITHIN", "1s")
    with pytest.raises(error, match=words):
        collect(Work(_deadly, tmp_path, _died), settings)


def test_versions_name_python_and_the_learning_libraries() -> None:
    assert {"python", "numpy", "scikit-learn", "lightgbm", "bn-ml-trading-bot"} <= set(versions())


def test_an_outcome_survives_the_way_between_processes() -> None:
    outcome = SymbolOutcome("AAA/USDC", TRAINED, reasons=("x",))
    assert pickle.loads(pickle.dumps(outcome)) == outcome
