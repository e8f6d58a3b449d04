"""The one loop: adopt, account, manage, scan, enter, record. Paper, live and replay run this very loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from bn_ml.control import is_tighter
from bn_ml.domain.account import AccountState, Control, ControlState
from bn_ml.domain.events import BreakerCleared, BreakerTripped, ControlChanged, CycleFailed, CycleStarted, ScanFinished
from bn_ml.domain.market import Symbol, from_ms, to_ms
from bn_ml.domain.signals import Action, ScanReport
from bn_ml.errors import StateError, Transient
from bn_ml.ports import Background, OpportunitySource
from trader.account_keeper import AccountKeeper
from trader.breakers import BreakerStatus, Conditions, control_causes, demanded_state, entry_breakers
from trader.cycle_report import CycleReport, CycleTally
from trader.desk import Desk
from trader.entries import EntryMaker, free_disk_mb
from trader.exit_pass import ExitPass
from trader.order_manager import OrderManager
from trader.position_manager import PositionManager
from trader.price_age import PriceAge
from trader.reconciliation import Reconciler

log = logging.getLogger(__name__)

Stop = Callable[[], bool]
ENGINE = "engine"
MANAGE = "manage"
RECOVERY_PAUSES = (timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=5))
"""How long the start waits between attempts to recover; the last one repeats."""

GLANCE_EVERY = timedelta(seconds=1)
"""How often the wait between looks asks whether an operator has halted the bot or something needs a look at once."""

JUST_AFTER = timedelta(milliseconds=1)

PASSING_CAUSES = frozenset({"stale_prices", "api_ban", "clock", "disk"})
CycleWatcher = Callable[[CycleReport], None]


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What the loop joins together. `watchers` see every finished cycle; one that fails never disturbs the loop.

    `clock_offset_s` tells the venue's clock minus ours, None while unknown; `banned_until` the end of the venue's ban;
    `restarts_spent` whether a worker is down for good; `beat` is told, at least once a second while the loop waits,
    which step the loop is at.
    """

    scanner: OpportunitySource
    orders: OrderManager
    positions: PositionManager
    keeper: AccountKeeper
    exits: ExitPass
    entries: EntryMaker
    reconciler: Reconciler
    background: Sequence[Background] = ()
    watchers: Sequence[CycleWatcher] = ()
    data_source: str = ""
    clock_offset_s: Callable[[], float | None] = lambda: 0.0
    banned_until: Callable[[], datetime | None] = lambda: None
    restarts_spent: Callable[[], bool] = lambda: False
    beat: Callable[[str], None] = lambda step: None


