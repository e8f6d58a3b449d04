"""Alerts of a process that is killed in the middle of a storm: every critical one arrives after the restart."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes import storming_alerter
from tests.fakes.alert_builders import HandClock, an_alerter
from tests.fakes.alert_receivers import WebReceiver
from tests.fakes.stream_server import until

ROOT = Path(__file__).resolve().parents[2]


def a_killed_storm(folder: Path, url: str, events: int, killed_after: int) -> list[int]:
    """Let a process tell its storm and kill it; gives the numbers of the critical alerts it had acknowledged."""
    command = [sys.executable, "-m", storming_alerter.__name__, str(folder), url, str(events)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(killed_after)]
        process.kill()
        lines += process.stdout.readlines()
    told = [line.split() for line in lines if line.endswith("\n")]
    return [int(number) for number, level in told if level == "CRITICAL"]


def nothing_waits(folder: Path) -> bool:
    with closing(sqlite3.connect(f"{(folder / 'alerts.db').as_uri()}?mode=ro", uri=True)) as stored:
        return stored.execute("SELECT count(*) FROM critical").fetchone() == (0,)


@pytest.mark.parametrize(("works", "killed_after"), [(False, 1000), (False, 333), (True, 1000)])
def test_a_storm_cut_off_by_a_kill_loses_no_critical_alert(tmp_path: Path, works: bool, killed_after: int) -> None:
    with WebReceiver() as receiver:
        if not works:
            receiver.hangs.set()
        critical = a_killed_storm(tmp_path, f"{receiver.url}/hook", 1000, killed_after)
        before = len(receiver.posts)
        receiver.hangs.clear()
        clock = HandClock()
        secrets = {"alert_webhook_url": f"{receiver.url}/hook"}
        alerter = an_alerter(tmp_path, secrets, clock=clock, webhook={"enabled": True}, daily_digest="23:59")
        alerter.start()
        clock.pass_by(minutes=20)
        alerter.stop(2)
        everything = ", ".join(receiver.texts) + ","
    lost = [number for number in critical if not any(f"trouble {number}{end}" in everything for end in ", ;\n")]
    assert lost == []
    assert len(critical) >= killed_after // 2
    assert before <= 20
    assert len(receiver.posts) - before <= 20


def test_what_was_told_before_the_kill_is_not_told_again(tmp_path: Path) -> None:
    with WebReceiver() as receiver:
        command = [sys.executable, "-m", storming_alerter.__name__, str(tmp_path), receiver.url, "1"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            until(lambda: len(receiver.posts) == 1 and nothing_waits(tmp_path), 10)
            process.kill()
        alerter = an_alerter(tmp_path, {"alert_webhook_url": receiver.url}, webhook={"enabled": True})
        alerter.start()
        alerter.stop(2)
        assert len(receiver.posts) == 1
