"""Judges a finished run from its database and its configuration alone; shares no code with the bot that wrote it.

Everything is recomputed from the exact tables: balances, positions and profits from the fills, what was owned and
resting at each instant from the journal, and every limit at each entry and fill.
"""

from __future__ import annotations

from pathlib import Path

from tests.checker.book_rows import UNITS, Book, read_book
from tests.checker.check_limits import LimitWatcher
from tests.checker.check_money import check_money
from tests.checker.check_order import OrderWatcher, check_control, check_journal
from tests.checker.check_positions import check_positions, recomputed
from tests.checker.check_protection import ProtectionWatcher, check_stops
from tests.checker.findings import Complaints, Findings, Limits
from tests.checker.story import Story

__all__ = ["Findings", "Limits", "check_book"]


def check_book(database: Path, limits: Limits) -> Findings:
    """Check a state database nobody writes to any more; raises `sqlite3.Error` when it is no such database."""
    book, complain = read_book(database), Complaints()
    check_money(book, limits, complain)
    check_positions(book, complain)
    check_control(book, limits, complain)
    check_journal(book, complain)
    order, protection = OrderWatcher(limits, complain), ProtectionWatcher(limits, complain)
    risk = LimitWatcher(limits, complain, book)
    story = Story(book)
    entry_ends = _walk(story, complain, order, protection, risk)
    delay_s = check_stops(book, limits, complain, entry_ends)
    figures = {
        **_figures(book),
        "max_open": risk.max_open,
        "max_exposure_frac": round(risk.max_exposure, 6),
        "max_drawdown_frac": round(risk.max_drawdown, 6),
        "equity_end": round(risk.equity, 8),
        "cycles": len(order.finished),
        "days": len(order.days),
        "restarts": max(order.restarts - 1, 0),
        "instants_in_doubt": len(protection.in_doubt),
        "longest_doubt_s": story.longest_doubt_ms / 1000,
        "longest_wait_for_stop_s": delay_s,
        "violations": sum(complain.counts.values()),
        "rules_broken": dict(complain.counts),
    }
    closed = sum(row.status == "CLOSED" for row in book.positions)
    return Findings(complain.result(), figures, closed, frozenset(order.days))


def _walk(
    story: Story, complain: Complaints, order: OrderWatcher, protection: ProtectionWatcher, risk: LimitWatcher
) -> dict[str, int]:
    book, entry_ends = story.book, dict[str, int]()
    for event in book.events:
        for watcher in (order, protection, risk):
            watcher.before(event, story)
        story.apply(event)
        for watcher in (order, protection, risk):
            watcher.after(event, story)
        for holding in story.holdings.values():
            complain.demand(
                "never_oversell", holding.quantity >= 0, f"{holding.position_id}: {holding.quantity} at {event.id}"
            )
            if holding.entry_ended_ms is not None:
                entry_ends.setdefault(holding.position_id, holding.entry_ended_ms)
    protection.finish(story)
    for asset in sorted(set(story.cash) | set(book.venue_balances)):
        complain.equal("story_equals_venue", asset, story.cash[asset], book.venue_balances.get(asset, 0))
    return entry_ends


def _figures(book: Book) -> dict[str, object]:
    closed = [row for row in book.positions if row.status == "CLOSED"]
    states = [recomputed(book.fills_by_position.get(row.position_id, ())) for row in book.positions]
    results = [
        state.proceeds - state.cost for row, state in zip(book.positions, states, strict=True) if row.status == "CLOSED"
    ]
    return {
        "closed_positions": len(closed),
        "open_positions": len(book.positions) - len(closed),
        "fills": len(book.fills),
        "entries": sum(row.purpose == "entry" for row in book.intents),
        "orders": len(book.intents),
        "orders_refused": sum(row.state == "REFUSED" for row in book.intents),
        "state_end": book.control[-1].state if book.control else "",
        "halts": sorted({row.reason for row in book.control if row.state == "HALTED"}),
        "cycles_failed": sum(event.kind == "CycleFailed" for event in book.events),
        "journal_rows": len(book.events),
        "net_profit": sum(results) / UNITS,
        "fees": round(float(sum(state.fees for state in states)), 8),
        "wins": sum(result > 0 for result in results),
        "losses": sum(result < 0 for result in results),
    }
