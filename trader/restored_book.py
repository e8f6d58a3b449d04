"""The end of the halt after a backup was put in place: by itself once books and exchange are equal, else explained."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import datetime

from bn_ml.client_ids import PREFIX, instance_of
from bn_ml.codecs import from_plain
from bn_ml.domain.account import Control, ControlState
from bn_ml.domain.events import ControlChanged
from bn_ml.domain.market import Symbol
from bn_ml.errors import MarketDataError, OutcomeUnknown, Refused
from bn_ml.restore import BOOKS_RESTORED, OPERATOR, RECOVERY, RESTORED, Restoration
from trader.desk import Desk

log = logging.getLogger(__name__)

RECONCILIATION = "reconciliation"
_DIFFERS = " (it differs); "

BOOKS_EQUAL = "books_equal"
"""Who gave trading free again: the comparison that found no difference."""


def resume_when_equal(desk: Desk, now: datetime) -> bool:
    """Give back the control state from before the restore; call it when books and exchange are equal.

    Only for the halt that a person's restore asked for, unchanged since: another cause waits for a person. False, and
    no change, otherwise.
    """
    before = _resumes(desk)
    if before is None:
        return False
    is_free = before.state is ControlState.NORMAL
    reason = "books equal the exchange after a backup was restored" if is_free else before.reason
    _commit(desk, before.state, reason, BOOKS_EQUAL if is_free else before.set_by, now)
    log.warning("trading goes on after the restore state=%s reason=%s", before.state.value, reason)
    return True


def explain_halt(desk: Desk, reason: str, now: datetime) -> bool:
    """Add to the halt of a restored book what differs, so that a person's resume settles that too.

    A later table takes the place of the earlier one. False, and no change, when the halt has another cause, somebody
    else has tightened since, or it says so already.
    """
    control = desk.store.control()
    if not _is_asked_for(control) or control.set_by not in (OPERATOR, RECOVERY, RECONCILIATION):
        return False
    told = f"{control.reason.partition(_DIFFERS)[0]}{_DIFFERS}{reason}"
    if told == control.reason:
        return False
    _commit(desk, ControlState.HALTED, told, RECONCILIATION, now)
    log.critical("the restored book differs from the exchange: %s", reason)
    return True


def end_strays(desk: Desk, orphans: Collection[str]) -> bool:
    """Cancel the orders this very book gave after its backup; call it when orders are all that differs.

    Mostly stops that have been moved since: the restored book rests its own as soon as it may trade again. Nothing is
    cancelled while another halt is in force or a person has to decide. Gives whether anything was tried; raises
    `Transient` when the exchange cannot be read.
    """
    if _resumes(desk) is None:
        return False
    identity = desk.store.identity()
    ours = f"{PREFIX}-{instance_of(identity.text if identity else '')}-"
    strays = [item for item in desk.exchange.open_orders() if item.client_id in orphans]
    strays = [item for item in strays if item.client_id.startswith(ours)]
    for item in strays:
        log.warning("cancelling an order given after the backup symbol=%s client_id=%s", item.symbol, item.client_id)
        try:
            desk.exchange.cancel_order(item.symbol, item.client_id)
        except (Refused, OutcomeUnknown) as error:
            log.error("not cancelled symbol=%s client_id=%s reason=%s", item.symbol, item.client_id, error)
    return bool(strays)


def missing_since(desk: Desk) -> datetime | None:
    """Give the instant of the backup while a restored book is halted for it, else None."""
    if not _is_asked_for(desk.store.control()):
        return None
    kept = desk.store.get(RESTORED)
    return None if kept is None else from_plain(Restoration, kept).made_at


def symbols_bought(desk: Desk, assets: Iterable[str]) -> tuple[Symbol, ...]:
    """Give the symbols in which assets may have been bought for our quote asset, those the market lists."""
    quote = desk.settings.base_quote
    found: list[Symbol] = []
    for asset in assets:
        try:
            symbol = Symbol(f"{asset}/{quote}")
            desk.market.rules(symbol)
        except (ValueError, MarketDataError) as error:
            log.debug("not traded here asset=%s reason=%s", asset, error)
        else:
            found.append(symbol)
    return tuple(found)


def _resumes(desk: Desk) -> Control | None:
    """Give the control state that comes back when books are equal; None while anything else is in force."""
    control = desk.store.control()
    if not _is_asked_for(control) or control.set_by != OPERATOR:
        return None
    kept = desk.store.get(RESTORED)
    told = None if kept is None else from_plain(Restoration, kept)
    return told.resumes if told is not None and told.at == control.since else None


def _is_asked_for(control: Control) -> bool:
    return control.state is ControlState.HALTED and control.reason.startswith(BOOKS_RESTORED)


def _commit(desk: Desk, state: ControlState, reason: str, set_by: str, now: datetime) -> None:
    with desk.store.transaction():
        changed = desk.store.set_control(state, reason, set_by, now)
        desk.journal.emit(ControlChanged(now, changed.state.value, changed.reason, changed.set_by, changed.epoch))
