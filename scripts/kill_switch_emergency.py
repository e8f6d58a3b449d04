"""The kill switch without a usable book: from the exchange's own memory, and only when that was asked for."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import timedelta

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.errors import ConfigError, ExchangeError, MarketDataError, StateError
from bn_ml.halting import HaltMarker
from bn_ml.ports import Clock
from bn_ml.side_journal import SideJournal
from scripts.kill_switch_parts import ExchangeLine, open_line
from scripts.kill_switch_request import Outcome, Request
from trader.emergency import Emergency, EmergencyParts
from trader.kill_switch import FLAT, NOT_FLAT, ONLY_DUST

log = logging.getLogger(__name__)

PAUSE = timedelta(milliseconds=500)
LAG = timedelta(seconds=1)
"""How long the exchange's memory may be behind what it has just done."""

BY = "the kill switch, without the book"


def flatten_without_book(request: Request, error: StateError, clock: Clock, until_s: float) -> Outcome:
    """Cancel and sell what our own orders left, or without `--yes` only say what that would be.

    `until_s` is a monotonic second. Nothing is written into the book; a marker beside it makes the bot start HALTED.
    """
    notes = [str(error)]
    try:
        line = open_line(request.settings, request.environ, _universe(request))
    except ConfigError as problem:
        return Outcome(NOT_FLAT, notes=(*notes, *problem.problems))
    if request.yes:
        notes += _marked(request, clock)
    with closing(line.transport):
        return _worked(request, line, notes, clock, until_s)


def _worked(request: Request, line: ExchangeLine, notes: list[str], clock: Clock, until_s: float) -> Outcome:
    emergency: Emergency | None = None
    trouble, looked_again = "", False
    while True:
        try:
            emergency = emergency or _begun(request, line)
            if not request.yes:
                notes.append("nothing was touched; add --yes to cancel and sell this")
                return Outcome(NOT_FLAT, emergency.plan(), notes=tuple(notes))
            trouble = ""
            if emergency.run_pass():
                if looked_again:
                    break
                clock.sleep_until(clock.now() + LAG)
                emergency.look_again()
                looked_again = True
                continue
        except (ExchangeError, MarketDataError) as error:
            trouble = f"the exchange cannot be reached: {error}"
            log.error(trouble)
        if clock.monotonic() >= until_s:
            break
        clock.sleep_until(clock.now() + PAUSE)
    return _told(emergency, [*notes, *([trouble] if trouble else [])])


def _marked(request: Request, clock: Clock) -> list[str]:
    marker = HaltMarker.beside(request.path)
    try:
        marker.write(f"book_unusable: flattened from outside by {request.by}", clock.now())
    except StateError as error:
        log.critical("%s", error)
        return [str(error)]
    return [f"the bot will start HALTED: {marker.path}"]


def _begun(request: Request, line: ExchangeLine) -> Emergency:
    line.exchange.keep_time()
    symbols = set(_universe(request))
    if request.settings.universe.discovery.enabled:
        symbols |= _held_in_quote(request, line)
    known: dict[Symbol, MarketRules] = {}

    def rules(symbol: Symbol) -> MarketRules:
        if symbol not in known:
            known.update(line.rules([symbol]))
        if symbol not in known:
            raise MarketDataError(f"{symbol}: the exchange gives no rules")
        return known[symbol]

    parts = EmergencyParts(
        exchange=line.exchange,
        history=line.history,
        rules=rules,
        clock=line.clock,
        notes=SideJournal(request.path),
        receive_window=timedelta(milliseconds=request.settings.exchange.recv_window_ms),
    )
    return Emergency(parts, (symbol for symbol in symbols if request.covers(symbol)), request.covers)


def _universe(request: Request) -> tuple[Symbol, ...]:
    return tuple(Symbol(name) for name in dict.fromkeys(request.settings.universe.training_symbols))


def _held_in_quote(request: Request, line: ExchangeLine) -> set[Symbol]:
    """Give the symbols that discovery may have traded: whatever is held, in the quote asset."""
    quote = request.settings.base_quote
    return {Symbol(f"{asset}/{quote}") for asset in line.exchange.balances() if asset != quote and asset.isalnum()}


def _told(emergency: Emergency | None, notes: list[str]) -> Outcome:
    if emergency is None:
        return Outcome(NOT_FLAT, notes=tuple(notes), done_by=BY)
    results = emergency.results()
    code = NOT_FLAT
    if emergency.is_done:
        code = ONLY_DUST if any(item.dust > 0 for item in results) else FLAT
    log.critical("kill switch ended without the book exit=%s", code)
    return Outcome(code, results, done_by=BY, notes=tuple(notes))
