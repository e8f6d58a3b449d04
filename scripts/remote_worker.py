"""A RunPod worker: each job trains, hands the archive over and answers where it is."""

from __future__ import annotations

import argparse
import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from bn_ml.domain.market import Symbol
from bn_ml.env import Secrets, load_env
from bn_ml.errors import BnMlError, ConfigError
from bn_ml.redaction import Redactor
from scripts import cli, training_command
from scripts.model_sync_runpod import KNOWN_VERSIONS
from scripts.remote_training import MODE, HandOver, train_and_hand_over

log = logging.getLogger("bnml.trainer")

Answer = dict[str, object]
Handler = Callable[[Mapping[str, object]], Answer]
_HIGHEST_VERSION = 1_000_000
_FLAGS = ("train_missing_only", "train_all", "quick", "no_hpo")


def serve(arguments: argparse.Namespace) -> int:
    """Hand the jobs RunPod sends to the trainer, until RunPod ends the worker; 1 without its package."""
    try:
        package = importlib.import_module("runpod")
    except ModuleNotFoundError as error:
        if error.name != "runpod":
            raise
        return cli.complain(
            "--serverless needs the package runpod in the worker's image (pip install runpod); "
            "without it run bnml-runpod-train as a plain command",
            cli.FAILED,
        )
    training_command.prepare(arguments)
    package.serverless.start({"handler": handler_of(arguments)})
    return cli.DONE


def handler_of(arguments: argparse.Namespace) -> Handler:
    """Give the function RunPod calls with `{"id", "input"}`; an answer with `error` marks the job as failed."""

    def handler(job: Mapping[str, object]) -> Answer:
        environ = load_env(Path.cwd())
        hidden = HandOver.of(environ, arguments.upload_url_env).hidden()
        redactor = Redactor((*Secrets.from_environ(environ).hidden(), *hidden))
        try:
            asked, known = asked_for(job, arguments)
            return train_and_hand_over(asked, training_command.load(asked), known).as_dict()
        except (BnMlError, OSError, ValueError) as error:
            # An error that got out would be kept by RunPod with its whole traceback.
            told = redactor.clean(f"{type(error).__name__}: {error}")
            log.error("job failed: %s", told)
            return {"status": "failed", "mode": MODE, "error": told}

    return handler


def asked_for(job: Mapping[str, object], arguments: argparse.Namespace) -> tuple[argparse.Namespace, dict[Symbol, int]]:
    """Give the flags of one job and the versions its receiver knows; raises `ConfigError` for an unusable input.

    Understood are `task` (train_only), `symbols`, `train_all`, `train_missing_only`, `quick`, `no_hpo` and
    `known_versions`; nothing in a job can name a file, an address or a key.
    """
    given = job.get("input")
    if not isinstance(given, Mapping):
        raise ConfigError(["input: a JSON object is needed, such as {task: train_only}"])
    task = given.get("task", MODE)
    unknown = sorted(set(map(str, given)) - {"task", "symbols", KNOWN_VERSIONS, *_FLAGS})
    if task != MODE or unknown:
        raise ConfigError([f"input: only the task {MODE} is done here, got {task!r} {' '.join(unknown)}".strip()])
    flags = {name: _flag(given, name) for name in _FLAGS if name in given}
    if flags.get("train_all") and flags.get("train_missing_only"):
        raise ConfigError(["input: train_all and train_missing_only exclude each other"])
    symbols = {"symbol": [str(name) for name in _symbols(given["symbols"])]} if "symbols" in given else {}
    return argparse.Namespace(**{**vars(arguments), **flags, **symbols}), _known(given.get(KNOWN_VERSIONS, {}))


def _flag(given: Mapping[str, object], name: str) -> bool:
    value = given[name]
    if not isinstance(value, bool):
        raise ConfigError([f"input.{name}: true or false, got {value!r}"])
    return value


def _symbols(value: object) -> list[Symbol]:
    try:
        if isinstance(value, list) and value:
            return [Symbol(str(name)) for name in value]
    except ValueError as error:
        raise ConfigError([f"input.symbols: {error}"]) from error
    raise ConfigError(["input.symbols: a list of symbols such as BTC/USDC is needed"])


def _known(value: object) -> dict[Symbol, int]:
    if not isinstance(value, Mapping):
        raise ConfigError([f"input.{KNOWN_VERSIONS}: a mapping of symbol to version is needed"])
    known: dict[Symbol, int] = {}
    for name, version in value.items():
        if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= _HIGHEST_VERSION:
            raise ConfigError([f"input.{KNOWN_VERSIONS}: {name} has no usable version"])
        known[_symbols([name])[0]] = version
    return known
