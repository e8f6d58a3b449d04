"""A ping to a watch service while the loop is well: what nobody pings any more raises the alarm elsewhere.

The only alert that still works when the process, the machine or its network is gone. It must stop when the loop is
stuck, so the ping is sent only while the loop's own beat is fresh.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bn_ml.http_answers import NoAnswer
from bn_ml.ports import Clock
from monitoring.outgoing_address import AddressRefused
from monitoring.outgoing_http import OutgoingHttp

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
FRESH_S = 120.0
TURN_S = 0.5


class DeadMan:
    """Pings one address on a thread of its own; does nothing without an address."""

    name = "dead-man"
    stale_after_s = 120.0

    def __init__(
        self,
        url: str,
        interval_s: float,
        clock: Clock,
        beat_age_s: Callable[[], float],
        *,
        fresh_s: float = FRESH_S,
    ) -> None:
        """`beat_age_s` gives the seconds since the loop was last well; older than `fresh_s` means no ping.

        An address that must not be used is told by `problem` and by one warning, not raised.
        """
        self.problem = ""
        self.pings = 0
        self._interval_s = interval_s
        self._clock = clock
        self._loop_age_s = beat_age_s
        self._fresh_s = fresh_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_s = float("-inf")
        self._fails = False
        self._http: OutgoingHttp | None = None
        if url:
            try:
                self._http = OutgoingHttp(url, clock, timeout_s=TIMEOUT_S)
            except AddressRefused as error:
                self.problem = str(error)

    @property
    def is_wanted(self) -> bool:
        """Whether there is an address to ping."""
        return self._http is not None

    def start(self) -> None:
        """Begin to ping, or begin again; harmless when it runs."""
        if self.problem:
            log.warning("no heartbeat is sent: BNML_HEARTBEAT_URL %s", self.problem)
        if self._http is None or self.is_alive():
            return
        self._beat_s = self._clock.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End within about `timeout_s`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        """Tell whether its thread runs, or none is needed."""
        return self._http is None or (self._thread is not None and self._thread.is_alive())

    def beat_age_s(self) -> float:
        """Give the seconds since its thread last turned; 0 when none is needed."""
        return 0.0 if self._http is None else self._clock.monotonic() - self._beat_s

    def _run(self, stop: threading.Event) -> None:
        due_s = float("-inf")
        while not stop.is_set():
            self._beat_s = now_s = self._clock.monotonic()
            if now_s >= due_s and self._loop_age_s() <= self._fresh_s:
                due_s = now_s + self._interval_s
                self._ping()
            stop.wait(min(TURN_S, self._interval_s / 4))

    def _ping(self) -> None:
        if self._http is None:
            return
        try:
            status = self._http.request("GET").status
            problem = "" if 200 <= status < 300 else f"{self._http.target.host} answered {status}"
        except (NoAnswer, AddressRefused) as error:
            problem = str(error)
        if problem and not self._fails:
            log.warning("heartbeat not accepted: %s", problem)
        self._fails = bool(problem)
        self.pings += not problem
