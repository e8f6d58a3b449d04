"""What the kill switch shows without touching anything: the state, the bot, what is held, what a pull would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from bn_ml.clock import SystemClock
from bn_ml.control import ProcessLock
from bn_ml.domain.market import Symbol, from_iso, iso
from bn_ml.domain.orders import IntentRecord
from bn_ml.domain.positions import Position
from bn_ml.errors import StateError
from bn_ml.halting import HaltMarker
from bn_ml.lock_takeover import holder_state
from bn_ml.processes import ProcessState
from bn_ml.state_watch import BookView, BookWatch
from scripts import cli
from scripts.kill_switch_emergency import flatten_without_book
from scripts.kill_switch_request import PAPER, Outcome, Request, require_mode
from trader.kill_switch import NOT_FLAT, Holdings, exit_code, holdings, symbol_results

SILENT_S = 15.0
SECOND_LOOK = timedelta(seconds=2)


def show_status(request: Request, *, as_json: bool) -> int:
    """Print the control state, the bot and what is held; raises `StateError` when the book cannot be read."""
    view = BookWatch(request.path).look()
    control = view.control
    bot = bot_state(request, view)
    marker = HaltMarker.beside(request.path).reason()
    held = [_position(item) for item in view.positions]
    figures: dict[str, object] = {
        "state": control.state.value,
        "reason": control.reason,
        "since": iso(control.since),
        "set_by": control.set_by,
        "epoch": control.epoch,
        "mode": view.identity.mode if view.identity else None,
        "bot": bot,
        "positions": [str(item.symbol) for item in view.positions],
        "held": held,
        "orders": [_order(item) for item in view.orders],
        "differences": view.differences,
        "halt_marker": marker,
    }
    lines = [f"{control.state.value} since {iso(control.since)}: {control.reason} (by {control.set_by or 'nobody'})"]
    lines += [f"bot: {bot['state']}" + (f", process {bot['pid']}" if bot["pid"] else "")]
    lines += [f"held: {item['symbol']} {item['quantity']}, {item['stops']} stops resting" for item in held]
    lines += [] if held else ["held: nothing"]
    lines += [f"orders: {len(view.orders)} unfinished"]
    lines += [f"differences: {view.differences}"] if view.differences else []
    lines += [f"starts HALTED: {marker}"] if marker else []
    cli.show(figures, as_json=as_json, text="\n".join(lines))
    return cli.DONE


def bot_state(request: Request, view: BookView) -> dict[str, object]:
    """Tell whether the bot is alive, stopped, silent or dead, and what it last said."""
    lock = ProcessLock(request.path)
    holder, process = lock.holder(), holder_state(lock)
    state = {
        ProcessState.RUNNING: "alive",
        ProcessState.STOPPED: "stopped",
        ProcessState.ZOMBIE: "zombie",
        ProcessState.GONE: "unseen" if lock.is_held() else "dead",
    }[process]
    if process is ProcessState.RUNNING and _is_silent(request, view):
        state = "stuck"
    return {"state": state, "pid": holder.pid if state != "dead" else None, "beat": dict(view.beat)}


def planned(request: Request) -> Outcome:
    """Give what a pull would do now; nothing is sent to change anything and nothing is written."""
    try:
        view = BookWatch(request.path).look()
    except StateError as error:
        if request.mode(None) == PAPER:
            return Outcome(NOT_FLAT, notes=(str(error),))
        clock = SystemClock()
        until_s = clock.monotonic() + request.timeout_s
        return flatten_without_book(replace(request, yes=False), error, clock, until_s)
    require_mode(request, view.identity)
    held = holdings(view, request.settings.base_quote, request.covers)
    done = symbol_results(held, held, fills=(), finished=(), why={})
    results = tuple(replace(item, why=_to_do(item.symbol, held)) for item in done)
    return Outcome(exit_code(done, held), results, view.control.state.value)


def _to_do(symbol: Symbol, held: Holdings) -> str:
    orders = sum(1 for item in held.orders if item.intent.symbol == symbol)
    if held.of(symbol) or orders:
        return f"{orders} orders to cancel"
    return "too small to sell"


def _is_silent(request: Request, view: BookView) -> bool:
    """Tell whether the loop has stopped going round; looks twice, for the clock of its beat may be another one."""
    told = view.beat.get("at")
    if not isinstance(told, str):
        return False
    clock = SystemClock()
    if 0 <= (clock.now() - from_iso(told)).total_seconds() < SILENT_S:
        return False
    clock.sleep_until(clock.now() + SECOND_LOOK)
    return dict(BookWatch(request.path).look().beat) == dict(view.beat)


def _position(item: Position) -> Mapping[str, object]:
    quantity: Decimal = item.remaining_quantity
    return {"symbol": str(item.symbol), "quantity": format(quantity.normalize(), "f"), "stops": len(item.tranches)}


def _order(item: IntentRecord) -> Mapping[str, object]:
    return {
        "client_id": item.intent.client_id,
        "symbol": str(item.intent.symbol),
        "purpose": item.intent.purpose.value,
        "state": item.state.value,
    }
