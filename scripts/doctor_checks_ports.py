"""Whether dashboard and API could open their ports, and whether they may be opened so."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bn_ml.processes import PROC
from scripts.doctor_findings import Check, Diagnosis, bad, doubtful, good
from scripts.doctor_situation import Situation

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SHORTEST_TOKEN = 32
_OURS = ("scripts.run_api", "run_api.py", "public_api.app:app", "monitoring/dashboard.py")
_COMMANDS = "bnml-"
_LISTENING = "0A"
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port, as far as the system lets us see; `pid` 0 when it does not."""

    pid: int = 0
    words: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is a part of this program that runs already."""
        return any(word.endswith(_OURS) or Path(word).name.startswith(_COMMANDS) for word in self.words)

    def __str__(self) -> str:
        return f"process {self.pid} ({' '.join(self.words)[:_SHOWN]})" if self.pid else "a process of another user"


def checks(situation: Situation) -> list[Check]:
    """Give what is asked of the ports."""
    return [Check("dashboard port", partial(dashboard, situation)), Check("API port", partial(api, situation))]


def dashboard(situation: Situation) -> Iterator[Diagnosis]:
    """Tell whether the dashboard's port is free, or who holds it."""
    wanted = situation.settings.monitoring.dashboard
    yield port("dashboard port", wanted.address, wanted.port, "monitoring.dashboard.port", needed=wanted.auto_launch)
    if wanted.address not in LOOPBACK:
        seen = f"{wanted.address} is open to others, the dashboard asks for no password"
        yield doubtful("dashboard port", seen, "set monitoring.dashboard.address: 127.0.0.1 and use a tunnel")


def api(situation: Situation) -> Iterator[Diagnosis]:
    """Tell whether the API's port is free, or who holds it, and whether its address is safe."""
    wanted = situation.settings.public_api
    yield port("API port", wanted.host, wanted.port, "public_api.port", needed=True)
    if wanted.host not in LOOPBACK and len(situation.secrets.api_token) < SHORTEST_TOKEN:
        seen = f"{wanted.host} is open to others without a token of {SHORTEST_TOKEN} bytes, the API does not start"
        yield bad("API port", seen, "set public_api.host: 127.0.0.1, or BNML_API_TOKEN to a long random text")


def port(name: str, address: str, number: int, key: str, *, needed: bool) -> Diagnosis:
    """Try to listen on a port for a moment."""
    problem = _bind(address, number)
    if problem is None:
        return good(name, f"{address}:{number} is free")
    if problem.errno != errno.EADDRINUSE:
        return bad(name, f"{address}:{number} cannot be opened ({problem.strerror or problem})", f"correct {key}")
    holder = holder_of(number)
    if holder.is_ours:
        return good(name, f"{address}:{number} is served by {holder}")
    seen, fix = f"{address}:{number} is held by {holder}", f"end that process, or choose another {key}"
    return bad(name, seen, fix) if needed else doubtful(name, seen, fix)


def holder_of(number: int) -> Holder:
    """Give the process that listens on a port of this machine."""
    sockets = _listening(number)
    for folder in PROC.glob("[0-9]*"):
        if sockets and any(target in sockets for target in _descriptors(folder)):
            return Holder(int(folder.name), _words(folder))
    return Holder()


def _bind(address: str, number: int) -> OSError | None:
    """Listen on a port and let it go at once; gives what prevents it."""
    try:
        kind, _, _, _, place = socket.getaddrinfo(address, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as line:
            # A port whose last connections are still dying away is free for whoever listens.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(place)
    except OSError as error:
        return error
    return None


def _listening(number: int) -> frozenset[str]:
    """Give the links under which processes hold the sockets that listen on a port."""
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in _text(PROC / "net" / table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == number:
                found.add(f"socket:[{fields[9]}]")
    return frozenset(found)


def _descriptors(folder: Path) -> Iterator[str]:
    try:
        names = os.listdir(folder / "fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(folder / "fd" / name)
        except OSError:
            continue


def _words(folder: Path) -> tuple[str, ...]:
    return tuple(word for word in _text(folder / "cmdline").split("\0") if word)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
