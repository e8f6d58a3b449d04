"""What was known when an entry was decided, kept until a while after the position is closed.

It is committed together with the entry's intent, so a fill found after a crash finds its stop, its targets and its
story again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.market import MarketRules
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore

KEPT = timedelta(days=7)
_PREFIX = "entry_plan/"


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """The plan behind one entry. `notes` are the fields users see in the trade row, as JSON."""

    position_id: str
    rules: MarketRules
    planned_loss_quote: Decimal
    atr_frac: float
    confidence: float
    score: float
    bundle_version: int | None
    data_source: str
    notes: str = "{}"


def written(notes: Mapping[str, object]) -> str:
    """Write the notes of a plan."""
    return json.dumps(notes, sort_keys=True)


def read_notes(plan: EntryPlan) -> dict[str, object]:
    """Read the notes of a plan."""
    return dict(json.loads(plan.notes))


def save_plan(store: StateStore, plan: EntryPlan, at: datetime) -> None:
    """Write a plan; call it inside the transaction that writes the intent."""
    store.put(_key(plan.position_id), to_plain(plan), at)


def load_plan(store: StateStore, position_id: str) -> EntryPlan:
    """Read a plan back; raises `StateError` when it is missing, since no entry exists without one."""
    kept = store.get(_key(position_id))
    if kept is None:
        raise StateError(f"no entry plan for position {position_id}")
    return from_plain(EntryPlan, kept)


def forget_plans(store: StateStore, now: datetime) -> int:
    """Delete plans older than a week whose position is not open and whose orders are all finished; count them."""
    needed = {position.position_id for position in store.open_positions()}
    needed.update(record.intent.position_id for record in store.open_intents())
    return store.forget(_PREFIX, before=now - KEPT, keep={_key(position_id) for position_id in needed})


def _key(position_id: str) -> str:
    return f"{_PREFIX}{position_id}"