class TradingEngine:
    """Runs cycles until told to stop. Only `StateError` leaves it: books that cannot be trusted stop the bot."""

    def __init__(self, desk: Desk, parts: EngineParts) -> None:
        """All parts share the desk's store."""
        self._desk = desk
        self._parts = parts
        self._stop: Stop = lambda: False
        self._cycle = parts.keeper.cycles
        self._tripped: frozenset[str] = frozenset()
        self._price_age_s = PriceAge(desk)
        self._sell_signals: frozenset[Symbol] = frozenset()
        self._tally = CycleTally()
        self._epoch_seen = 0
        self._recovered = False

    def run(self, stop: Stop, max_cycles: int | None = None) -> None:
        """Recover unless that is done, then run cycles, with a look at what is held in between.

        Ends when `stop()` says so or after `max_cycles`.
        """
        self._stop = stop
        if not self._recovered:
            self.recover(stop)
        scanner = self._desk.settings.scanner
        scan_every = timedelta(seconds=scanner.scan_interval_sec)
        look_every = timedelta(seconds=scanner.exit_interval_sec)
        done = 0
        while not stop() and (max_cycles is None or done < max_cycles):
            next_scan = _next_multiple(self._desk.clock.now(), scan_every)
            self.run_cycle()
            done += 1
            if max_cycles is None or done < max_cycles:
                self._wait(next_scan, look_every)

    def run_cycle(self) -> CycleReport:
        """Run one cycle; an unexpected error ends it without further entries and is recorded."""
        self._cycle += 1
        self._parts.beat("cycle")
        self._tally = CycleTally()
        closed_before = self._parts.keeper.counts
        self._desk.journal.emit(CycleStarted(self._desk.clock.now(), self._cycle))
        scan: ScanReport | None = None
        breakers: tuple[BreakerStatus, ...] = ()
        try:
            self._adopt()
            self._manage()
            scan = self._scan()
            breakers = self._judge_state(scan)
            self._enter(scan, breakers)
        except StateError:
            raise
        except Exception as error:
            self._fail(error)
            if MANAGE not in self._tally.durations_ms:
                self._look()
        return self._record(scan, breakers, closed_before)

    def account(self) -> AccountState:
        """Give the account as of now, on the newest quotes of what is held."""
        return self._parts.keeper.account(self._parts.positions.open_positions(), self._parts.orders.open_intents())

    def recover(self, stop: Stop) -> None:
        """Reconcile before anything else, as often as it takes until the exchange answers."""
        attempt = 0
        while not stop():
            self._parts.beat("recover")
            try:
                self._parts.reconciler.start()
                self._recovered = True
            except Transient as error:
                log.error("recovery waits for the exchange error=%s", error)
                pause = RECOVERY_PAUSES[min(attempt, len(RECOVERY_PAUSES) - 1)]
                self._desk.clock.sleep_until(self._desk.clock.now() + pause)
                attempt += 1
            else:
                return

    def _wait(self, next_scan: datetime, look_every: timedelta) -> None:
        """Sleep until the next scan, looking at what is held in between and at once where something is urgent."""
        clock = self._desk.clock
        look_at = clock.now() + look_every
        while not self._stop() and clock.now() < next_scan:
            self._parts.beat("wait")
            clock.sleep_until(min(next_scan, look_at, self._next_glance()))
            now = clock.now()
            if now >= next_scan or self._stop():
                continue
            if now >= look_at:
                look_at = now + look_every
                if self._has_business():
                    self._look()
            elif self._is_urgent():
                self._look(urgent=True)

    def _next_glance(self) -> datetime:
        """Give when to look up: within a second, and at once when the exchange can no longer accept an order in doubt.

        A lost stop may be placed again from that instant on.
        """
        now = self._desk.clock.now()
        deadline = self._parts.orders.next_deadline(now)
        glance = now + GLANCE_EVERY
        return glance if deadline is None else min(glance, deadline + JUST_AFTER)

    def _has_business(self) -> bool:
        return bool(self._parts.positions.open_positions() or self._parts.orders.open_intents())

    def _is_urgent(self) -> bool:
        """Whether an order is unaccounted for, a position is without its stop, or the control state was tightened."""
        control = self._desk.store.control()
        tightened = control.state is not ControlState.NORMAL and control.epoch != self._epoch_seen
        self._epoch_seen = control.epoch
        return tightened or bool(self._parts.orders.unknown_symbols()) or self._parts.exits.is_uncovered()

    def _look(self, *, urgent: bool = False) -> None:
        self._parts.beat("look")
        try:
            with self._stage("look"):
                self._parts.exits.run(self._sell_signals, urgent=urgent)
                if not urgent:
                    self._parts.reconciler.check_if_due()
        except StateError:
            raise
        except Exception as error:
            self._fail(error)

    def _adopt(self) -> None:
        with self._stage("adopt"):
            now = self._desk.clock.now()
            for work in self._parts.background:
                for event in work.collect(now):
                    self._desk.journal.emit(event)

    def _manage(self) -> None:
        with self._stage(MANAGE):
            self._parts.exits.run(self._sell_signals)
            self._parts.reconciler.check_if_due()

    def _scan(self) -> ScanReport:
        with self._stage("scan"):
            scan = self._parts.scanner.scan(self._desk.clock.now())
        self._tally.errors.extend(scan.errors)
        everything = (*scan.opportunities, *scan.refused)
        self._sell_signals = frozenset(item.symbol for item in everything if item.signal.action is Action.SELL)
        return scan

    def _judge_state(self, scan: ScanReport) -> tuple[BreakerStatus, ...]:
        """Evaluate the breakers, journal their changes and tighten the control state where one demands it."""
        now = self._desk.clock.now()
        self._parts.keeper.follow(self._desk.store.control())
        account = self.account()
        settings = self._desk.settings
        breakers = entry_breakers(account, scan, settings, now=now, equity_returns=account.equity_returns)
        conditions = Conditions(
            refusals_in_row=self._parts.orders.refusals_in_row,
            price_age_s=self._price_age_s(now),
            clock_offset_s=self._parts.clock_offset_s(),
            banned_until=self._parts.banned_until(),
            restarts_spent=self._parts.restarts_spent(),
            missing_stop=bool(self._parts.exits.missing_stops(now)),
            orders_last_minute=self._parts.entries.orders_last_minute(now),
            notional_today=float(self._parts.entries.allowed_today(now)),
            disk_free_mb=free_disk_mb(self._desk.store.path),
        )
        causes = control_causes(conditions, settings, now=now)
        with self._desk.store.transaction():
            self._desk.journal.emit(_finished(scan, self._cycle, now))
            self._note_breakers(breakers, now)
            self._tighten(*demanded_state((*breakers, *causes)), now=now)
        return breakers

    def _tighten(self, demanded: ControlState, names: str, *, now: datetime) -> None:
        control = self._desk.store.control()
        if is_tighter(demanded, control.state):
            changed = self._desk.store.set_control(demanded, names, ENGINE, now)
        elif demanded is ControlState.NORMAL and _clears_by_itself(control):
            changed = self._desk.store.set_control(ControlState.NORMAL, f"cleared: {control.reason}", ENGINE, now)
        else:
            return
        self._desk.journal.emit(ControlChanged(now, changed.state.value, changed.reason, changed.set_by, changed.epoch))
        log.warning("control state changed state=%s reason=%s", changed.state.value, changed.reason)

    def _note_breakers(self, breakers: tuple[BreakerStatus, ...], now: datetime) -> None:
        tripped = {item.name: item for item in breakers if item.tripped}
        for name in sorted(set(tripped) - self._tripped):
            self._desk.journal.emit(BreakerTripped(now, name, tripped[name].value, tripped[name].limit))
        for name in sorted(self._tripped - set(tripped)):
            self._desk.journal.emit(BreakerCleared(now, name))
        self._tripped = frozenset(tripped)

    def _enter(self, scan: ScanReport, breakers: tuple[BreakerStatus, ...]) -> None:
        if not self._stop():
            with self._stage("enter"):
                self._parts.entries.enter(scan, breakers, self._tally)

    def _record(
        self, scan: ScanReport | None, breakers: tuple[BreakerStatus, ...], closed_before: tuple[int, int]
    ) -> CycleReport:
        now = self._desk.clock.now()
        full, legs = self._parts.keeper.counts
        report = CycleReport(
            cycle=self._cycle,
            at=now,
            mode=self._desk.mode,
            data_source=self._parts.data_source,
            quote_asset=self._desk.settings.base_quote,
            active_ratio=self._desk.settings.risk.capital_active_ratio,
            control=self._desk.store.control(),
            account=self.account(),
            scan=scan,
            open_positions=len(self._parts.positions.open_positions()),
            opened=self._tally.opened,
            full_closes=full - closed_before[0],
            partial_closes=max(legs - closed_before[1] - (full - closed_before[0]), 0),
            breakers=breakers,
            refusals=dict(self._tally.refusals),
            errors=tuple(self._tally.errors),
            durations_ms=dict(self._tally.durations_ms),
        )
        self._parts.keeper.record_cycle(report)
        log.info(report.why_no_trade())
        for watcher in self._parts.watchers:
            self._tell(watcher, report)
        return report

    def _tell(self, watcher: CycleWatcher, report: CycleReport) -> None:
        try:
            watcher(report)
        except Exception:
            log.exception("a watcher of cycles failed")

    def _fail(self, error: Exception) -> None:
        stage = next(reversed(self._tally.durations_ms), "start")
        message = f"{stage}: {type(error).__name__}: {error}"
        self._tally.errors.append(message)
        log.exception("cycle failed cycle=%s stage=%s", self._cycle, stage)
        self._desk.journal.emit(CycleFailed(self._desk.clock.now(), self._cycle, stage, message))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._tally.durations_ms[name] = 0.0
        started = self._desk.clock.monotonic()
        try:
            yield
        finally:
            self._tally.durations_ms[name] = round((self._desk.clock.monotonic() - started) * 1000, 3)


def _finished(scan: ScanReport, cycle: int, now: datetime) -> ScanFinished:
    symbols = len(scan.opportunities) + len(scan.refused)
    funnel = dict(sorted(scan.funnel.items()))
    return ScanFinished(now, cycle, symbols, len(scan.opportunities), funnel)


def _clears_by_itself(control: Control) -> bool:
    """Tell whether the engine tightened for causes that pass; anything else waits for an operator."""
    causes = set(control.reason.split(", "))
    return control.state is ControlState.REDUCE_ONLY and control.set_by == ENGINE and causes <= PASSING_CAUSES


def _next_multiple(now: datetime, step: timedelta) -> datetime:
    """Give the first instant after `now` that is a whole number of steps since 1970."""
    step_ms = int(step.total_seconds() * 1000)
    return from_ms((to_ms(now) // step_ms + 1) * step_ms)
