"""Makes the control state stricter, never looser: what the money path does by itself when something is wrong."""

from __future__ import annotations

import logging

from bn_ml.control import is_tighter
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import ControlChanged
from trader.desk import Desk

log = logging.getLogger(__name__)


def tighten(desk: Desk, state: ControlState, reason: str, set_by: str) -> bool:
    """Commit a stricter control state and tell of it; False, and no change, when the present one is as strict."""
    now = desk.clock.now()
    with desk.store.transaction():
        # Read behind the lock of the transaction: another process may have halted the bot a moment ago.
        if not is_tighter(state, desk.store.control().state):
            return False
        changed = desk.store.set_control(state, reason, set_by, now)
        desk.journal.emit(ControlChanged(now, changed.state.value, changed.reason, changed.set_by, changed.epoch))
    level = logging.CRITICAL if state is ControlState.HALTED else logging.WARNING
    desk.store.on_commit(lambda: log.log(level, "%s: %s", state.value, reason))
    return True
