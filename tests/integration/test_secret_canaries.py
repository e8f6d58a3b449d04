"""Twelve secrets in the environment of real commands: none of them is found in anything that is written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOST = "http://127.0.0.1:9"
"""Nobody listens on the discard port: every channel fails, and failures are what gets logged."""

CANARIES = {
    "BINANCE_API_KEY": "canary-binance-key-4f1c",
    "BINANCE_API_SECRET": "canary-binance-secret-9a2d",
    "RUNPOD_API_KEY": "canary-runpod-key-77e0",
    "TELEGRAM_BOT_TOKEN": "123456789:canary-telegram-token-51bb",
    "TELEGRAM_CHAT_ID": "-1009188273645",
    "EMAIL_USERNAME": "canary-mail-user-c3d4@example.org",
    "EMAIL_PASSWORD": "canary-mail-password-e5f6",
    "BNML_ALERT_WEBHOOK_URL": f"{HOST}/hooks/canary-webhook-8b7a",
    "BNML_HEARTBEAT_URL": f"{HOST}/ping/canary-heartbeat-2c1f",
    "BNML_API_TOKEN": "canary-api-token-0123456789abcdef0123456789abcdef",
    "BNML_UPLOAD_URL": f"{HOST}/put/canary-upload-6d5e?X-Amz-Signature=canary-signature-f00d",
    "GRAFANA_ADMIN_PASSWORD": "canary-grafana-password-aa11",
}
TOLD = [*CANARIES.values(), "canary-"]
CONFIG = """
universe: {auto_train_missing: false}
monitoring:
  log_format: json
  alerting:
    timeout_sec: 0.5
    webhook: {enabled: true}
    telegram: {enabled: true}
    email: {enabled: true, from: bot@example.org, to: [desk@example.org], use_tls: false}
"""
COMMANDS = (
    ("run_bot", "--paper", "--market-data", "synthetic", "--max-cycles", "2", "--no-dashboard", "--log-level", "DEBUG"),
    ("doctor", "check", "--json"),
    ("doctor", "config", "--json"),
    ("doctor", "backups", "create", "--json"),
    ("check_dod_daily",),
    ("report", "--from-db", "--out", "report.html"),
    ("run_bot", "--live", "--once", "--log-level", "DEBUG"),
)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What every command printed and every file they left, as raw bytes; database files also as their text."""
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "configs").mkdir()
    (folder / "configs" / "bot.yaml").write_text(CONFIG, encoding="utf-8")
    environ = {**os.environ, **CANARIES, "EMAIL_SMTP_HOST": "127.0.0.1", "EMAIL_SMTP_PORT": "9", "HOME": str(folder)}
    environ |= {"PYTHONPATH": str(ROOT), "BNML_CONFIG_PATH": str(folder / "configs" / "bot.yaml")}
    found: dict[str, bytes] = {}
    for number, (name, *flags) in enumerate(COMMANDS):
        command = [sys.executable, "-m", f"scripts.{name}", *flags]
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, timeout=90, check=False)
        found[f"{number} {name}"] = done.stdout + done.stderr
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as connection:
                found[f"{path.name} as text"] = "\n".join(connection.iterdump()).encode()
    return found


def test_the_commands_really_ran_and_their_channels_really_failed(said: dict[str, bytes]) -> None:
    bot = said["0 run_bot"]
    assert bot.count(b"funnel scanned=7") == 2
    assert b"bot started" in bot
    assert any(name.endswith("bn_ml.db") for name in said)
    assert b"webhook" in said["artifacts/state/alerts.db"] + bot + b"".join(said.values())
    assert b"verdict" in said["report.json"]


@pytest.mark.parametrize("name", CANARIES)
def test_no_secret_is_found_anywhere(said: dict[str, bytes], name: str) -> None:
    secret = CANARIES[name].encode()
    assert [where for where, content in said.items() if secret in content] == []


def test_no_part_of_a_secret_address_is_found(said: dict[str, bytes]) -> None:
    assert [
        where for where, content in said.items() if b"canary-" in content.replace(b"test_secret_canaries", b"")
    ] == []
