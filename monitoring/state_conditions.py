"""Conditions that last, read from the book by the alert thread: what no single fact tells.

An order nobody can account for, a position without its stop, synthetic prices where real ones were asked for, and a
control state that another process committed. Reading never disturbs the writer; a book that cannot be read at present
is read again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import Symbol, from_iso
from bn_ml.domain.orders import IntentRecord, IntentState
from bn_ml.errors import StateError
from bn_ml.state_reader import StateReader
from monitoring.alert_text import duration
from monitoring.alert_words import control_alerts

log = logging.getLogger(__name__)

UNKNOWN_S = 60.0
UNPROTECTED_S = 10.0
SYNTHETIC_SOURCES = ("synthetic_fallback",)


class StateConditions:
    """Gives an alert when a condition begins and one that ends it; used by one thread, `note_control` by any."""

    def __init__(self, reader: StateReader) -> None:
        """Begin without knowing anything of the book."""
        self._reader = reader
        self._open: dict[str, str] = {}
        self._epoch = -1
        self._epoch_seen = -1
        self._state = ""
        self._began: datetime | None = None

    def note_control(self, epoch: int, state: str, at: datetime) -> None:
        """Say which control state was told of already; the first one, of the bot's own start, lets the looks begin."""
        self._began = self._began or at
        self._epoch, self._state = max(self._epoch, epoch), state

    def alerts(self, now: datetime) -> Sequence[Alert]:
        """Look at the book once; nothing before the bot has begun to use it."""
        if self._began is None:
            return ()
        found: list[Alert] = []
        looks: tuple[Callable[[datetime], Mapping[str, Alert]], ...] = (
            self._unknown_orders,
            self._unprotected,
            self._synthetic,
        )
        try:
            found.extend(self._control())
            present = {key: alert for look in looks for key, alert in look(now).items()}
        except StateError as error:
            log.debug("conditions not read: %s", error)
            return found
        for key in [key for key in self._open if key not in present]:
            found.append(Alert(now, AlertLevel.INFO, key, self._open.pop(key), ends=True))
        for key, alert in present.items():
            if key not in self._open:
                self._open[key] = f"over: {alert.title}"
                found.append(alert)
        return found

    def _control(self) -> Sequence[Alert]:
        """Tell of a control state that no fact of this process told of, once two looks in a row saw it."""
        control = self._reader.control()
        if control.epoch <= self._epoch:
            return ()
        if control.epoch != self._epoch_seen:
            self._epoch_seen = control.epoch
            return ()
        state = control.state.value
        changed = state != self._state
        self.note_control(control.epoch, state, control.since)
        if not changed:
            return ()
        return control_alerts(control.since, state, control.reason, control.set_by)

    def _unknown_orders(self, now: datetime) -> Mapping[str, Alert]:
        doubtful = [item for item in self._reader.open_orders() if item.state is IntentState.UNKNOWN]
        old = [item for item in doubtful if (now - item.intent.created_at).total_seconds() > UNKNOWN_S]
        return {f"unknown_order:{item.intent.client_id}": _unknown(item, now) for item in old}

    def _unprotected(self, now: datetime) -> Mapping[str, Alert]:
        kept = self._reader.kv("unprotected")
        since_text = kept.get("since") if isinstance(kept, Mapping) else None
        if not isinstance(since_text, str):
            return {}
        # What an earlier life left there counts from this life's beginning, as the bot itself counts.
        since = max(from_iso(since_text), self._began or now)
        lasted_s = (now - since).total_seconds()
        if lasted_s <= UNPROTECTED_S:
            return {}
        title = f"unprotected position {duration(lasted_s)}"
        fix = "the bot sells it after 30 s; now: bnml-kill-switch"
        return {"unprotected": Alert(now, AlertLevel.CRITICAL, "unprotected", title, "no resting stop", fix)}

    def _synthetic(self, now: datetime) -> Mapping[str, Alert]:
        cycles = self._reader.cycles(limit=1)
        source = cycles[-1].data.get("data_source") if cycles else ""
        if source not in SYNTHETIC_SOURCES:
            return {}
        title = "synthetic prices: the real source is down"
        why = "data.allow_synthetic_fallback is on; nothing of this counts as evidence"
        key = "synthetic_fallback"
        return {key: Alert(now, AlertLevel.WARNING, key, title, why, "bnml-doctor check names what is unreachable")}


def _unknown(item: IntentRecord, now: datetime) -> Alert:
    intent = item.intent
    symbol: Symbol = intent.symbol
    age_s = (now - intent.created_at).total_seconds()
    title = f"unknown order {symbol} {intent.side.value} {intent.purpose.value} {duration(age_s)}"
    why = f"{intent.client_id}: {item.reason or 'no clear answer'}"
    fix = "the bot asks until it is clear and makes no entries; look at the exchange's open orders"
    return Alert(now, AlertLevel.CRITICAL, f"unknown_order:{intent.client_id}", title, why, fix, symbol)
