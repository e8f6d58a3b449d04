"""Sends the signed requests of an account: paced by weight, silent during bans, reads repeated, orders never."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from bn_ml.domain.market import iso, to_ms
from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused, StateError, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer, NoAnswer, Transport
from bn_ml.order_answers import CLOCK_REFUSED, STAY_AWAY, read, venue_refusal
from bn_ml.outage import OutageWatch
from bn_ml.patience import Failure, Patience
from bn_ml.ports import Clock
from bn_ml.settings import ExchangeSettings
from bn_ml.venue_clock import VenueClock
from bn_ml.weight import ORDER_SHARE, WeightMeter, retry_after_s

log = logging.getLogger(__name__)

USED_WEIGHT = "x-mbx-used-weight-1m"
Params = Mapping[str, str]
Value = TypeVar("Value")


class BanMemory(Protocol):
    """Keeps the end of a ban over restarts; used by the thread that calls the exchange."""

    def remember(self, until: datetime) -> None:
        """Keep the end of a ban; raises `StateError` when it cannot."""

    def recall(self) -> datetime | None:
        """Give the kept end, None when there is none."""


class NoBanMemory:
    """Forgets bans with the process."""

    def remember(self, until: datetime) -> None:
        """Keep nothing."""

    def recall(self) -> datetime | None:
        """Know of no ban."""
        return None


def order_weight(settings: ExchangeSettings, clock: Clock) -> WeightMeter:
    """Give the meter of a process that sends orders: scans share it, but part of it is for orders alone."""
    return WeightMeter(clock, settings.weight_budget_pct, kept_back=ORDER_SHARE)


class AccountCalls:
    """One account's requests; for one thread."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        settings: ExchangeSettings,
        *,
        weight: WeightMeter | None = None,
        bans: BanMemory | None = None,
    ) -> None:
        """Nothing is sent yet. A `VenueClock` as clock is kept right by these calls; a ban remembered goes on."""
        self._transport = transport
        self._clock = clock
        self._settings = settings
        self._bans = bans or NoBanMemory()
        self.patience = Patience(clock, settings)
        self.weight = weight or order_weight(settings, clock)
        self._outage = OutageWatch(clock, self._ping)
        self.window = timedelta(milliseconds=settings.recv_window_ms)
        self._remembered = self._bans.recall()
        if self._remembered is not None:
            self.weight.ban(self._remembered)

    def write(self, method: str, path: str, params: Params, *, until: datetime | None = None) -> HttpAnswer:
        """Send a state-changing request once and give the answer, unjudged.

        `until` is the last instant at which a request stamped in `params` may leave; without it the request is stamped
        now. Raises `Refused` (code 0) when nothing was sent: too late, banned, or no request weight in time. Raises
        `OutcomeUnknown` when no complete answer arrived.
        """
        now = self._clock.now()
        latest = until or now + self.window
        if now > latest:
            raise Refused(f"not sent: its receive window ended at {iso(latest)}")
        try:
            self.weight.spend_on_orders(1, patience=latest - now)
        except Unreachable as error:
            raise Refused(f"not sent: {error}") from error
        stamped = dict(params) if until else {**params, "timestamp": self._stamp()}
        sent_at = self._clock.now()
        try:
            answer = self._transport.request(method, path, stamped, signed=True)
        except NoAnswer as error:
            raise OutcomeUnknown(f"{method} {path}: {error}") from error
        self._heed(answer, sent_at)
        return answer

    def read(self, path: str, params: Params, weight: int) -> object:
        """Give the JSON of a signed read, repeated and raising as `read_judged` does."""
        return self.read_judged(path, params, weight, read)

    def read_judged(self, path: str, params: Params, weight: int, judge: Callable[[HttpAnswer], Value]) -> Value:
        """Give what `judge` makes of a signed read's answer; what it calls `Transient` is asked for again.

        Repeated within the settings and within one time-out, at a start as its patience has it. Raises `Transient`,
        `Unreachable`, `NotKnown` or `ExchangeError`.
        """
        self._outage.require()
        began, attempt = self._clock.monotonic(), 0
        while True:
            try:
                value = judge(self.ask(path, params, weight))
            except Transient as error:
                self._wait(Failure(error, attempt, self._clock.monotonic() - began, self.weight.banned_until))
                attempt += 1
            except ExchangeError:
                self._outage.answered()
                raise
            else:
                self._outage.answered()
                return value

    def ask(self, path: str, params: Params, weight: int, *, signed: bool = True) -> HttpAnswer:
        """Send one read once and give the answer, unjudged; raises `Transient` or `Unreachable`."""
        patience = timedelta(milliseconds=self._settings.timeout_ms)
        self.weight.spend_on_orders(weight, patience=patience)
        stamped = {**params, "timestamp": self._stamp()} if signed else dict(params)
        sent_at = self._clock.now()
        try:
            answer = self._transport.request("GET", path, stamped, signed=signed)
        except NoAnswer as error:
            raise Transient(f"GET {path}: {error}") from error
        self._heed(answer, sent_at)
        return answer

    def server_time_ms(self) -> int:
        """Ask the venue for its time, once; ms since 1970. Raises `Transient` or another `ExchangeError`."""
        value = read(self.ask("/api/v3/time", {}, 1, signed=False))
        told = value.get("serverTime") if isinstance(value, Mapping) else None
        if type(told) is not int or told <= 0:
            raise Transient(f"no server time in {str(value)[:80]!r}")
        return told

    def banned_until(self) -> datetime | None:
        """Give the end of the venue's last ban, kept over restarts from here on, one a scan was told of included."""
        self._remember_ban()
        return self.weight.banned_until

    def keep_time(self) -> bool:
        """Measure the venue's time if that is due; tells whether the clock can be relied on."""
        return self._clock.keep(self.server_time_ms) if isinstance(self._clock, VenueClock) else True

    def _wait(self, failure: Failure) -> None:
        """Wait before a read is repeated; raises its error, and counts it as failed, when it is given up."""
        try:
            self.patience.wait(failure, within_s=self._settings.timeout_ms / 1000)
        except Transient:
            if not isinstance(failure.error, Unreachable):
                self._outage.failed()
            raise

    def _stamp(self) -> str:
        return str(to_ms(self._clock.now()))

    def _ping(self) -> None:
        read(self.ask("/api/v3/ping", {}, 1, signed=False))

    def _heed(self, answer: HttpAnswer, sent_at: datetime) -> None:
        """Take from an answer what it means for the next request: weight used, a ban, a clock that is off."""
        self.weight.observe(answer.headers.get(USED_WEIGHT, ""), sent_at)
        if answer.status in STAY_AWAY:
            wait_s = retry_after_s(answer.headers.get("retry-after", ""))
            self.weight.ban(self._clock.now() + timedelta(seconds=wait_s))
            log.warning("the exchange asks to stay away status=%s wait_s=%g", answer.status, wait_s)
        self._remember_ban()
        if answer.status == 400 and isinstance(self._clock, VenueClock):
            refusal = venue_refusal(answer)
            if refusal is not None and refusal.code == CLOCK_REFUSED:
                self._clock.distrust()
                self._clock.keep(self.server_time_ms)

    def _remember_ban(self) -> None:
        """Keep a ban over restarts, one that a scan was told of included."""
        until = self.weight.banned_until
        if until is not None and until != self._remembered:
            self._remembered = until
            try:
                self._bans.remember(until)
            except StateError as error:
                # The ban holds in this process all the same, and the answer at hand must not be lost.
                log.error("the end of a ban could not be kept until=%s error=%s", iso(until), error)
