"""An operator's word that the present differences between books and account are known and not ours.

Given while trading stands still, carried out by the next check, which journals the table of what was accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bn_ml.codecs import from_plain, to_plain
from bn_ml.state_store import StateStore

ACCEPTANCE = "accept_differences"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """When the differences were accepted, and whether that has been carried out."""

    at: datetime
    done: bool = False


def accept_differences(store: StateStore, at: datetime) -> None:
    """Let the next check declare the differences it finds as foreign, and orders nobody knows as somebody else's."""
    store.put(ACCEPTANCE, to_plain(Acceptance(at)), at)


def is_accepted(store: StateStore) -> bool:
    """Whether differences were accepted and no check has carried that out yet."""
    kept = store.get(ACCEPTANCE)
    return kept is not None and not from_plain(Acceptance, kept).done


def acceptance_done(store: StateStore, at: datetime) -> None:
    """Note that the accepted differences are in the books."""
    store.put(ACCEPTANCE, to_plain(Acceptance(at, done=True)), at)
