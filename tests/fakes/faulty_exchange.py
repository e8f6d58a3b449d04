"""The real exchange behind a line that fails on purpose, and deaths of the process at any call or commit."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, OrderIntent, OrderReport, Replacement
from bn_ml.errors import OutcomeUnknown, Refused, Transient
from bn_ml.ports import Exchange
from bn_ml.state_store import StateStore

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone; no code may catch it."""


class Fault(Enum):
    """What goes wrong with one call."""

    NONE = "none"
    LOST = "lost before it arrived"
    UNHEARD = "done, but the answer was lost"
    TRANSIENT = "a read failed"
    REFUSED = "refused"
    LAG = "the order is not found yet"
    KILL = "killed before the call"
    KILL_AFTER = "killed after the call"


WRITES = {"create_order", "create_oco", "replace_order", "cancel_order"}
Hook = Callable[[str, tuple[str, ...]], None]


class Faults:
    """Which calls and commits fail: by script (per method, in order), or by a seeded draw while `rate` > 0.

    It outlives restarts, and counts every order sent.
    """

    def __init__(self, seed: int = 0) -> None:
        self._generator = np.random.default_rng(seed)
        self._script: dict[str, deque[Fault]] = {}
        self.rate = 0.0
        self.kill_rate = 0.0
        self.kill_at_commit: int | None = None
        self.kill_after_commit = False
        self.commits = 0
        self.kills = 0
        self.sent: Counter[str] = Counter()
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.before_call: Hook = lambda method, client_ids: None
        self.is_young: Callable[[str], bool] = lambda client_id: False

    def next(self, method: str, *faults: Fault) -> None:
        """Let the next calls of a method fail in these ways."""
        self._script.setdefault(method, deque()).extend(faults)

    def heal(self) -> None:
        """No more faults."""
        self._script.clear()
        self.rate = self.kill_rate = 0.0
        self.kill_at_commit = None

    def of(self, method: str, client_ids: tuple[str, ...] = ()) -> Fault:
        """Give the fault of this call. Drawn lags end: only a young order is not found."""
        script = self._script.get(method)
        if script:
            return script.popleft()
        if self.rate <= 0 and self.kill_rate <= 0:
            return Fault.NONE
        draw, kind = self._generator.random(), int(self._generator.integers(3))
        if draw < self.kill_rate:
            return (Fault.KILL, Fault.KILL_AFTER)[kind % 2]
        if draw > self.kill_rate + self.rate:
            return Fault.NONE
        if method in WRITES:
            return (Fault.LOST, Fault.UNHEARD, Fault.REFUSED if method != "cancel_order" else Fault.LOST)[kind]
        lags = method == "order_status" and kind > 0 and self.is_young(client_ids[0])
        return Fault.LAG if lags else Fault.TRANSIENT

    def on_commit(self, commit: Callable[[], T]) -> T:
        """Run a commit, dying before or after it when it is due."""
        self.commits += 1
        due = self.commits == self.kill_at_commit
        if not due and self.kill_rate > 0:
            due = bool(self._generator.random() < self.kill_rate / 10)
            self.kill_after_commit = bool(self._generator.integers(2))
        if due and not self.kill_after_commit:
            self.die()
        done = commit()
        if due:
            self.die()
        return done

    def die(self) -> None:
        self.kills += 1
        raise Killed


class FaultyExchange:
    """The `Exchange` port over a real exchange and a bad line."""

    def __init__(self, real: Exchange, faults: Faults) -> None:
        self._real = real
        self._faults = faults

    def balances(self) -> Mapping[str, Balance]:
        return self._read("balances", (), self._real.balances)

    def create_order(self, intent: OrderIntent) -> OrderReport:
        return self._write("create_order", (intent.client_id,), lambda: self._real.create_order(intent))

    def create_oco(self, target: OrderIntent, stop: OrderIntent) -> tuple[OrderReport, OrderReport]:
        ids = (target.client_id, stop.client_id)
        return self._write("create_oco", ids, lambda: self._real.create_oco(target, stop))

    def order_status(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        return self._read("order_status", (client_id,), lambda: self._real.order_status(symbol, client_id))

    def cancel_order(self, symbol: Symbol, client_id: str) -> OrderReport | None:
        return self._write("cancel_order", (client_id,), lambda: self._real.cancel_order(symbol, client_id))

    def replace_order(self, client_id: str, intent: OrderIntent) -> Replacement:
        return self._write("replace_order", (intent.client_id,), lambda: self._real.replace_order(client_id, intent))

    def open_orders(self) -> Sequence[OrderReport]:
        return self._read("open_orders", (), self._real.open_orders)

    def trades(self, symbol: Symbol, since: datetime) -> Sequence[Fill]:
        return self._read("trades", (), lambda: self._real.trades(symbol, since))

    def _write(self, method: str, client_ids: tuple[str, ...], call: Callable[[], T]) -> T:
        fault = self._enter(method, client_ids)
        if method != "cancel_order":
            self._faults.sent.update(client_ids)
        if fault is Fault.LOST:
            raise OutcomeUnknown("timed out")
        if fault is Fault.REFUSED:
            raise Refused("Filter failure: NOTIONAL", -1013)
        answer = call()
        if fault is Fault.UNHEARD:
            raise OutcomeUnknown("connection reset")
        return self._leave(fault, answer)

    def _read(self, method: str, client_ids: tuple[str, ...], call: Callable[[], T]) -> T:
        fault = self._enter(method, client_ids)
        if fault is Fault.TRANSIENT:
            raise Transient("503")
        if fault is Fault.LAG:
            nothing: Any = None
            return nothing
        return self._leave(fault, call())

    def _enter(self, method: str, client_ids: tuple[str, ...]) -> Fault:
        self._faults.calls.append((method, client_ids))
        self._faults.before_call(method, client_ids)
        fault = self._faults.of(method, client_ids)
        if fault is Fault.KILL:
            self._faults.die()
        return fault

    def _leave(self, fault: Fault, answer: T) -> T:
        if fault is Fault.KILL_AFTER:
            self._faults.die()
        return answer


def with_deadly_commits(store: StateStore, faults: Faults) -> StateStore:
    """Let the store's commits, the exchange's own included, be survived or not as the faults say."""
    execute = store.session.execute

    def deadly(sql: str, parameters: Sequence[Any] = ()) -> Any:
        if sql == "COMMIT":
            return faults.on_commit(lambda: execute(sql, parameters))
        return execute(sql, parameters)

    store.session.execute = deadly  # type: ignore[method-assign]
    return store
