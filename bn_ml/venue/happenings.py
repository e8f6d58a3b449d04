"""What happened to orders, one entry per step, in order: what a venue tells its clients as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bn_ml.domain.orders import OrderStatus
from bn_ml.venue.orders import VenueOrder, VenueTrade


class Step(Enum):
    """Kinds of steps by the venue's own names; TRIGGERED (a stop that became active) is told as NEW."""

    NEW = "NEW"
    TRIGGERED = "TRIGGERED"
    TRADE = "TRADE"
    REPLACED = "REPLACED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    TRADE_PREVENTION = "TRADE_PREVENTION"


@dataclass(frozen=True, slots=True)
class OrderHappening:
    """One step of one order; `order` as it stood afterwards, `former_client_id` where a change gave it a new one."""

    step: Step
    order: VenueOrder
    at_ms: int
    trade: VenueTrade | None = None
    former_client_id: str = ""


def happening(before: VenueOrder | None, after: VenueOrder) -> OrderHappening | None:
    """Give the step that leads from one version of an order to the next; None for trades and inner changes."""
    step = _step(before, after)
    if step is None:
        return None
    renamed = before is not None and before.client_id != after.client_id
    return OrderHappening(
        step, after, after.updated_ms, former_client_id=before.client_id if renamed and before else ""
    )


def _step(before: VenueOrder | None, after: VenueOrder) -> Step | None:
    if before is None or (before.waits and after.status is OrderStatus.NEW):
        return Step.NEW
    if before.is_open and after.status is OrderStatus.CANCELED:
        return Step.CANCELED
    if before.is_open and after.status is OrderStatus.EXPIRED:
        return Step.TRADE_PREVENTION if after.prevented else Step.EXPIRED
    if after.triggered and not before.triggered:
        return Step.TRIGGERED
    return Step.REPLACED if after.amends > before.amends else None
