"""How much of a real account the book may trade with; whatever else lies there is declared foreign and left alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from bn_ml.codecs import from_plain, to_plain
from bn_ml.domain.account import Balance
from bn_ml.domain.market import ZERO, exact, iso
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from trader.account_keeper import BOOK
from trader.accounting import AccountBook

log = logging.getLogger(__name__)

ALLOTMENT = "live_allotment"
STARTED = "live_started_at"


@dataclass(frozen=True, slots=True)
class Allotment:
    """What the settings last allowed the book, in the quote asset."""

    wanted: Decimal


def wanted_capital(settings: Settings, quote_free: Decimal) -> Decimal:
    """Give what the book should trade with: the configured capital or all that is free, never above the ceiling."""
    configured = settings.risk.capital_total
    capital = quote_free if isinstance(configured, str) else exact(configured)
    return min(capital, exact(settings.risk.max_live_capital_usdt), quote_free)


def planned_capital(store: StateStore, settings: Settings, quote_free: Decimal) -> Decimal:
    """Give what the book trades with, cash and what open positions cost, or would after its first start."""
    held = store.ledger_balances().get(settings.base_quote)
    if held is None:
        return wanted_capital(settings, quote_free)
    return held + sum((position.cost_open_quote for position in store.open_positions()), ZERO)


def allot(store: StateStore, balances: Mapping[str, Balance], settings: Settings, now: datetime) -> None:
    """Give a new book its capital and declare the rest of the account foreign; follow changed settings later.

    A capital that was raised takes from the free foreign quote amount, one that was lowered gives back what is not
    invested. Deposits and withdrawals by hand are followed until the first start that was let through; afterwards
    reconciliation asks for an explanation.
    """
    quote = settings.base_quote
    with store.transaction():
        if store.get(ALLOTMENT) is None or (store.get(STARTED) is None and not store.recent_intents(1)):
            _first(store, balances, settings, now)
            return
        before = from_plain(Allotment, store.get(ALLOTMENT)).wanted
        after = _ceiling(settings, before)
        free = balances[quote].free if quote in balances else ZERO
        cash = store.ledger_balances().get(quote, ZERO)
        reserved = sum((item.intent.reserved_quote for item in store.open_intents()), ZERO)
        foreign = max(store.foreign_balances().get(quote, ZERO), ZERO)
        moved = (
            min(after - before, foreign, free) if after > before else max(after - before, -max(cash - reserved, ZERO))
        )
        if moved:
            _move(store, quote, moved, now)
        if after != before:
            store.put(ALLOTMENT, to_plain(Allotment(after)), now)


def note_started(store: StateStore, now: datetime) -> None:
    """Note that a start was let through: from here on the book belongs to what lay on the account."""
    if store.get(STARTED) is None:
        store.put(STARTED, iso(now), now)


def _first(store: StateStore, balances: Mapping[str, Balance], settings: Settings, now: datetime) -> None:
    """Bring a book nothing was traded with in line with the account, whatever an earlier refused start wrote."""
    quote = settings.base_quote
    free = balances[quote].free if quote in balances else ZERO
    capital, ledger = wanted_capital(settings, free), store.ledger_balances()
    if capital < exact(settings.risk.min_capital_usdt) and not ledger:
        log.error("too little capital, the book stays without=%s free=%s", f"{capital:f}", f"{free:f}")
        capital = ZERO
    if moved := capital - ledger.get(quote, ZERO):
        store.deposit(quote, moved, now, "starting capital")
        _shift_book(store, moved, now)
        log.info("book opened capital=%s quote=%s", f"{capital:f}", quote)
    foreign = store.foreign_balances()
    for asset in sorted({*balances, *foreign}):
        total = balances[asset].total if asset in balances else ZERO
        rest = total - (capital if asset == quote else ZERO) - foreign.get(asset, ZERO)
        if rest:
            store.declare_foreign(asset, rest, now, "on the account before the first start")
    store.put(ALLOTMENT, to_plain(Allotment(_ceiling(settings, capital))), now)


def _ceiling(settings: Settings, automatic: Decimal) -> Decimal:
    """Give what the settings allow, whatever is free just now; `automatic` stands for a capital left to the account."""
    configured = settings.risk.capital_total
    capital = automatic if isinstance(configured, str) else exact(configured)
    return min(capital, exact(settings.risk.max_live_capital_usdt))


def _move(store: StateStore, quote: str, amount: Decimal, now: datetime) -> None:
    """Take capital from what is foreign, or give it back, without reading it as profit or loss."""
    note = "capital of the settings changed"
    store.deposit(quote, amount, now, note)
    store.declare_foreign(quote, -amount, now, note)
    _shift_book(store, amount, now)
    log.info("capital changed amount=%s quote=%s", f"{amount:+f}", quote)


def _shift_book(store: StateStore, amount: Decimal, now: datetime) -> None:
    kept = store.get(BOOK)
    if kept is not None:
        book = from_plain(AccountBook, kept)
        shifted = replace(
            book,
            equity_peak=book.equity_peak + amount,
            day=replace(book.day, opening_equity=book.day.opening_equity + amount),
            week=replace(book.week, opening_equity=book.week.opening_equity + amount),
        )
        store.put(BOOK, to_plain(shifted), now)
