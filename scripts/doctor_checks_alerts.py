"""Whether somebody would hear of trouble: which channels are on, and a test message by each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from bn_ml.settings import AlertingSettings
from monitoring.alert_channels import open_channels
from monitoring.alerter import Alerter, AlertSource
from scripts.doctor_findings import Check, Diagnosis, Status, bad, doubtful, good, told
from scripts.doctor_situation import Situation

PATIENCE_S = 2.5
"""How long a channel's server is waited for, seconds: less than a check may take."""
CHANNELS = ("webhook", "telegram", "email")


def checks(situation: Situation) -> list[Check]:
    """Give what is asked of the alert channels, each apart so that none keeps another waiting."""
    alerting = situation.settings.monitoring.alerting
    wanted = [name for name in CHANNELS if alerting.enabled and _is_on(alerting)[name]]
    if not wanted:
        return [Check("alerts", partial(silent, alerting))]
    return [Check(f"alerts by {name}", partial(channel, situation, name)) for name in wanted]


def silent(alerting: AlertingSettings) -> Iterator[Diagnosis]:
    """Tell that nobody would hear of trouble."""
    off = "no channel is enabled" if alerting.enabled else "monitoring.alerting.enabled is false"
    fix = "enable webhook, telegram or email in monitoring.alerting and set its variables in .env"
    yield doubtful("alerts", f"{off}, trouble is told in the log only", fix)


def channel(situation: Situation, name: str) -> Iterator[Diagnosis]:
    """Tell whether a channel can be opened and, unless that is not wanted, whether a test message went through."""
    title, settings = f"alerts by {name}", situation.settings
    alone = only(settings.monitoring.alerting, name)
    problems = open_channels(alone, situation.secrets, situation.clock).problems
    if problems:
        for _, problem in problems:
            fix = f"mend that, or set monitoring.alerting.{name}.enabled: false"
            yield told(title, Status.FAIL, problem, fix)
        return
    if not situation.test_alert:
        yield good(title, "configured, no test sent")
        return
    mode = "LIVE" if situation.is_live else "PAPER"
    source = AlertSource(book=situation.database, mode=mode, quote_asset=settings.base_quote)
    for outcome in Alerter(alone, situation.secrets, situation.clock, source).test():
        if outcome.ok:
            yield good(title, "a test message was sent")
        else:
            fix = f"mend monitoring.alerting.{name} and its variables in .env, then look again"
            yield bad(title, f"the test message failed: {outcome.problem}", fix)


def only(alerting: AlertingSettings, name: str) -> AlertingSettings:
    """Give the settings with one channel on and servers waited for briefly."""
    sections: Mapping[str, object] = {
        other: getattr(alerting, other).model_copy(update={"enabled": other == name}) for other in CHANNELS
    }
    return alerting.model_copy(update={**sections, "timeout_sec": min(alerting.timeout_sec, PATIENCE_S)})


def _is_on(alerting: AlertingSettings) -> Mapping[str, bool]:
    return {
        "webhook": alerting.webhook.enabled,
        "telegram": alerting.telegram.enabled,
        "email": alerting.email.enabled,
    }
