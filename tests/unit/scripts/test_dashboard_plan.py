"""What the dashboard's process is started with, and that a taken port is no failure."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from bn_ml.settings import Settings
from scripts.dashboard_child import DashboardChild, DashboardFlags, DashboardPlan, dashboard_plan, without_secrets

SETTINGS = Settings.from_mapping({})


def a_plan(folder: Path, port: int = 8501, address: str = "127.0.0.1") -> DashboardPlan:
    flags = DashboardFlags(port=port, address=address)
    plan = dashboard_plan(SETTINGS, flags, {}, config="bot.yaml", logs=folder)
    assert plan is not None
    return plan


def test_flags_go_before_the_settings(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, 9001, "127.0.0.2")
    assert (plan.port, plan.address, plan.url) == (9001, "127.0.0.2", "http://127.0.0.2:9001")
    command = plan.command(77)
    assert command[3] == "77"
    assert command[-3:] == ("--", "--config", "bot.yaml")
    assert "--server.address=127.0.0.2" in command
    assert "--server.port=9001" in command


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    assert dashboard_plan(SETTINGS, DashboardFlags(off=True), {}, config="", logs=tmp_path) is None
    off = Settings.from_mapping({"monitoring": {"dashboard": {"auto_launch": False}}})
    assert dashboard_plan(off, DashboardFlags(), {}, config="", logs=tmp_path) is None


def test_the_child_gets_no_secret() -> None:
    given = {"PATH": "/bin", "BINANCE_API_KEY": "k" * 40, "BINANCE_API_SECRET": "s" * 40, "COPY": "s" * 40}
    assert without_secrets(given) == {"PATH": "/bin"}


def test_a_port_taken_by_another_program_is_told_and_nothing_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        child = DashboardChild(a_plan(tmp_path, int(taken.getsockname()[1])))
        child.start()
        assert child.is_alive()
        assert child.beat_age_s() == 0.0
        child.stop(1.0)
    assert "taken by another program" in caplog.text
    assert "--dashboard-port" in caplog.text
    assert not (tmp_path / "dashboard.log").exists()
