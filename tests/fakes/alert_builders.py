"""Alerts and what they are told with, with sensible defaults."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from bn_ml.clock import SystemClock
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.env import Secrets
from bn_ml.settings_ops import AlertingSettings
from monitoring.alert_channels import Opened
from monitoring.alerter import Alerter, AlertSource

START = datetime(2026, 3, 2, 10, 0, tzinfo=timezone.utc)
INFO, WARNING, CRITICAL = AlertLevel.INFO, AlertLevel.WARNING, AlertLevel.CRITICAL


class HandClock(SystemClock):
    """A clock whose instant is moved by hand, and whose intervals are real."""

    def __init__(self) -> None:
        super().__init__()
        self.instant = SystemClock.now(self)

    def now(self) -> datetime:
        return self.instant

    def pass_by(self, minutes: int, turn_s: float = 0.03) -> None:
        """Let so many minutes pass in half minutes, with real time between for threads to take notice."""
        for _ in range(2 * minutes):
            self.instant += timedelta(seconds=30)
            threading.Event().wait(turn_s)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def an_alert(key: str = "thing", level: AlertLevel = WARNING, **fields: Any) -> Alert:
    chosen = {"at": START, "title": f"title of {key}", **fields}
    return Alert(level=level, key=key, **chosen)


def an_end(key: str = "thing", title: str = "all is well") -> Alert:
    return Alert(START, INFO, key, title, ends=True)


def alerting(**changes: object) -> AlertingSettings:
    return AlertingSettings.model_validate(changes)


def an_alerter(
    folder: Path,
    secrets: Mapping[str, object] | None = None,
    *,
    opened: Opened | None = None,
    clock: Any = None,
    watches: bool = False,
    **changes: object,
) -> Alerter:
    given: Any = secrets or {}
    source = AlertSource(folder / "bn_ml.db", "PAPER", "USDC", watches=watches)
    return Alerter(alerting(**changes), Secrets(**given), clock or SystemClock(), source, opened=opened)
