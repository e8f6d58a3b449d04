"""`bnml-doctor init`: a commented configuration and a file for the secrets, where there are none yet."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.config import DEFAULT_PATH
from bn_ml.domain.market import iso
from bn_ml.env import ENV_FILE, loose_permissions
from bn_ml.settings_reference import bot_yaml, env_example
from scripts import cli

SCHEMA = "bnml.doctor.init/1"
ONLY_OWNER, ALL_READ = 0o600, 0o644
_ENV_HEAD = "# Secrets and variables of BN-ML. Keep it readable by you alone: chmod 600 .env"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one file: written, kept because it was there, or not possible and why."""

    path: Path
    made: bool
    problem: str = ""
    advice: str = ""


def run(arguments: argparse.Namespace) -> int:
    """Write what is absent and say what to do next; 1 when a file could not be written."""
    config = arguments.config or DEFAULT_PATH
    done = (write_new(config, bot_yaml(), ALL_READ), write_new(Path(ENV_FILE), env_text(), ONLY_OWNER))
    failed = any(item.problem for item in done)
    code = cli.FAILED if failed else cli.DONE
    document = {
        "schema": SCHEMA,
        "generated_at": iso(SystemClock().now()),
        "ok": not failed,
        "exit_code": code,
        "data": {"files": [{"path": str(item.path), "made": item.made, "problem": item.problem} for item in done]},
        "warnings": [item.advice for item in done if item.advice],
    }
    steps = [] if failed else ["", *next_steps(config)]
    cli.show(document, as_json=arguments.json, text="\n".join([*map(_line, done), *steps]))
    return code


def write_new(path: Path, text: str, mode: int) -> Written:
    """Write a file that does not exist, whole or not at all; one that exists is never touched."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _refused(path, error)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return _kept(path, mode)
    except OSError as error:
        return _refused(path, error)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        return _refused(path, error)
    return Written(path, True)


def env_text() -> str:
    """Give the commented file of variables, all empty or at their defaults."""
    _, _, rest = env_example().partition("\n")
    return f"{_ENV_HEAD}\n{rest}"


def next_steps(config: Path) -> list[str]:
    """Say what to do with the files."""
    flag = "" if config == DEFAULT_PATH else f" --config {config}"
    return [
        "next:",
        f"  1. look through {config}: every key is there with its meaning and default",
        f"  2. paper trading needs no keys; for live put BINANCE_API_KEY and BINANCE_API_SECRET into {ENV_FILE}",
        f"  3. bnml-doctor check{flag}",
        f"  4. bnml-bot --paper{flag}",
    ]


def _kept(path: Path, mode: int) -> Written:
    if not path.is_file():
        return Written(path, False, f"{path} is in the way and is no file; move it away")
    loose = loose_permissions(path) if mode == ONLY_OWNER else None
    return Written(path, False, "", loose or "")


def _refused(path: Path, error: OSError) -> Written:
    why = error.strerror or type(error).__name__
    return Written(path, False, f"{path} cannot be written ({why}); give your user write access to {path.parent}")


def _line(item: Written) -> str:
    if item.problem:
        return f"FAIL {item.problem}"
    said = f"written {item.path}" if item.made else f"kept    {item.path}, it was there already"
    return f"{said}; {item.advice}" if item.advice else said
