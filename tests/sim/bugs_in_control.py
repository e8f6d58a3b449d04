"""Defects in limits, control states, ownership, reconciliation and the use of prices."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

from bn_ml.control import permits
from bn_ml.domain.account import ControlState
from bn_ml.domain.market import Quote
from bn_ml.domain.orders import Purpose
from bn_ml.errors import ExchangeError
from bn_ml.state_money import ControlBook, IntentBook
from bn_ml.state_store import StateStore
from bn_ml.weight import WeightMeter
from tests.sim.planting import Bug, swapped, swapped_everywhere, together, without_gate, without_rules
from trader import exit_pass
from trader.entries import EntryMaker
from trader.entry_request import may_still_spend
from trader.exit_pass import ExitPass
from trader.foreign import ForeignOrders
from trader.gate import Gate
from trader.order_manager import OrderManager
from trader.reconciliation import Reconciler

Block = AbstractContextManager[None]


def _halt_ignored() -> Block:
    return together(
        swapped_everywhere(permits, lambda state, purpose: True),
        without_rules("control_state"),
        swapped(ExitPass, "_cancel_late_entries", lambda self, now: None),
        swapped(exit_pass, "flattens", lambda control, symbol: False),
    )


def _reduce_only_ignored() -> Block:
    def loose(state: Any, purpose: Any) -> bool:
        return state is ControlState.REDUCE_ONLY or permits(state, purpose)

    return together(swapped_everywhere(permits, loose), without_rules("control_state"))


def _halt_lost_on_restart() -> Block:
    start = ControlBook.start

    def fresh(self: Any, at: Any, set_by: str) -> Any:
        control = start(self, at, set_by)
        if control.state is ControlState.NORMAL:
            return control
        with self._session.transaction():
            return self._append(
                replace(control, epoch=control.epoch + 1, state=ControlState.NORMAL, reason="started"), at
            )

    return swapped(ControlBook, "start", fresh)


def _old_owner_may_write() -> Block:
    add = IntentBook.add

    def anybody(self: Any, intent: Any, owner: int, *more: Any, **named: Any) -> None:
        add(self, intent, self._control.current().owner, *more, **named)

    return swapped(IntentBook, "add", anybody)


def _epoch_not_raised_on_start() -> Block:
    start = ControlBook.start

    def lazy(self: Any, at: Any, set_by: str) -> Any:
        last = self.current()
        return start(self, at, set_by) if last.epoch == 0 else last

    return swapped(ControlBook, "start", lazy)


def _kill_switch_sells_nothing() -> Block:
    return swapped(exit_pass, "flattens", lambda control, symbol: False)


def _halt_cancels_stops() -> Block:
    look_at = ExitPass._look_at

    def stripping(self: Any, position: Any, now: Any, *, sell_signal: bool) -> None:
        if self._desk.store.control().state is ControlState.HALTED:
            for record in self._orders.open_of(position.position_id):
                self._orders.cancel(record)
        look_at(self, position, now, sell_signal=sell_signal)

    return swapped(ExitPass, "_look_at", stripping)


def _limits_ignore_in_flight() -> Block:
    return together(
        swapped_everywhere(may_still_spend, lambda record: Decimal(0)),
        without_gate("max_exposure", "insufficient_balance"),
    )


def _symbol_bought_twice() -> Block:
    return together(without_rules("already_open", "max_symbol_exposure"), without_gate("already_open"))


def _max_positions_ignored() -> Block:
    return together(without_rules("max_open_positions"), without_gate("max_open_positions"))


def _day_cap_ignored() -> Block:
    from trader import breakers

    def uncapped(settings: Any) -> Any:
        orders = settings.exchange.orders.model_copy(update={"max_notional_per_day_usdt": 10.0**9})
        exchange = settings.exchange.model_copy(update={"orders": orders})
        return settings.model_copy(update={"exchange": exchange})

    causes = breakers.control_causes

    def lenient(conditions: Any, settings: Any, **more: Any) -> Any:
        return causes(conditions, uncapped(settings), **more)

    from trader.risk_manager import RiskManager

    made = RiskManager.__init__

    def init(self: Any, settings: Any) -> None:
        made(self, uncapped(settings))

    return together(
        swapped_everywhere(causes, lenient),
        swapped(RiskManager, "__init__", init),
        without_gate("notional_per_day"),
        without_rules("notional_per_day"),
    )


def _price_cap_ignored() -> Block:
    intent = EntryMaker._intent

    def dear(self: Any, request: Any, decision: Any) -> Any:
        made = intent(self, request, decision)
        if made.limit_price is None:
            return made
        return replace(made, limit_price=request.rules.price_down(made.limit_price * Decimal("1.03")))

    return together(
        swapped(EntryMaker, "_intent", dear),
        without_gate("max_exposure", "max_symbol_exposure", "insufficient_balance", "notional_per_day"),
    )


def _unknown_symbol_not_frozen() -> Block:
    return together(
        swapped(OrderManager, "unknown_symbols", lambda self: frozenset()),
        swapped(Gate, "_is_unclear", lambda self, record, now: False),
    )


def _stale_price_used() -> Block:
    # Risk and the last look before the order both ask the quote.
    return swapped(Quote, "age_s", lambda self, now: 0.0)


def _stale_price_closes() -> Block:
    return swapped(ExitPass, "_fresh_quote", lambda self, symbol: self._desk.market.quote(symbol))


def _ban_ignored() -> Block:
    return swapped(WeightMeter, "ban", lambda self, until: None)


def _foreign_order_cancelled() -> Block:
    check = Reconciler.check

    def tidy(self: Any) -> None:
        for report in self._desk.exchange.open_orders():
            if not report.client_id.startswith("bnml-"):
                with suppress(ExchangeError):
                    self._desk.exchange.cancel_order(report.symbol, report.client_id)
        check(self)

    return swapped(Reconciler, "check", tidy)


def _orphan_adopted_silently() -> Block:
    return swapped(ForeignOrders, "orphans", lambda self, reports, at: ())


def _difference_ignored() -> Block:
    return swapped(Reconciler, "_compared", lambda self: ())


def _reconciled_once_only() -> Block:
    return swapped(Reconciler, "check_if_due", lambda self: None)


def _paper_rows_adopted() -> Block:
    bind = StateStore.bind_book

    def anything(self: Any, mode: str, account: str, at: Any) -> Any:
        present = self.identity()
        return present or bind(self, mode, account, at)

    return swapped(StateStore, "bind_book", anything)


def _late_entries_rest_for_ever() -> Block:
    def lazy(self: Any, now: Any) -> None:
        del now

    return swapped(ExitPass, "_cancel_late_entries", lazy)


PURPOSES = frozenset(Purpose)
CONTROL_BUGS = (
    Bug("halt_ignored_by_commit", "orders are journaled under HALTED", _halt_ignored),
    Bug("reduce_only_ignored", "entries are journaled under REDUCE_ONLY", _reduce_only_ignored),
    Bug("halt_lost_on_restart", "a start loosens the control state", _halt_lost_on_restart),
    Bug("old_owner_may_write", "a process goes on after the book was taken over", _old_owner_may_write),
    Bug("epoch_not_raised_on_start", "a start does not take the book over", _epoch_not_raised_on_start),
    Bug("kill_switch_sells_nothing", "HALTED by the kill switch leaves positions open", _kill_switch_sells_nothing),
    Bug("halt_cancels_stops", "HALTED takes the stops away", _halt_cancels_stops),
    Bug("limits_ignore_in_flight", "what is in flight does not count", _limits_ignore_in_flight),
    Bug("symbol_bought_twice", "a symbol held or in flight is bought again", _symbol_bought_twice),
    Bug("max_positions_ignored", "the number of positions is not limited", _max_positions_ignored),
    Bug("day_cap_ignored", "the day's notional is not limited", _day_cap_ignored),
    Bug("price_cap_ignored", "the entry limit lies far above what was judged", _price_cap_ignored),
    Bug("unknown_symbol_not_frozen", "entries go on while an order is in doubt", _unknown_symbol_not_frozen),
    Bug("stale_price_used", "entries are judged on old quotes", _stale_price_used),
    Bug("stale_price_closes", "client-side exits act on old quotes", _stale_price_closes),
    Bug("ban_ignored", "requests go on although the exchange asked to stay away", _ban_ignored),
    Bug("foreign_order_cancelled", "orders of others are tidied away", _foreign_order_cancelled),
    Bug("orphan_adopted_silently", "an order of ours without intent is ignored", _orphan_adopted_silently),
    Bug("difference_ignored", "balances that differ are ignored", _difference_ignored),
    Bug("reconciled_at_start_only", "books and exchange are compared at the start only", _reconciled_once_only),
    Bug("paper_rows_adopted_by_live", "a paper book is traded on with real money", _paper_rows_adopted),
    Bug("late_entries_rest_for_ever", "resting entries are never cancelled", _late_entries_rest_for_ever),
)
