"""The dashboard as a child of the bot: started with it, ended with it, never in its way."""

from __future__ import annotations

import http.client
import ipaddress
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import monitoring
from bn_ml.env import Secrets
from bn_ml.settings import Settings

log = logging.getLogger(__name__)

NAME = "dashboard"
LOG_FILE = "dashboard.log"
MARK_PATH = "/app/static/bn-ml-dashboard.txt"
MARK = b"BN-ML dashboard"
ANSWER_WITHIN_S = 1.0
STALE_AFTER_S = float("inf")
"""Whether a page is drawn in time is the viewer's business; the bot only cares that the process runs."""


@dataclass(frozen=True, slots=True)
class DashboardPlan:
    """Where and how the dashboard is to run. `config` is what the bot was given, empty for its default."""

    script: Path
    address: str
    port: int
    theme: str
    config: str
    logs: Path
    log_max_bytes: int
    environ: Mapping[str, str]

    @property
    def url(self) -> str:
        """The address to open in a browser on this machine."""
        return f"http://{_bracketed(self.reachable)}:{self.port}"

    @property
    def reachable(self) -> str:
        """The address to connect to: loopback where the dashboard listens on every address."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.address, self.address)

    def command(self, parent: int) -> tuple[str, ...]:
        """Give the command line of the child of process `parent`."""
        config = ("--config", self.config) if self.config else ()
        return (
            sys.executable,
            "-m",
            "scripts.dashboard_process",
            str(parent),
            "run",
            str(self.script),
            f"--server.address={self.address}",
            f"--server.port={self.port}",
            "--server.headless=true",
            "--browser.gatherUsageStats=false",
            f"--theme.base={self.theme}",
            "--",
            *config,
        )


@dataclass(frozen=True, slots=True)
class DashboardFlags:
    """What was asked for on the command line: off altogether, another port, another address."""

    off: bool = False
    port: int | None = None
    address: str | None = None


def dashboard_plan(
    settings: Settings, flags: DashboardFlags, environ: Mapping[str, str], *, config: str, logs: Path
) -> DashboardPlan | None:
    """Give how to run the dashboard, None when it is not wanted.

    The child gets the environment without any secret: it holds no key. Raises `ConfigError` for unusable secrets.
    """
    wanted = settings.monitoring.dashboard
    if flags.off or not wanted.auto_launch:
        return None
    return DashboardPlan(
        script=_script(Path(wanted.script)),
        address=flags.address if flags.address is not None else wanted.address,
        port=flags.port if flags.port is not None else wanted.port,
        theme=wanted.theme,
        config=config,
        logs=logs,
        log_max_bytes=int(settings.monitoring.log_max_mb * 1_000_000),
        environ=without_secrets(environ),
    )


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment without secrets and without the names of files that hold them."""
    hidden = set(Secrets.from_environ(environ).hidden())
    return {
        name: value
        for name, value in environ.items()
        if value.strip() not in hidden and not name.upper().endswith("_FILE")
    }


class DashboardChild:
    """Runs the dashboard as a child process; a `Worker`.

    A port that is taken is no failure of the bot: another dashboard of this program is left to serve, anything else is
    told once with the fix, and nothing is started.
    """

    name = NAME
    stale_after_s = STALE_AFTER_S

    def __init__(self, plan: DashboardPlan) -> None:
        """Prepare; nothing runs before `start`."""
        self.plan = plan
        self._child: subprocess.Popen[bytes] | None = None
        self._rests = False

    def start(self) -> None:
        """Start the child, or leave the port to whoever has it; raises `OSError` when it cannot be started."""
        self._rests = False
        if _answers(self.plan.reachable, self.plan.port):
            self._rests = True
            self._tell_taken()
            return
        if not _is_loopback(self.plan.reachable) or self.plan.address != self.plan.reachable:
            log.warning(
                "the dashboard listens on %s and asks for no password; "
                "set monitoring.dashboard.address: 127.0.0.1 and use a tunnel",
                self.plan.address,
            )
        with _log_file(self.plan) as output:
            self._child = subprocess.Popen(
                self.plan.command(os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.plan.environ),
                start_new_session=True,
            )
        log.info("dashboard url=%s log=%s", self.plan.url, self.plan.logs / LOG_FILE)

    def stop(self, timeout_s: float) -> None:
        """End the child, at once when it does not end by itself in time."""
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def is_alive(self) -> bool:
        """Tell whether the child runs, or rightly does not."""
        return self._rests or (self._child is not None and self._child.poll() is None)

    def beat_age_s(self) -> float:
        """Give 0 while all is well: the process itself is the sign of life."""
        return 0.0 if self.is_alive() else float("inf")

    def _tell_taken(self) -> None:
        if _is_ours(self.plan):
            log.info(
                "dashboard url=%s is already running and is used; it shows the book it was started with", self.plan.url
            )
            return
        log.warning(
            "no dashboard: port %s of %s is taken by another program; "
            "the bot goes on. Use --dashboard-port N, set monitoring.dashboard.port, or end that program",
            self.plan.port,
            self.plan.address,
        )


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=ANSWER_WITHIN_S):
            return True
    except OSError:
        return False


def _is_ours(plan: DashboardPlan) -> bool:
    """Ask whoever listens there whether it is a dashboard of this program."""
    connection = http.client.HTTPConnection(plan.reachable, plan.port, timeout=ANSWER_WITHIN_S)
    try:
        connection.request("GET", MARK_PATH)
        return connection.getresponse().read(len(MARK)) == MARK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _script(named: Path) -> Path:
    """Give the script named in the settings, the one of this program where that does not exist."""
    return named.absolute() if named.exists() else Path(monitoring.__file__).with_name("dashboard.py")


def _log_file(plan: DashboardPlan) -> IO[bytes]:
    """Open the log to append; one that has grown too large is put aside first."""
    plan.logs.mkdir(parents=True, exist_ok=True)
    path = plan.logs / LOG_FILE
    if path.exists() and path.stat().st_size > plan.log_max_bytes:
        path.replace(path.with_name(f"{LOG_FILE}.1"))
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
