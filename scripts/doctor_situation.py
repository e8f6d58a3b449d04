"""What the checks are told: the configuration as far as it can be read, the environment, and what is asked for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bn_ml.config import LoadedSettings, examined_settings
from bn_ml.env import Secrets, load_env
from bn_ml.errors import ConfigError
from bn_ml.ports import Clock
from bn_ml.redaction import Redactor
from bn_ml.settings import Settings
from scripts.doctor_findings import Status


@dataclass(frozen=True, slots=True)
class Situation:
    """One examination. `problems` is what keeps the configuration from being used; refused keys stand at defaults."""

    loaded: LoadedSettings
    problems: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    secrets: Secrets
    folder: Path
    clock: Clock
    live: bool = False
    test_alert: bool = True

    @property
    def settings(self) -> Settings:
        """The settings looked at."""
        return self.loaded.settings

    @property
    def database(self) -> Path:
        """Where the book lies."""
        return Path(self.settings.storage.sqlite_path)

    @property
    def in_live(self) -> Status:
        """How bad something is that only live trading cannot do without."""
        return Status.FAIL if self.is_live else Status.WARN

    @property
    def is_live(self) -> bool:
        """Whether real money is traded, or is about to be."""
        return self.live or self.settings.environment == "live"

    def redactor(self) -> Redactor:
        """Give what takes secrets out of findings."""
        return Redactor(self.secrets.hidden())


def situation_of(arguments: argparse.Namespace, folder: Path, clock: Clock) -> Situation:
    """Read everything the checks need; what cannot be read becomes a problem."""
    live = bool(getattr(arguments, "live", False))
    problems: list[str] = []
    try:
        environ = load_env(folder)
    except ConfigError as error:
        problems += error.problems
        environ = dict(os.environ)
    overrides = {"environment": "live"} if live else None
    loaded, refused = examined_settings(arguments.config, environ=environ, overrides=overrides)
    problems += refused
    try:
        variable = loaded.settings.model_sync.runpod.api_key_env
        secrets = Secrets.from_environ(environ, runpod_variable=variable)
    except ConfigError as error:
        problems += error.problems
        secrets = Secrets()
    return Situation(
        loaded=loaded,
        problems=tuple(problems),
        environ=environ,
        secrets=secrets,
        folder=folder,
        clock=clock,
        live=live,
        test_alert=not getattr(arguments, "no_test_alert", False),
    )
