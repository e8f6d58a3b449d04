"""A folder in which the doctor finds everything in order, until a test breaks something in it."""

from __future__ import annotations

import io
import json
import os
import socket
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bn_ml.backup import Sources, make_backup
from bn_ml.backup_store import BackupStore
from bn_ml.clock import SystemClock
from bn_ml.domain.market import Symbol
from bn_ml.state_store import StateStore
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.bundle_store import BundleStore
from scripts import doctor
from tests.fakes.bundle_builders import a_bundle
from tests.fakes.live_command import LiveDesk, _in_folder, _own_logging

SYMBOLS = ("BTC/USDC", "ETH/USDC")
IDLE = "has no effect in this version"


@dataclass(frozen=True)
class Report:
    """What the doctor said: its exit code, its findings, and everything it printed."""

    code: int
    findings: list[dict[str, str]]
    out: str
    err: str

    def of(self, status: str) -> list[dict[str, str]]:
        return [item for item in self.findings if item["status"] == status]

    def named(self, name: str) -> dict[str, str]:
        """The worst finding of a name."""
        own = [item for item in self.findings if item["name"] == name]
        return max(own, key=lambda item: ("OK", "WARN", "FAIL").index(item["status"]))

    def troubles(self) -> list[tuple[str, str]]:
        """What is not in order, settings of parts aside that are not built yet."""
        own = (item for item in self.findings if IDLE not in item["found"])
        return [(item["status"], item["name"]) for item in own if item["status"] != "OK"]


@dataclass
class ExaminedDesk(LiveDesk):
    """A paper bot's folder: configuration, a book, bundles, a backup, a mail server that takes its alerts."""

    mail: MailSink = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.environ |= {"EMAIL_SMTP_HOST": "127.0.0.1", "EMAIL_SMTP_PORT": str(self.mail.port)}
        self.configure(
            universe={"training_symbols": list(SYMBOLS)},
            data={"history_dir": str(self.folder / "history")},
            monitoring={
                "dashboard": {"port": free_port()},
                "alerting": {
                    "email": {"enabled": True, "from": "bot@example.com", "to": ["me@example.com"], "use_tls": False}
                },
            },
            public_api={"port": free_port()},
        )

    def prepared(self) -> ExaminedDesk:
        """Fill the folder with what a bot that has run leaves behind."""
        now = SystemClock().now()
        self.book.parent.mkdir(mode=0o700)
        store = StateStore(self.book)
        store.bind_book("paper", "paper", now)
        store.close()
        for symbol in SYMBOLS:
            self.train(symbol)
        self.back_up()
        (self.folder / ".env").write_text("")
        (self.folder / ".env").chmod(stat.S_IRUSR | stat.S_IWUSR)
        return self

    def train(self, symbol: str, **changes: Any) -> None:
        """Publish a bundle trained an hour ago, or as told."""
        engineer = FeatureEngineer()
        trained = SystemClock().now() - timedelta(hours=1)
        facts = {
            "symbol": symbol,
            "model_key": Symbol(symbol).key,
            "feature_columns": engineer.columns[:6],
            "optional_columns": (),
            "feature_hash": engineer.feature_hash,
            "trained_at": trained,
            "valid_from": trained,
            "label_end": trained - timedelta(hours=1),
        }
        BundleStore(self.folder / "models", feature_hash=engineer.feature_hash).save(a_bundle(**facts | changes))

    def back_up(self, *, age: timedelta = timedelta(0)) -> Path:
        """Make a backup, as if it had been made so long ago."""
        sources = Sources(database=self.book)
        backup = make_backup(sources, BackupStore(self.folder / "backups"), SystemClock().now() - age)
        return backup.folder

    def check(self, *flags: str, environ: Mapping[str, str] | None = None) -> Report:
        """Run the doctor within this process."""
        code, out, err = self.doctor("check", "--json", *flags, environ=environ)
        document = json.loads(out)
        assert document["exit_code"] == code
        assert document["ok"] == (code == 0)
        return Report(code, document["data"]["checks"], out, err)

    def doctor(self, *words: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        flags = (*words, "--config", str(self.write()))
        with patch.dict(os.environ, self._environ(environ), clear=True), _in_folder(self.folder), _own_logging():
            with redirect_stdout(out), redirect_stderr(err):
                code = doctor.main(flags)
        return code, out.getvalue(), err.getvalue()

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python in the folder, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=self._environ(None),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


class MailSink:
    """A mail server on loopback that takes every message."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        messages = self.messages

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline():
                    word = line[:4].upper()
                    if word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        body = b""
                        while (part := self.rfile.readline()) not in (b".\r\n", b""):
                            body += part
                        messages.append(body.decode())
                    self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                    if word == b"QUIT":
                        return

        return Conversation


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


@contextmanager
def silent_server() -> Iterator[int]:
    """A server that accepts connections and never says a word; gives its port."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen(64)
        yield int(line.getsockname()[1])
