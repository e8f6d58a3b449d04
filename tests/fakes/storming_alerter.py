"""A program that only tells alerts: a storm of them, each acknowledged on its output once `offer` has returned.

Called with a folder, the address of a webhook, how many alerts and whether to end by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bn_ml.clock import SystemClock
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.env import Secrets
from bn_ml.settings_ops import AlertingSettings
from monitoring.alerter import Alerter, AlertSource

LEVELS = (AlertLevel.CRITICAL, AlertLevel.WARNING, AlertLevel.INFO, AlertLevel.CRITICAL)


def main(folder: str, url: str, count: str) -> None:
    settings = AlertingSettings.model_validate({"webhook": {"enabled": True}, "timeout_sec": 0.5})
    clock = SystemClock()
    source = AlertSource(Path(folder) / "bn_ml.db", "PAPER", "USDC", watches=False)
    alerter = Alerter(settings, Secrets(alert_webhook_url=url), clock, source)
    alerter.start()
    for number in range(int(count)):
        level = LEVELS[number % 4]
        alerter.offer(Alert(clock.now(), level, f"storm:{number}", f"trouble {number}"))
        sys.stdout.write(f"{number} {level.name}\n")
        sys.stdout.flush()
    clock.sleep_until(clock.now().replace(year=9999))


if __name__ == "__main__":
    main(*sys.argv[1:])
