"""Watches the workers beside the loop: one that died or is stuck is started again, within a budget.

It has a thread of its own, so that a loop that is busy or stuck delays nothing, and it never touches the books.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.ports import AlertSink, Clock, Worker
from monitoring.restart_budget import RestartBudget
from monitoring.thread_troubles import Trouble

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
STALE_LOOKS = 3
"""How many looks in a row must find a beat too old: right after a process was frozen every beat is."""
ENDING_S = 2.0
"""How long a worker gets to end before it is started again."""
HANGING_S = 30.0
"""How long stopping and starting a worker may take before the attempt counts as failed."""
SETTLED_S = 60.0
"""How long a worker must be well after a restart before its incident ends."""


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How one worker was at the last look. `beat_age_s` is infinite while it has shown no sign of life.

    `restarts` counts since the process began, `restarts_left` are those of the running hour. `is_spent` says that it is
    down and may not be started again for now.
    """

    name: str
    alive: bool
    beat_age_s: float
    restarts: int
    restarts_left: int
    is_spent: bool
    needed: bool
    last_error: str


@dataclass(slots=True)
class _Watched:
    """A worker and what is known of it; used by the supervisor's thread."""

    worker: Worker
    needed: bool
    budget: RestartBudget
    since_s: float = 0.0
    down_since_s: float | None = None
    stale_looks: int = 0
    restarts: int = 0
    last_error: str = ""
    attempt: threading.Thread | None = None
    is_incident: bool = False
    is_told_spent: bool = False
    crash: str = field(default="")


