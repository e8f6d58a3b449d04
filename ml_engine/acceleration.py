"""The device XGBoost is fitted on: a graphics card only when one is there, wanted, and a test fit on it works."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import xgboost

from bn_ml.errors import ConfigError
from bn_ml.hardware import Machine, this_machine, usable_cores
from bn_ml.settings import AccelerationSettings

CPU, CUDA = "cpu", "cuda"
_PROBLEMS = (xgboost.core.XGBoostError, ValueError, RuntimeError, OSError)


@dataclass(frozen=True, slots=True)
class Device:
    """The device chosen and why; `fallback` when another one was asked for."""

    name: str
    reason: str
    fallback: bool = False


def built_with_cuda() -> bool:
    """Tell whether the installed XGBoost can use a card at all."""
    return bool(xgboost.build_info().get("USE_CUDA", False))


@cache
def cuda_problem() -> str:
    """Give why a small fit on the card fails, empty when it works; tried once in a process."""
    rows = np.random.default_rng(0).normal(size=(64, 4))
    labels = (rows[:, 0] > 0).astype(np.int64)
    model = xgboost.XGBClassifier(n_estimators=2, max_depth=2, tree_method="hist", device=CUDA, verbosity=0)
    try:
        model.fit(rows, labels)
    except _PROBLEMS as error:
        return str(error).splitlines()[0]
    used = str(model.get_booster().save_config())
    return "" if '"device":"cuda' in used.replace(" ", "") else "the fit ran on the processor"


def choose_device(settings: AccelerationSettings, machine: Machine | None = None) -> Device:
    """Choose by the settings and the machine.

    Raises `ConfigError` when a card is demanded, none works and falling back is not allowed.
    """
    if settings.gpu_enable is False or settings.device == CPU:
        return Device(CPU, "the configuration says so")
    demanded = settings.gpu_enable is True or settings.device == CUDA
    problem = _problem(machine or this_machine())
    if not problem:
        return Device(CUDA, "a graphics card is there and a test fit on it works")
    if not demanded:
        return Device(CPU, problem)
    if settings.allow_cuda_fallback:
        return Device(CPU, f"a graphics card is asked for, but {problem}", fallback=True)
    raise ConfigError(
        [
            f"model.acceleration: a graphics card is demanded, but {problem}; "
            "set allow_cuda_fallback: true or device: cpu"
        ]
    )


def training_jobs(settings: AccelerationSettings) -> int:
    """Give how many symbols are trained at once: as configured, by default one core less than there are."""
    cores = usable_cores()
    if settings.cpu_n_jobs == "auto":
        return max(1, cores - 1)
    return cores if settings.cpu_n_jobs == -1 else min(settings.cpu_n_jobs, cores)


def _problem(machine: Machine) -> str:
    if machine.card is None:
        return "no NVIDIA graphics card answers"
    if not built_with_cuda():
        return "the installed xgboost is built without CUDA (pip install xgboost in place of xgboost-cpu)"
    found = cuda_problem()
    return f"a test fit on it failed: {found}" if found else ""
