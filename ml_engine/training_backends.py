"""Where many symbols are trained at once: processes of this machine, or the workers of a Dask cluster, over joblib.

Both fit with the same code and give the same bundles. A cluster's workers only fit; the bundle is judged against the
champion, signed and published on the machine that asked, so neither the signing key nor the models folder leaves it.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Generic, TypeVar

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from bn_ml.domain.market import Symbol
from bn_ml.errors import ConfigError, Transient
from bn_ml.settings import TrainingSettings

DIED = "the training process died (out of memory?)"
SIGN_OF_LIFE_S = 60.0
# A worker that finishes nothing for so long is taken for hung: no more signs of life are given for it.
LONGEST_SILENCE_S = 3_600.0
ANSWER_WITHIN = "10s"
_VERSIONS = ("bn-ml-trading-bot", "numpy", "scipy", "scikit-learn", "xgboost-cpu", "xgboost", "lightgbm", "TA-Lib")

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Work(Generic[Job, Result]):
    """One function for many symbols: `do(job, symbol)` runs elsewhere; `died` makes the result of one that cannot."""

    do: Callable[[Job, Symbol], Result]
    job: Job
    died: Callable[[Symbol, str], Result]


def spread(
    work: Work[Job, Result],
    symbols: Sequence[Symbol],
    settings: TrainingSettings,
    *,
    jobs: int,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Symbol, Result]]:
    """Yield each symbol's result as it comes; `alive` is called now and then while workers are at it.

    Raises `ConfigError` for a cluster that is not configured or runs other versions, `Transient` for one that does not
    answer.
    """
    if settings.backend == "dask":
        results = _on_cluster(work, symbols, settings.scheduler)
    else:
        results = _in_processes(work, symbols, jobs)
    yield from _with_signs_of_life(results, alive)


def versions() -> dict[str, str]:
    """Give what must be equal for equal bundles: the versions of Python, of this program and of its libraries."""
    return {"python": ".".join(map(str, sys.version_info[:2])), **{name: _installed(name) for name in _VERSIONS}}


def _in_processes(work: Work[Job, Result], symbols: Sequence[Symbol], jobs: int) -> Iterator[tuple[Symbol, Result]]:
    """Train in local processes; when one dies, those left are trained one by one, so that it can take none along."""
    left = list(symbols)
    try:
        for symbol, result in _parallel(work, symbols, "loky", min(jobs, len(symbols))):
            left.remove(symbol)
            yield symbol, result
    except TerminatedWorkerError:
        for symbol in left:
            yield symbol, _alone(work, symbol)


def _alone(work: Work[Job, Result], symbol: Symbol) -> Result:
    try:
        return next(iter(_parallel(work, (symbol,), "loky", 2)))[1]
    except TerminatedWorkerError:
        return work.died(symbol, DIED)


def _on_cluster(work: Work[Job, Result], symbols: Sequence[Symbol], scheduler: str) -> Iterator[tuple[Symbol, Result]]:
    left = list(symbols)
    with _cluster(scheduler) as client:
        _require_same_versions(client)
        killed = _killed_worker()
        try:
            for symbol, result in _parallel(work, symbols, "dask", len(symbols), client=client, scatter=[work.job]):
                left.remove(symbol)
                yield symbol, result
        except (killed, OSError) as error:
            for symbol in left:
                yield symbol, work.died(symbol, f"the cluster lost it: {error}")


def _parallel(
    work: Work[Job, Result], symbols: Sequence[Symbol], backend: str, jobs: int, **options: object
) -> Iterator[tuple[Symbol, Result]]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    calls = (joblib.delayed(_named)(work.do, work.job, symbol) for symbol in symbols)
    with joblib.parallel_config(backend, n_jobs=jobs, **options):
        yield from joblib.Parallel(return_as="generator_unordered", pre_dispatch="all", batch_size=1)(calls)


def _named(do: Callable[[Job, Symbol], Result], job: Job, symbol: Symbol) -> tuple[Symbol, Result]:
    return symbol, do(job, symbol)


def _with_signs_of_life(
    results: Iterable[tuple[Symbol, Result]], alive: Callable[[], None]
) -> Iterator[tuple[Symbol, Result]]:
    """Hand results on from a thread that waits for them, calling `alive` whenever nothing came for a minute."""
    arrived: queue.Queue[tuple[Symbol, Result] | BaseException | None] = queue.Queue()

    def collect() -> None:
        try:
            for result in results:
                arrived.put(result)
            arrived.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            arrived.put(error)

    threading.Thread(target=collect, name="training-results", daemon=True).start()
    silent_s = 0.0
    while True:
        try:
            item = arrived.get(timeout=SIGN_OF_LIFE_S)
        except queue.Empty:
            silent_s += SIGN_OF_LIFE_S
            if silent_s <= LONGEST_SILENCE_S:
                alive()
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        silent_s = 0.0
        yield item


def _cluster(scheduler: str) -> AbstractContextManager[object]:
    """Open a client of the cluster; raises `ConfigError` without address or package, `Transient` without answer."""
    if not scheduler:
        raise ConfigError(
            ["model.training.scheduler: empty, the dask backend needs an address like tcp://10.0.0.5:8786"]
        )
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ConfigError([f"model.training.backend: dask needs {error.name}; pip install '.[dask]'"]) from error
    try:
        client = Client(scheduler, timeout=ANSWER_WITHIN, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise Transient(f"model.training.scheduler {scheduler}: no cluster answers: {error}") from error
    opened: AbstractContextManager[object] = closing(client)
    return opened


def _require_same_versions(client: object) -> None:
    """Raise `ConfigError` when a worker runs another program or other libraries, `Transient` when there is none."""
    told = client.run(versions)  # type: ignore[attr-defined]
    if not told:
        raise Transient("the training cluster has no workers")
    own = versions()
    problems = [
        f"training worker {name}: {key} {theirs.get(key)}, this machine has {mine}; install the same versions"
        for name, theirs in sorted(told.items())
        for key, mine in own.items()
        if theirs.get(key) != mine
    ]
    if problems:
        raise ConfigError(problems)


def _killed_worker() -> type[Exception]:
    from distributed import KilledWorker

    killed: type[Exception] = KilledWorker
    return killed


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