class Supervisor:
    """Starts, watches, starts again and stops workers; each is looked at twice a second.

    Nothing a worker does, raising and hanging included, keeps the others from being watched. `restarted` is told the
    name of each worker that is started again.
    """

    def __init__(
        self,
        clock: Clock,
        alerts: AlertSink,
        *,
        budget: Callable[[], RestartBudget] = RestartBudget,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """Tell `alerts` of restarts; `budget` gives each worker its own."""
        self.restarted: Callable[[str], None] = lambda name: None
        self._clock = clock
        self._alerts = alerts
        self._budget = budget
        self._look_every_s = look_every_s
        self._watched: list[_Watched] = []
        self._health: tuple[WorkerHealth, ...] = ()
        self._renewing = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, worker: Worker, *, needed: bool = True) -> None:
        """Take a worker over, before `start`; entries go on without one that is not `needed`."""
        self._watched.append(_Watched(worker, needed, self._budget()))

    def start(self) -> None:
        """Start every worker in the order they were named, then watch them."""
        for watched in self._watched:
            watched.since_s = self._clock.monotonic()
            try:
                watched.worker.start()
            except Exception as error:  # noqa: BLE001 - a worker that does not start is one that is down
                watched.crash = f"did not start: {type(error).__name__}: {error!s:.200}"
        self._look()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="supervisor", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Watch no longer and stop all workers at once, the first one named after the others.

        Takes `timeout_s` at most for the others and as much again for the first one.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        first, others = self._watched[:1], self._watched[1:]
        for group in (others, first):
            endings = [_aside(f"stop-{item.worker.name}", _ending(item.worker, timeout_s)) for item in group]
            until_s = self._clock.monotonic() + timeout_s
            for ending in endings:
                ending.join(max(until_s - self._clock.monotonic(), 0.0))

    def health(self) -> tuple[WorkerHealth, ...]:
        """Give how every worker was at the last look, half a second ago at most."""
        return self._health

    def restarts_spent(self) -> bool:
        """Tell whether a needed worker is down and may not be started again."""
        return not self._renewing.is_set() and any(item.is_spent and item.needed for item in self._health)

    def renew(self) -> None:
        """Give every worker its whole budget back: an operator said that it goes on."""
        self._renewing.set()

    def hear(self, trouble: Trouble) -> None:
        """Keep an uncaught exception as the cause of death of the worker whose thread it ended."""
        for watched in self._watched:
            if watched.worker.name == trouble.where:
                watched.crash = trouble.error

    def is_alive(self) -> bool:
        """Tell whether the watch itself goes on."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._look_every_s):
            try:
                self._look()
            except Exception:
                # A thread main: one bad look must not be the last one.
                log.exception("a look at the workers failed")

    def _look(self) -> None:
        renewing = self._renewing.is_set()
        self._health = tuple(self._looked_at(watched, renewing=renewing) for watched in self._watched)
        if renewing:
            self._renewing.clear()

    def _looked_at(self, watched: _Watched, *, renewing: bool) -> WorkerHealth:
        now_s = self._clock.monotonic()
        if renewing:
            watched.budget.renew()
            watched.is_told_spent = False
        alive, age_s, trouble = _state(watched.worker)
        trouble = trouble or self._stale(watched, now_s, age_s, is_alive=alive)
        if self._is_under_way(watched, now_s):
            trouble = ""
        elif trouble:
            self._down(watched, now_s, trouble)
        elif watched.stale_looks == 0:
            self._well(watched, now_s)
        is_down = watched.down_since_s is not None
        return WorkerHealth(
            name=watched.worker.name,
            alive=alive and not is_down,
            beat_age_s=age_s,
            restarts=watched.restarts,
            restarts_left=watched.budget.most - watched.budget.used(now_s),
            is_spent=is_down and watched.budget.is_spent(now_s),
            needed=watched.needed,
            last_error=watched.last_error,
        )

    def _stale(self, watched: _Watched, now_s: float, age_s: float, *, is_alive: bool) -> str:
        """Say that a living worker's beat has been too old for several looks; a start counts as a beat."""
        quiet_s = min(age_s, now_s - watched.since_s)
        if not is_alive or quiet_s <= watched.worker.stale_after_s:
            watched.stale_looks = 0
            return ""
        watched.stale_looks += 1
        if watched.stale_looks < STALE_LOOKS:
            return ""
        return f"stuck: no sign of life for {quiet_s:.0f} s"

    def _is_under_way(self, watched: _Watched, now_s: float) -> bool:
        """Tell whether the worker is being started again at this moment; an attempt that hangs is given up."""
        if watched.attempt is None:
            return False
        if watched.attempt.is_alive() and now_s - watched.since_s <= HANGING_S:
            return True
        if watched.attempt.is_alive():
            watched.crash = watched.crash or "hangs while it is being started again"
        watched.attempt = None
        return False

    def _down(self, watched: _Watched, now_s: float, trouble: str) -> None:
        if watched.down_since_s is None:
            watched.down_since_s = now_s
            watched.last_error = watched.crash or trouble
            watched.crash = ""
        if watched.budget.is_spent(now_s):
            self._tell_spent(watched)
        elif now_s - watched.down_since_s >= watched.budget.pause_s(now_s):
            watched.budget.take(now_s)
            watched.restarts += 1
            watched.since_s, watched.down_since_s, watched.stale_looks = now_s, None, 0
            self._tell_restart(watched, now_s)
            name = watched.worker.name
            watched.attempt = _aside(f"restart-{name}", lambda: _start_again(watched, self._stop))

    def _well(self, watched: _Watched, now_s: float) -> None:
        if watched.down_since_s is not None:
            watched.down_since_s, watched.since_s = None, now_s
        if watched.is_incident and now_s - watched.since_s >= SETTLED_S:
            watched.is_incident = watched.is_told_spent = False
            self._offer(watched, AlertLevel.WARNING, f"worker {watched.worker.name} runs again", ends=True)

    def _tell_restart(self, watched: _Watched, now_s: float) -> None:
        watched.is_incident = True
        used, most = watched.budget.used(now_s), watched.budget.most
        title = f"worker {watched.worker.name} is started again ({used} of {most} restarts this hour)"
        log.warning("%s cause=%r", title, watched.last_error)
        self._offer(watched, AlertLevel.WARNING, title)
        self.restarted(watched.worker.name)

    def _tell_spent(self, watched: _Watched) -> None:
        if watched.is_told_spent:
            return
        watched.is_told_spent = watched.is_incident = True
        title = f"worker {watched.worker.name} is down and its restarts are spent"
        log.error("%s cause=%r", title, watched.last_error)
        next_action = (
            "no entries meanwhile; mend the cause, then bnml-kill-switch --resume --reason TEXT"
            if watched.needed
            else "trading goes on without it; mend the cause and restart the bot"
        )
        level = AlertLevel.CRITICAL if watched.needed else AlertLevel.WARNING
        self._offer(watched, level, title, next_action=next_action)

    def _offer(
        self, watched: _Watched, level: AlertLevel, title: str, *, next_action: str = "", ends: bool = False
    ) -> None:
        self._alerts.offer(
            Alert(
                at=self._clock.now(),
                level=level,
                key=f"worker:{watched.worker.name}",
                title=title,
                why="" if ends else watched.last_error,
                next_action=next_action,
                ends=ends,
            )
        )


def _state(worker: Worker) -> tuple[bool, float, str]:
    """Give whether a worker lives, the age of its beat, and why it counts as down."""
    try:
        alive, age_s = worker.is_alive(), worker.beat_age_s()
    except Exception as error:  # noqa: BLE001 - a worker that cannot tell how it is counts as down
        return False, float("inf"), f"cannot tell how it is: {type(error).__name__}: {error!s:.200}"
    return alive, age_s, "" if alive else "its thread or process has ended"


def _start_again(watched: _Watched, stop: threading.Event) -> None:
    try:
        watched.worker.stop(ENDING_S)
    except Exception as error:  # noqa: BLE001 - whatever keeps a worker from ending, it is begun anew
        log.warning("a worker did not stop well worker=%s error=%r", watched.worker.name, error)
    if stop.is_set():
        return
    try:
        watched.worker.start()
    except Exception as error:  # noqa: BLE001 - the next look finds it down and counts the attempt
        watched.crash = f"did not start: {type(error).__name__}: {error!s:.200}"


def _ending(worker: Worker, timeout_s: float) -> Callable[[], None]:
    def end() -> None:
        try:
            worker.stop(timeout_s)
        except Exception as error:  # noqa: BLE001 - the process ends anyway
            log.warning("a worker did not stop well worker=%s error=%r", worker.name, error)

    return end


def _aside(name: str, work: Callable[[], None]) -> threading.Thread:
    """Do something that may hang in a thread of its own."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
