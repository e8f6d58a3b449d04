"""The live commands as their users run them, against a sandbox: in this process for speed, or as processes."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from bn_ml.state_reader import StateReader
from bn_ml.state_store import StateStore
from scripts import run_bot
from tests.fakes.sandbox_process import ROOT, Sandbox

START = ("--live", "--disable-retrain", "--no-dashboard")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("BINANCE", "BNML"))}


@dataclass(frozen=True)
class Answer:
    """What a command left behind: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err

    def failures(self) -> list[str]:
        """The names of the checks that failed."""
        rows = [line.split(":")[0] for line in self.err.splitlines() if line.startswith("FAIL ")]
        return list(dict.fromkeys(row.removeprefix("FAIL ").strip() for row in rows))


@dataclass
class LiveDesk:
    """A folder with a configuration that leads to a sandbox, and the commands run in it."""

    folder: Path
    sandbox: Sandbox
    sections: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        keys = {"BINANCE_API_KEY": self.sandbox.api_key, "BINANCE_API_SECRET": self.sandbox.api_secret}
        self.environ = keys | self.environ

    @property
    def book(self) -> Path:
        return self.folder / "state" / "bn_ml.db"

    def configure(self, **sections: Any) -> None:
        """Change sections of the configuration."""
        for name, section in sections.items():
            present = self.sections.get(name)
            self.sections[name] = present | section if isinstance(present, dict) else section

    def bot(self, *flags: str, environ: Mapping[str, str] | None = None) -> Answer:
        """Run the command within this process."""
        out, err = io.StringIO(), io.StringIO()
        flags = ("--config", str(self.write()), *START, *(flags or ("--once",)))
        with patch.dict(os.environ, self._environ(environ), clear=True), _in_folder(self.folder), _own_logging():
            with redirect_stdout(out), redirect_stderr(err), patch("sys.stdin", None):
                code = run_bot.main(flags)
        return Answer(code, out.getvalue(), err.getvalue())

    def process(self, *flags: str, environ: Mapping[str, str] | None = None, timeout: float = 60) -> Answer:
        """Run the command as a process without standard input."""
        return self.run("scripts.run_bot", *START, *(flags or ("--once",)), environ=environ, timeout=timeout)

    def kill_switch(self, *flags: str) -> Answer:
        """Run the kill switch as a process."""
        return self.run("scripts.kill_switch", *flags)

    def run(self, module: str, *flags: str, environ: Mapping[str, str] | None = None, timeout: float = 60) -> Answer:
        """Run a command of the project as a process."""
        done = subprocess.run(
            self._command(module, flags),
            cwd=self.folder,
            env=self._environ(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def spawn(self, module: str, *flags: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command of the project and leave it running; its words go to `out.txt`."""
        with (self.folder / "out.txt").open("w") as out:
            return subprocess.Popen(
                self._command(module, flags),
                cwd=self.folder,
                env=self._environ(environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def write(self) -> Path:
        """Write the configuration and give its path."""
        usual: dict[str, Any] = {
            "exchange": {"base_url": self.sandbox.base_url, "ws_url": self.sandbox.ws_url, "rate_limit_ms": 10},
            "universe": {"training_symbols": ["BTC/USDC", "ETH/USDC"]},
            "storage": {
                "sqlite_path": str(self.book),
                "min_free_disk_mb": 1,
                "backup": {"base_dir": str(self.folder / "backups")},
            },
            "monitoring": {"logs_dir": str(self.folder / "logs"), "metrics_dir": str(self.folder / "metrics")},
            "model": {"models_dir": str(self.folder / "models")},
        }
        for name, section in self.sections.items():
            usual[name] = {**usual.get(name, {}), **section} if isinstance(section, dict) else section
        path = self.folder / "bot.yaml"
        path.write_text(yaml.safe_dump(usual), encoding="utf-8")
        return path

    def amounts(self) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        """What the book calls ours and what it calls foreign, by asset; zeros left out."""
        store = StateStore(self.book)
        try:
            ours, foreign = store.ledger_balances(), store.foreign_balances()
        finally:
            store.close()
        return _without_zeros(ours), _without_zeros(foreign)

    def state(self) -> tuple[str, str]:
        control = StateReader(self.book).control()
        return control.state.value, control.reason

    def events(self, kind: str) -> list[Mapping[str, Any]]:
        """The payloads of a kind of event, newest first."""
        return [row.payload for row in StateReader(self.book).events(kind=kind)]

    def _command(self, module: str, flags: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", module, "--config", str(self.write()), *flags]

    def _environ(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        given = {**CLEAN, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.environ, **(extra or {})}
        return {name: value for name, value in given.items() if value}


@contextmanager
def _own_logging() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []
    try:
        yield
    finally:
        for made in list(root.handlers):
            root.removeHandler(made)
            made.close()
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _without_zeros(amounts: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {asset: amount for asset, amount in amounts.items() if amount}
