"""The thread that makes backups while the bot trades: by the clock, after bundles have changed, and when asked."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from bn_ml.backup import Sources, Tell, make_backup
from bn_ml.backup_store import Backup, BackupsBusy, BackupStore
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import BackupFailed, BackupMade, BundleAdopted, Event
from bn_ml.domain.market import iso
from bn_ml.errors import StateError
from bn_ml.ports import AlertSink, Clock
from bn_ml.settings import Settings

log = logging.getLogger(__name__)

WAKE_S = 1.0
"""How often the thread beats and looks whether a backup is due."""

SETTLE_S = 600.0
"""How long after the last backup one that was asked for waits, so that many changed bundles share one."""

AGAIN_S = 300.0
"""How long after a failure the next attempt waits, at most."""

START_S = 60.0
"""How long after the start of the bot the first backup waits, at most."""


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """How backups stand. Instants are aware UTC, None for never; `count` is how many there are."""

    last_backup_at: datetime | None = None
    last_id: str = ""
    size_bytes: int = 0
    duration_s: float = 0.0
    count: int = 0
    last_attempt_at: datetime | None = None
    last_error: str = ""
    next_due_at: datetime | None = None

    def as_dict(self) -> dict[str, object]:
        """Give the plain values kept under `backup_status`."""
        return {
            "enabled": True,
            "last_backup_at": _text(self.last_backup_at),
            "last_id": self.last_id,
            "size_bytes": self.size_bytes,
            "duration_s": round(self.duration_s, 3),
            "count": self.count,
            "last_attempt_at": _text(self.last_attempt_at),
            "last_error": self.last_error,
            "next_due_at": _text(self.next_due_at),
        }


class BackupWorker:
    """Makes and rotates backups in a thread of its own; a failure is told by one alert until the next success.

    `request` and `emit` return at once and may be called from any thread, like `status` and `news`.
    """

    name = "backups"
    stale_after_s = 900.0

    def __init__(self, settings: Settings, clock: Clock, alerts: AlertSink, *, wake_s: float = WAKE_S) -> None:
        """Name everything; nothing runs before `start`."""
        wanted = settings.storage.backup
        self._sources = Sources.of(settings)
        self._store = BackupStore(wanted.base_dir)
        self._keep = (wanted.keep_last, wanted.keep_daily)
        self._interval_s = wanted.interval_minutes * 60.0
        self._clock = clock
        self._alerts = alerts
        self._wake_s = wake_s
        self._ending = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat = clock.monotonic()
        self._due = float("inf")
        self._asked_at: float | None = None
        self._status = BackupStatus()
        self._news: list[Event] = []
        self._guard = threading.Lock()

    def start(self) -> None:
        """Begin in a new thread, also where a stuck one lives on, which then keeps nothing and tells nothing.

        The first backup is due an interval after the newest one there is.
        """
        self._ending.set()
        self._ending = threading.Event()
        self._beat = self._clock.monotonic()
        self._thread = threading.Thread(target=self._run, args=(self._ending,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End, waiting `timeout_s` at most; a backup under way is given up and leaves nothing behind."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def beat_age_s(self) -> float:
        """Give the seconds since it last showed progress."""
        return self._clock.monotonic() - self._beat

    def request(self, why: str = "asked for") -> None:
        """Have a backup made soon: at once, or ten minutes after the last one."""
        if self._asked_at is None:
            log.debug("a backup is asked for reason=%s", why)
            self._asked_at = self._clock.monotonic()
            self._wake.set()

    def emit(self, event: Event) -> None:
        """Ask for a backup when a bundle has changed."""
        if isinstance(event, BundleAdopted):
            self.request(f"bundle of {event.symbol} adopted")

    def status(self) -> BackupStatus:
        """Give how backups stand at this moment."""
        return self._status

    def news(self) -> tuple[Event, ...]:
        """Give the facts since the last call, for the journal."""
        with self._guard:
            found, self._news = tuple(self._news), []
        return found

    def _run(self, ending: threading.Event) -> None:
        try:
            self._look_around()
            while not ending.is_set():
                self._tick(partial(self._breathe, ending))
                self._wake.wait(self._wake_s)
                self._wake.clear()
        except _Ended:
            log.debug("a backup was given up")
        except Exception:
            # The end of a thread: the supervisor sees it and begins anew.
            log.exception("the backups ended unexpectedly")

    def _tick(self, breathe: Tell) -> None:
        breathe()
        now = self._clock.monotonic()
        asked = self._asked_at is not None and now >= self._earliest()
        if now >= self._due or asked:
            self._asked_at = None
            self._attempt(breathe)

    def _earliest(self) -> float:
        """Give when a backup that was asked for may begin: at once where the last one is long enough ago."""
        made = self._due - self._interval_s
        return made + min(SETTLE_S, self._interval_s)

    def _attempt(self, breathe: Tell) -> None:
        at, started = self._clock.now(), self._clock.monotonic()
        log.debug("backup begins")
        try:
            made = make_backup(self._sources, self._store, at, breathe)
            self._rotate(made)
            breathe()
        except (StateError, OSError) as error:
            self._failed(at, error)
        else:
            self._succeeded(made, self._clock.monotonic() - started)

    def _rotate(self, made: Backup) -> None:
        keep_last, keep_daily = self._keep
        try:
            with self._store.writing():
                gone = self._store.prune(keep_last=keep_last, keep_daily=keep_daily, spare=made.backup_id)
        except BackupsBusy as error:
            log.debug("old backups are deleted next time: %s", error)
            return
        if gone:
            log.debug("old backups deleted ids=%s", ",".join(gone))

    def _succeeded(self, made: Backup, duration_s: float) -> None:
        at, size = made.manifest.made_at, made.manifest.size_bytes
        self._plan(self._interval_s)
        self._tell(BackupMade(at, made.backup_id, size, round(duration_s, 3)))
        if self._status.last_error:
            self._alerts.offer(Alert(at, AlertLevel.WARNING, self.name, f"Backup made: {made.backup_id}", ends=True))
        self._status = replace(
            self._status,
            last_backup_at=at,
            last_id=made.backup_id,
            size_bytes=size,
            duration_s=duration_s,
            count=len(self._store.backups()),
            last_attempt_at=at,
            last_error="",
        )

    def _failed(self, at: datetime, error: StateError | OSError) -> None:
        self._plan(min(AGAIN_S, self._interval_s))
        if isinstance(error, BackupsBusy):
            log.info("backup put off: %s", error)
            return
        log.warning("backup failed: %s", error)
        self._tell(BackupFailed(at, str(error)))
        newest = self._status.last_backup_at
        why = f"{error}. The newest backup is of {iso(newest)}." if newest else f"{error}. There is no backup yet."
        fix = "Run bnml-doctor backups create to see it yourself; trading goes on meanwhile."
        self._alerts.offer(Alert(at, AlertLevel.WARNING, self.name, "Backup failed", why, fix))
        self._status = replace(self._status, last_attempt_at=at, last_error=str(error))

    def _look_around(self) -> None:
        """Continue where the backups on disk end: a restart makes none before its time."""
        now = self._clock.now()
        try:
            backups = self._store.backups()
        except StateError as error:
            self._failed(now, error)
            return
        newest = backups[-1] if backups else None
        wait_s = min(START_S, self._interval_s)
        if newest is not None:
            age_s = (now - newest.manifest.made_at).total_seconds()
            # One from the future says that a clock was wrong, nothing about when the last one was made.
            wait_s = max(self._interval_s - age_s, wait_s) if age_s >= 0 else wait_s
            self._status = replace(
                self._status,
                last_backup_at=newest.manifest.made_at,
                last_id=newest.backup_id,
                size_bytes=newest.manifest.size_bytes,
                count=len(backups),
            )
        self._plan(wait_s)

    def _plan(self, wait_s: float) -> None:
        self._due = self._clock.monotonic() + wait_s
        self._status = replace(self._status, next_due_at=self._clock.now() + timedelta(seconds=wait_s))

    def _tell(self, event: Event) -> None:
        with self._guard:
            self._news = [*self._news[-9:], event]

    def _breathe(self, ending: threading.Event) -> None:
        """Beat; ends the thread, whatever it is at, when it is told to."""
        if ending.is_set():
            raise _Ended
        self._beat = self._clock.monotonic()


class _Ended(Exception):
    """The thread was told to end."""


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else iso(instant)
