"""Alerts as they may be told and kept: without secrets, on one line each, bounded, in sendable characters."""

from __future__ import annotations

from dataclasses import replace

from bn_ml.domain.alerts import Alert
from bn_ml.redaction import Redactor
from monitoring.alert_text import clipped

LONGEST_KEY, LONGEST_TITLE, LONGEST_SENTENCE = 120, 400, 400
LONGEST_CLEANED = 20_000


def cleaned(alert: Alert, redactor: Redactor) -> Alert:
    """Give an alert without secrets, line breaks and what no channel can carry, and not too long."""
    return replace(
        alert,
        key=_text(alert.key, redactor, LONGEST_KEY),
        title=_text(alert.title, redactor, LONGEST_TITLE),
        why=_text(alert.why, redactor, LONGEST_SENTENCE),
        next_action=_text(alert.next_action, redactor, LONGEST_SENTENCE),
    )


def _text(text: str, redactor: Redactor, longest: int) -> str:
    if len(text) > LONGEST_CLEANED:
        # No text, however long, may cost the loop time; cut between words, so that no half of a secret is left.
        text = text[:LONGEST_CLEANED].rpartition(" ")[0]
    sendable = text.encode("utf-8", "replace").decode()
    return clipped(redactor.clean(sendable), longest)
