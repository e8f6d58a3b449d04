"""The way out of a halt: an operator says why trading may go on."""

from __future__ import annotations

from datetime import datetime

from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.events import ControlChanged
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.halting import FLATTEN_CAUSES, HaltMarker
from bn_ml.journal import Journal
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BookView, BookWatch
from scripts import cli
from scripts.kill_switch_parts import REPLAY, BookClock
from scripts.kill_switch_request import Request, require_mode
from trader.acceptance import accept_differences
from trader.protection import is_covered

BOOKS_DIFFER = ("unexplained_balance", "orphan_order")
"""Halts that end with the operator's word that the differences are not ours."""


def resume(request: Request, reason: str, *, as_json: bool) -> int:
    """Commit NORMAL; refuses while positions are half flattened. Raises `StateError` when the book cannot be used."""
    view = BookWatch(request.path).look()
    require_mode(request, view.identity)
    before = view.control
    if before.state is ControlState.NORMAL:
        return _show(before, before, as_json=as_json)
    half = [str(item.symbol) for item in view.positions if _is_half_sold(item, view)]
    if half:
        return cli.complain(
            f"{', '.join(half)}: partly flattened, without stops; run bnml-kill-switch until it is flat", cli.FAILED
        )
    now = BookClock(view.reached, in_the_past=view.data_source == REPLAY).now()
    store = StateStore(request.path)
    try:
        changed = _resumed(store, f"resumed: {reason}", now)
    finally:
        store.close()
    HaltMarker.beside(request.path).remove()
    return _show(before, changed, as_json=as_json)


def _resumed(store: StateStore, reason: str, now: datetime) -> Control:
    with store.transaction():
        if any(cause in store.control().reason for cause in BOOKS_DIFFER):
            accept_differences(store, now)
        changed = store.set_control(ControlState.NORMAL, reason, "operator", now)
        event = ControlChanged(now, changed.state.value, changed.reason, changed.set_by, changed.epoch)
        Journal(store).emit(event)
    return changed


def _is_half_sold(position: Position, view: BookView) -> bool:
    if not any(cause in view.control.reason for cause in FLATTEN_CAUSES):
        return False
    live = tuple(item for item in view.orders if item.intent.position_id == position.position_id)
    sold = any(leg.reason is ExitReason.KILL_SWITCH for leg in position.legs)
    return sold or not is_covered(position, live)


def _show(before: Control, changed: Control, *, as_json: bool) -> int:
    cli.show(
        {"before": before.state.value, "state": changed.state.value, "reason": changed.reason},
        as_json=as_json,
        text=f"{before.state.value} -> {changed.state.value}: {changed.reason}",
    )
    return cli.DONE
