"""A disk that fails as the seed says, under the real store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bn_ml.database import explained
from bn_ml.errors import StateError
from bn_ml.state_store import StateStore
from tests.sim.faults import NOTHING, Fault

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

WRITES = ("INSERT", "UPDATE")


class FaultyDisk:
    """Stands before a session's `execute`: begins, writes and commits fail, and the world hears of commits."""

    def __init__(self, store: StateStore, world: SimWorld) -> None:
        self._world = world
        self._execute = store.session.execute
        self._fault: Fault = NOTHING
        self._wrote_intents = False
        store.session.execute = self.execute  # type: ignore[method-assign]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement, or fail."""
        if sql.startswith("BEGIN"):
            self._begin()
        elif sql.startswith("COMMIT"):
            return self._commit(sql)
        elif sql.startswith(WRITES):
            self._write(sql)
        return self._execute(sql, parameters)

    def _begin(self) -> None:
        self._world.step("begin")
        self._fault = self._world.faults.of_transaction()
        self._wrote_intents = False
        if self._fault.kind == "locked":
            raise _failed("database is locked")

    def _write(self, sql: str) -> None:
        self._wrote_intents |= sql.startswith("INSERT INTO intents")
        if self._fault.kind == "full":
            self._fault = NOTHING
            raise _failed("database or disk is full")

    def _commit(self, sql: str) -> Any:
        fault, self._fault = self._fault, NOTHING
        if fault.kind == "eio_before":
            self._execute("ROLLBACK")
            raise _failed("disk I/O error")
        done = self._execute(sql)
        self._world.committed(intents=self._wrote_intents)
        if fault.kind == "eio_after":
            # The commit is durable, but the process is told that it failed.
            raise _failed("disk I/O error")
        return done


def _failed(text: str) -> StateError:
    return explained(sqlite3.OperationalError(text), Path("the book"))
