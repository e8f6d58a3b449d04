"""Which facts people are told, how urgently, and in which words: by the kind of fact, never by a text in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from bn_ml.domain import events as facts
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.events import Event
from bn_ml.domain.market import Symbol
from bn_ml.errors import Transient, Unreachable
from monitoring.alert_text import duration
from monitoring.alert_words import breaker_alert, control_alert, fixed, signed

INFO, WARNING, CRITICAL = AlertLevel.INFO, AlertLevel.WARNING, AlertLevel.CRITICAL

NO_BUNDLE = frozenset(
    {"no_bundle", "bundle_refused", "bundle_stale", "feature_mismatch", "no_skill", "model_error", "library_mismatch"}
)
NO_DATA = frozenset({"data_unavailable", "data_stale", "data_gap", "too_few_bars", "quote_stale", "source_down"})
NO_MOOD = frozenset({"disabled", "insufficient_data"})
SCANS_IN_ROW = 2
"""From so many scans in a row on it counts when no symbol can be judged."""
MOST_REMEMBERED = 500
TARGETS = frozenset({"tp1", "tp2"})


class AlertRules:
    """Turns facts into alerts, remembering a bounded number of reasons of entries and purposes of orders."""

    def __init__(self, quote_asset: str) -> None:
        """Amounts are told in `quote_asset`."""
        self._quote = quote_asset
        self._equity: Decimal | None = None
        self._approved: dict[Symbol, facts.EntryApproved] = {}
        self._stops: deque[str] = deque(maxlen=MOST_REMEMBERED)
        self._failed_cycle = -1
        self._without: dict[str, int] = {}

    def alerts_of(self, event: Event) -> Sequence[Alert]:
        """Give what to tell of a fact, nothing for most; facts come in the order they happened."""
        match event:
            case facts.PositionOpened():
                return (self._bought(event),)
            case facts.LegTaken():
                return self._leg(event)
            case facts.PositionClosed():
                rest = "the position is closed"
                return (self._closed(event), _end(event.at, f"stop_refused:{event.symbol}", rest))
            case facts.BreakerTripped():
                return (breaker_alert(event),)
            case facts.BreakerCleared():
                return (_end(event.at, f"breaker:{event.breaker}", f"{event.breaker} cleared"),)
            case facts.ControlChanged():
                return control_alert(event)
            case facts.ScanFinished():
                return self._scan(event)
            case facts.CycleFinished() | facts.CycleFailed():
                return self._cycle(event)
            case _:
                return self._of_orders(event) or _of_books(event) or _of_models(event)

    def _of_orders(self, event: Event) -> Sequence[Alert]:
        match event:
            case facts.EntryApproved():
                self._approved[event.symbol] = event
                if len(self._approved) > MOST_REMEMBERED:
                    del self._approved[next(iter(self._approved))]
            case facts.OrderSent() if event.purpose == "stop":
                self._stops.append(event.client_id)
            case facts.OrderRejected():
                return (self._rejected(event),)
            case facts.PositionProtected() | facts.StopMoved():
                return (_end(event.at, f"stop_refused:{event.symbol}", f"stops of {event.symbol} rest"),)
            case facts.OrderOverfilled():
                why = f"{event.client_id} asked {fixed(event.asked)}, filled {fixed(event.filled)}"
                title = f"order of {event.symbol} filled more than asked"
                return (Alert(event.at, CRITICAL, f"overfilled:{event.client_id}", title, why, _BOOKS, event.symbol),)
        return ()

    def _bought(self, event: facts.PositionOpened) -> Alert:
        spent = event.quantity * event.entry_price
        title = f"BUY {event.symbol} {spent:.2f} {self._quote} @ {fixed(event.entry_price)}"
        approved = self._approved.pop(event.symbol, None)
        reasons = [f"p {approved.confidence:.2f}, score {approved.score:.1f}"] if approved else []
        reasons.append(f"stop {fixed(event.stop)}")
        risked = event.quantity * max(event.entry_price - event.stop, Decimal(0))
        if self._equity:
            reasons.append(f"risk {risked / self._equity:.2%} of equity")
        return Alert(event.at, INFO, f"opened:{event.position_id}", title, ", ".join(reasons), symbol=event.symbol)

    def _leg(self, event: facts.LegTaken) -> Sequence[Alert]:
        """Tell a target that was reached; every other sale is told as the close it is."""
        if event.reason not in TARGETS:
            return ()
        title = f"{event.reason.upper()} {event.symbol} {signed(event.pnl_quote)} {self._quote}"
        why = f"sold {fixed(event.quantity)} at {fixed(event.price)}"
        key = f"target:{event.position_id}:{event.reason}"
        return (Alert(event.at, INFO, key, title, why, symbol=event.symbol),)

    def _closed(self, event: facts.PositionClosed) -> Alert:
        title = f"CLOSED {event.symbol} {signed(event.pnl_quote)} {self._quote} ({event.reason})"
        why = f"held {duration(event.held_s)}, result after all fees"
        return Alert(event.at, INFO, f"closed:{event.position_id}", title, why, symbol=event.symbol)

    def _rejected(self, event: facts.OrderRejected) -> Alert:
        if event.client_id in self._stops:
            title, fix = f"stop refused {event.symbol}", "the bot retries, then sells at market; watch the position"
            return Alert(event.at, CRITICAL, f"stop_refused:{event.symbol}", title, event.reason, fix, event.symbol)
        title, fix = f"order rejected {event.symbol}", "bnml-doctor check compares sizes with the venue's filters"
        return Alert(event.at, WARNING, f"rejected:{event.symbol}", title, event.reason, fix, event.symbol)

    def _cycle(self, event: facts.CycleFinished | facts.CycleFailed) -> Sequence[Alert]:
        if isinstance(event, facts.CycleFailed):
            self._failed_cycle = event.cycle
            fix = "the bot goes on with the next cycle; the log has the traceback"
            if _is_passing(event):
                title = f"exchange not reachable in cycle {event.cycle}"
                return (Alert(event.at, WARNING, "unreachable", title, event.error, fix),)
            return (Alert(event.at, CRITICAL, "cycle_failed", f"cycle {event.cycle} failed", event.error, fix),)
        self._equity = event.equity
        if event.cycle <= self._failed_cycle or self._failed_cycle < 0:
            return ()
        self._failed_cycle = -1
        well = f"cycle {event.cycle} ended well"
        return (_end(event.at, "cycle_failed", well), _end(event.at, "unreachable", well))

    def _scan(self, event: facts.ScanFinished) -> Sequence[Alert]:
        data, bundles = _without_any(event, NO_DATA), _without_any(event, NO_BUNDLE)
        return (
            *self._lasting(event, "no_data", "no usable market data for any symbol", data),
            *self._lasting(event, "no_tradable_bundle", "no tradable bundle: nothing can be bought", bundles),
        )

    def _lasting(self, event: facts.ScanFinished, key: str, title: str, why: str) -> Sequence[Alert]:
        """Tell of a state that lasted several scans, once, and of its end."""
        before = self._without.get(key)
        in_row = self._without[key] = (before or 0) + 1 if why else 0
        if not in_row:
            # The first scan of a run too: what an earlier run told may be over.
            return () if before == 0 else (_end(event.at, key, "symbols can be judged again"),)
        if in_row != SCANS_IN_ROW:
            return ()
        fix = "bnml-doctor check; bnml-doctor explain SYMBOL names the gate"
        return (Alert(event.at, WARNING, key, title, why, fix),)


def bot_started(at: datetime, detail: str) -> Alert:
    """Give what tells that the bot runs; `detail` is a sentence on what it trades."""
    return Alert(at, INFO, "bot", "bot started", detail)


def bot_stopped(at: datetime, why: str) -> Alert:
    """Give what tells that the bot ended in an orderly way."""
    return Alert(at, INFO, "bot_stopped", "bot stopped", why)


_BOOKS = "bnml-kill-switch --status shows the books; compare with the exchange, then --resume --reason TEXT"


def _of_books(event: Event) -> Sequence[Alert]:
    match event:
        case facts.LiveStarted():
            why = f"account {event.account}, configuration {event.config_hash[:12]}"
            title = f"live trading starts with {event.capital:.2f}: real orders are sent"
            return (Alert(event.at, CRITICAL, "live_start", title, why, "bnml-kill-switch ends it"),)
        case facts.BalanceUnexplained():
            title = f"books differ: {event.asset} {signed(event.difference)}"
            why = f"expected {fixed(event.expected)}, on the exchange {fixed(event.exchange)}"
            return (Alert(event.at, CRITICAL, f"books:{event.asset}", title, why, _BOOKS),)
        case facts.ForeignDeclared() | facts.DifferenceWrittenOff():
            return (_end(event.at, f"books:{event.asset}", f"{event.asset}: {event.note}"),)
        case facts.BookRestored():
            title = f"book restored from backup {event.backup_id}"
            why = f"{event.cause}; what happened after {event.made_at:%Y-%m-%d %H:%M}Z is not in it"
            return (Alert(event.at, CRITICAL, "book_restored", title, why, _BOOKS),)
        case facts.OrphanAdopted():
            title = f"unknown order of ours {event.symbol} {event.side} {fixed(event.quantity)}"
            why = f"{event.client_id} rests on the exchange and is in no book"
            return (Alert(event.at, CRITICAL, f"orphan:{event.client_id}", title, why, _BOOKS, event.symbol),)
        case facts.ForeignOrderSeen():
            title = f"foreign order {event.symbol} {event.side} {fixed(event.quantity)}"
            why = "of another program or person; it is left alone"
            return (Alert(event.at, INFO, f"foreign:{event.client_id}", title, why, symbol=event.symbol),)
        case facts.PositionReconciled():
            title = f"{event.symbol}: {fixed(event.missing)} of the position is gone"
            why = f"its cost {event.lost_quote:.2f} is booked as lost"
            return (Alert(event.at, WARNING, f"reconciled:{event.position_id}", title, why, symbol=event.symbol),)
    return ()


def _of_models(event: Event) -> Sequence[Alert]:
    match event:
        case facts.BundleAdopted():
            said = f"bundle adopted {event.symbol} version {event.version}"
            ends = (f"drift:{event.symbol}", f"bundle_refused:{event.symbol}")
            told = Alert(event.at, INFO, f"bundle:{event.symbol}:{event.version}", said, symbol=event.symbol)
            return (told, *(_end(event.at, key, said) for key in ends))
        case facts.BundleRefused():
            title, fix = f"bundle refused {event.symbol}", "the one before stays; bnml-trainer --symbol trains another"
            key = f"bundle_refused:{event.symbol}"
            return (Alert(event.at, WARNING, key, title, event.reason, fix, event.symbol),)
        case facts.MoodChanged() if event.regime not in NO_MOOD:
            title = f"market mood {event.signal}, {event.regime}"
            why = f"confidence {event.confidence:.2f}, score {event.score:.2f}"
            return (Alert(event.at, INFO, "mood", title, why),)
        case facts.DriftDetected():
            of = "the whole market" if event.symbol is None else str(event.symbol)
            why = f"{event.chart} {event.score:.3g}, limit {event.limit:.3g}"
            fix = "retraining follows when it is enabled; bnml-doctor explain SYMBOL"
            title = f"drift of {of}"
            return (Alert(event.at, WARNING, f"drift:{event.symbol or 'market'}", title, why, fix, event.symbol),)
    return ()


def _is_passing(event: facts.CycleFailed) -> bool:
    """Tell whether the kind of error, which the engine names after the stage, is one that passes by itself."""
    parts = event.error.split(": ", 2)
    return len(parts) > 1 and parts[1] in (Transient.__name__, Unreachable.__name__)


def _end(at: datetime, key: str, title: str) -> Alert:
    return Alert(at, INFO, key, title, ends=True)


def _without_any(event: facts.ScanFinished, codes: frozenset[str]) -> str:
    """Name the reasons when every symbol was refused for one of `codes`, else nothing."""
    found = {code: count for code, count in event.funnel.items() if code in codes and count}
    if not event.symbols or sum(found.values()) < event.symbols:
        return ""
    return ", ".join(f"{code} {count}" for code, count in sorted(found.items()))
