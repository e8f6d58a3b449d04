"""One pull of the kill switch: commit the halt, let the running bot do the rest or take its place, look until flat."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.account import Control
from bn_ml.domain.market import Symbol
from bn_ml.errors import BnMlError, ConfigError, ExchangeError, LockHeld, StateError
from bn_ml.halting import commit_halt, is_busy, is_outdated
from bn_ml.lock_takeover import end_holder, holder_state
from bn_ml.plain_transport import plain_transport
from bn_ml.processes import ProcessState
from bn_ml.state_store import StateStore
from bn_ml.state_watch import BookView, BookWatch
from scripts.kill_switch_emergency import flatten_without_book
from scripts.kill_switch_parts import REPLAY, BookClock, open_line, resting
from scripts.kill_switch_request import PAPER, Outcome, Request, require_mode
from scripts.kill_switch_takeover import Takeover
from trader.kill_switch import (
    NOT_FLAT,
    Holdings,
    Sign,
    SymbolResult,
    Verdict,
    Watch,
    exit_code,
    holdings,
    symbol_results,
)

log = logging.getLogger(__name__)

GLANCE = timedelta(milliseconds=100)
PROBE_AFTER_S = 3.0
LOOKS, LAG = 3, timedelta(seconds=1)
"""How often, and how far apart, the exchange is asked for orders that the running bot says have ended."""


class Pull:
    """Pulls once. Nothing but `ConfigError` leaves it: every other trouble ends in an outcome."""

    def __init__(self, request: Request) -> None:
        """Nothing is touched yet."""
        self._request = request
        self._clock = SystemClock()
        self._until_s = self._clock.monotonic() + request.timeout_s
        self._lock = ProcessLock(request.path)
        self._book = BookWatch(request.path)

    def run(self) -> Outcome:
        """Do it; raises `ConfigError` when the book is not of the mode that was named."""
        try:
            before, control = self._halted()
        except LockHeld as error:
            return Outcome(NOT_FLAT, notes=(str(error),))
        except StateError as error:
            return self._without_book(error)
        log.critical("kill switch pulled scope=%s by=%s", self._request.symbol or "all", self._request.by)
        try:
            return self._flatten(before, control)
        except LockHeld as error:
            return self._told(before, done_by="nobody", notes=(str(error),))
        except StateError as error:
            return self._without_book(error)

    def _upgrade(self) -> None:
        """Bring a book that an older program left to the present schema; a bot still on it is ended for that."""
        if is_outdated(self._request.path):
            if self._lock.is_held():
                self._end_bot("its program is older than its book's reader")
            with self._lock.acquire(self._clock.now()):
                StateStore(self._request.path).close()

    def _halted(self) -> tuple[BookView, Control]:
        """Commit the halt as soon as the book can be written; gives the book before it, and the halt."""
        request, began_s = self._request, self._clock.monotonic()
        while True:
            try:
                self._upgrade()
                before = self._book.look()
                require_mode(request, before.identity)
                at = BookClock(before.reached, in_the_past=before.data_source == REPLAY).now()
                return before, commit_halt(request.path, request.by, at, symbol=request.symbol)
            except StateError as error:
                if not is_busy(error):
                    raise
                self._make_way(error, began_s)

    def _make_way(self, error: StateError, began_s: float) -> None:
        """End a bot that keeps the book locked and stands still; a foreign writer is waited for while there is time."""
        now_s, held = self._clock.monotonic(), self._lock.is_held()
        stands = held and holder_state(self._lock) is not ProcessState.RUNNING
        if stands or (held and now_s - began_s >= self._request.patience_s):
            self._end_bot("it keeps the book locked")
        elif now_s >= self._until_s - (self._request.timeout_s / 2 if self._request.yes else 0):
            raise error
        else:
            log.warning("the book is being written to, trying again: %s", error)

    def _flatten(self, before: BookView, control: Control) -> Outcome:
        while True:
            if self._lock.is_held():
                holder = self._lock.holder()
                verdict = self._follow(control)
                if verdict is Verdict.DONE:
                    return self._checked(self._told(before, done_by=f"the running bot (process {holder.pid})"), before)
                if verdict is Verdict.GIVE_UP:
                    return self._told(before, done_by="nobody", notes=("the running bot is still at it; look again",))
                if self._lock.is_held():
                    self._end_bot("it does not do what it was told")
            if self._is_mine():
                break
        try:
            why, notes = Takeover(self._request, self._until_s).run(before)
        finally:
            self._lock.release()
        return self._told(before, done_by="the kill switch", why=why, notes=notes)

    def _checked(self, outcome: Outcome, before: BookView) -> Outcome:
        """Look at the exchange whether what the running bot says is so; an order just ended may still be shown once."""
        if before.identity is None or before.identity.mode == PAPER:
            return outcome
        left: tuple[str, ...] = ()
        try:
            line = open_line(self._request.settings, self._request.environ)
            with closing(line.transport):
                for _ in range(LOOKS):
                    left = resting(line, before.identity, self._request.covers)
                    if not left:
                        return outcome
                    self._clock.sleep_until(self._clock.now() + LAG)
        except (ConfigError, ExchangeError) as error:
            return replace(outcome, notes=(*outcome.notes, f"not checked at the exchange: {error}"))
        return replace(outcome, code=NOT_FLAT, notes=(*outcome.notes, f"still open: {', '.join(left)}"))

    def _is_mine(self) -> bool:
        """Take the lock; False when a bot that was just started has it. Raises `LockHeld` when time is up."""
        try:
            self._lock.acquire(self._clock.now())
        except LockHeld:
            if self._clock.monotonic() >= self._until_s:
                raise
            return False
        return True

    def _follow(self, control: Control) -> Verdict:
        """Watch the running bot until it is flat, has to be replaced, or time is up."""
        now_s = self._clock.monotonic()
        first, patience_s = self._sign(), self._request.patience_s
        watch = Watch(first, control.epoch, now_s=now_s, until_s=self._until_s, patience_s=patience_s)
        quiet_since_s, mark = now_s, first.mark
        probed_s, reachable = now_s, True
        while True:
            sign, now_s = self._sign(), self._clock.monotonic()
            if sign.mark != mark:
                quiet_since_s, mark = now_s, sign.mark
            elif now_s - max(quiet_since_s, probed_s) >= PROBE_AFTER_S:
                probed_s, reachable = now_s, self._is_reachable()
            verdict = watch.judge(sign, now_s, reachable=reachable)
            if verdict is not Verdict.WAIT:
                return verdict
            self._clock.sleep_until(self._clock.now() + GLANCE)

    def _sign(self) -> Sign:
        view = self._book.look()
        held = self._holdings(view)
        seen = view.beat.get("epoch", 0)
        return Sign(
            process=holder_state(self._lock),
            beat=repr(sorted(view.beat.items())),
            epoch_seen=seen if isinstance(seen, int) else 0,
            mark=view.mark,
            is_flat=not held.positions and not held.orders,
        )

    def _is_reachable(self) -> bool:
        if self._is_paper():
            return True
        transport = plain_transport(self._request.hurried, "", "", self._clock)
        try:
            return transport.request("GET", "/api/v3/ping", {}, signed=False).status == 200
        except BnMlError:
            return False
        finally:
            transport.close()

    def _end_bot(self, why: str) -> None:
        state = holder_state(self._lock)
        holder = end_holder(self._lock, self._clock)
        log.critical("ended the bot process=%s state=%s reason=%s", holder.pid, state.value, why)

    def _told(
        self, before: BookView, *, done_by: str, why: Mapping[Symbol, str] | None = None, notes: Sequence[str] = ()
    ) -> Outcome:
        """Give what the book says was done since `before`."""
        view = self._book.look()
        after = self._holdings(view)
        earlier = self._holdings(before)
        fills = [fill for fill in self._book.fills_after(before.last_fill) if self._request.covers(fill.symbol)]
        finished = self._book.intents([record.intent.client_id for record in earlier.orders])
        results = symbol_results(earlier, after, fills=fills, finished=finished, why=why or {})
        code = exit_code(results, after)
        if code == NOT_FLAT and notes and not self._is_paper():
            results = tuple(_with_stops(item, after) for item in results)
        if self._request.symbol and not results:
            notes = (*notes, f"nothing of {self._request.symbol} was held or ordered")
        log.critical("kill switch ended exit=%s done_by=%s", code, done_by)
        return Outcome(code, results, view.control.state.value, done_by, tuple(notes))

    def _holdings(self, view: BookView) -> Holdings:
        return holdings(view, self._request.settings.base_quote, self._request.covers)

    def _without_book(self, error: StateError) -> Outcome:
        if self._is_paper(readable=False):
            return Outcome(NOT_FLAT, notes=(f"{error}", "a paper book holds nothing outside this file"))
        with self._alone() as problem:
            if problem:
                return Outcome(NOT_FLAT, notes=(str(error), problem))
            return flatten_without_book(self._request, error, self._clock, self._until_s)

    @contextmanager
    def _alone(self) -> Iterator[str]:
        """Hold the lock of the book, ending the bot that has it where that is allowed; gives what is in the way."""
        try:
            if self._request.yes and self._lock.is_held():
                self._end_bot("the book cannot be used")
            if self._request.yes:
                self._lock.acquire(self._clock.now())
        except StateError as error:
            yield str(error)
        else:
            yield ""
        finally:
            self._lock.release()

    def _is_paper(self, *, readable: bool = True) -> bool:
        identity = self._book.look().identity if readable else None
        return self._request.mode(identity) == PAPER


def _with_stops(result: SymbolResult, after: Holdings) -> SymbolResult:
    stops = sum(1 for item in after.orders if item.intent.symbol == result.symbol)
    return replace(result, why=f"{result.why}; {stops} resting orders protect it") if result.left else result
