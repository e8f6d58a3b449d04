"""Breakers and control states in words: how urgent each is and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.account import ControlState
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import BreakerTripped, ControlChanged

_CRITICAL_BREAKERS = frozenset({"breaker_daily_loss", "breaker_drawdown"})
_CRITICAL_CAUSES = frozenset({"missing_stop", "key_refused", "stall", "books_restored"})
"""Causes of REDUCE_ONLY that cannot wait, as the control state's reason writes them."""

_CODE = re.compile(r"(?:^|[,;] )([a-z][a-z_]*)(?=[:,; ]|$)")
_NEXT = {
    "missing_stop": "look at the position; bnml-kill-switch --symbol SYMBOL sells it",
    "key_refused": "check the key's rights on the exchange; bnml-doctor check --live",
    "stale_prices": "it clears by itself once prices come again; bnml-doctor check",
    "api_ban": "it clears when the ban ends; exits keep their share of the requests",
    "clock": "set the machine's clock (NTP); it clears by itself",
    "disk": "free disk space; it clears by itself",
    "rejected_orders": "bnml-doctor check compares sizes with the venue's filters",
    "worker_restarts": "read the log of the worker named there, then start the bot anew",
    "orphan_order": "compare with the exchange, then bnml-kill-switch --resume --reason TEXT",
    "unexplained_balance": "compare with the exchange, then bnml-kill-switch --resume --reason TEXT",
    "breaker_drawdown": "all is sold; bnml-kill-switch --resume --reason TEXT when you want to go on",
    "kill_switch": "bnml-kill-switch --status; --resume --reason TEXT when you want to go on",
}
_STATES = {
    ControlState.HALTED.value: "HALTED: no order but exits",
    ControlState.REDUCE_ONLY.value: "REDUCE_ONLY: no entries",
}


def control_alert(event: ControlChanged) -> Sequence[Alert]:
    """Give what a control state means for people; a return to NORMAL only ends what was told."""
    return control_alerts(event.at, event.state, event.reason, event.set_by)


def control_alerts(at: datetime, state: str, reason: str, set_by: str) -> Sequence[Alert]:
    """Give the alert of a control state in force and the ends of the others."""
    ends = [
        Alert(at, AlertLevel.INFO, f"control:{name}", f"now {state} ({reason})", ends=True)
        for name in _STATES
        if name != state
    ]
    if state not in _STATES:
        return tuple(ends)
    causes = _CODE.findall(reason)
    urgent = state == ControlState.HALTED.value or any(cause in _CRITICAL_CAUSES for cause in causes)
    level = AlertLevel.CRITICAL if urgent else AlertLevel.WARNING
    default = "bnml-kill-switch --status; --resume --reason TEXT when the cause is gone"
    advice = next((_NEXT[cause] for cause in causes if cause in _NEXT), default)
    return (*ends, Alert(at, level, f"control:{state}", _STATES[state], f"{reason} (set by {set_by})", advice))


def breaker_alert(event: BreakerTripped) -> Alert:
    """Give the alert of a breaker that stops entries."""
    level = AlertLevel.CRITICAL if event.breaker in _CRITICAL_BREAKERS else AlertLevel.WARNING
    why = f"{event.value:.4g} against a limit of {event.limit:.4g}"
    advice = "all is sold and trading waits for you" if event.breaker == "breaker_drawdown" else "exits go on"
    return Alert(event.at, level, f"breaker:{event.breaker}", f"{event.breaker}: no entries", why, advice)


def fixed(value: Decimal) -> str:
    """Write an amount without exponent or needless zeros.

    >>> fixed(Decimal("42000.00")), fixed(Decimal("1E+2"))
    ('42000', '100')
    """
    return format(value.normalize(), "f")


def signed(value: Decimal) -> str:
    """Write an amount with its sign, two places unless it is smaller.

    >>> signed(Decimal("1.234")), signed(Decimal("-0.00012"))
    ('+1.23', '-0.00012')
    """
    return f"{value:+.2f}" if abs(value) >= Decimal("0.01") or not value else f"{value.normalize():+f}"
