"""What the container engine is told about a service."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bn_ml.clock import SystemClock
from scripts import container_health
from scripts.container_health import LONGEST_SILENCE_S, api_problem, book_problem, dashboard_problem


def written(path: Path, seconds_ago: float) -> None:
    path.touch()
    moment = SystemClock().now().timestamp() - seconds_ago
    os.utime(path, (moment, moment))


def test_a_bot_without_a_book_is_not_well(tmp_path: Path) -> None:
    assert "does not exist yet" in book_problem(tmp_path / "bn_ml.db")


@pytest.mark.parametrize(
    ("seconds", "well"), [(0.0, True), (LONGEST_SILENCE_S - 5, True), (LONGEST_SILENCE_S + 5, False)]
)
def test_a_bot_is_well_while_its_book_is_being_written(seconds: float, well: bool, tmp_path: Path) -> None:
    database = tmp_path / "bn_ml.db"
    written(database, seconds)
    assert (book_problem(database) == "") == well


def test_writes_that_are_still_in_the_log_of_the_database_count(tmp_path: Path) -> None:
    database = tmp_path / "bn_ml.db"
    written(database, 3600.0)
    written(tmp_path / "bn_ml.db-wal", 1.0)
    assert book_problem(database) == ""


class Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    running = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.mark.parametrize(("status", "api", "dashboard"), [(200, True, True), (503, True, False), (500, False, False)])
def test_an_answer_decides_and_a_degraded_api_is_still_an_api(
    status: int, api: bool, dashboard: bool, server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    port = server.server_address[1]
    assert (api_problem(port) == "", dashboard_problem(port) == "") == (api, dashboard)


def test_nobody_listening_is_not_well() -> None:
    closed = HTTPServer(("127.0.0.1", 0), Answers)
    port = closed.server_address[1]
    closed.server_close()
    assert "does not answer" in api_problem(port)


def test_the_exit_code_tells_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert container_health.main(["bot"]) == 1
    assert "does not exist yet" in capsys.readouterr().err
    database = tmp_path / container_health.DATABASE
    database.parent.mkdir(parents=True)
    written(database, 0.0)
    assert container_health.main(["bot"]) == 0
