"""The trades of the book as the blotter shows them, kept until there is a new one."""

from __future__ import annotations

from bn_ml.domain.positions import PositionStatus
from monitoring.desk import Desk
from monitoring.views_trades import RoundTrip, TradeLine, round_trips, trade_line


def all_lines(desk: Desk) -> tuple[TradeLine, ...]:
    """Give every trade of the book, newest first; raises `StateError`."""
    rows = desk.book.trades()
    return desk.shaped("blotter lines", lambda: tuple(map(trade_line, rows)), changes_with=_stamp(desk))


def all_round_trips(desk: Desk) -> tuple[RoundTrip, ...]:
    """Give every closed position of the book, oldest first; raises `StateError`."""
    lines = all_lines(desk)
    held = frozenset(str(row.symbol) for row in desk.book.positions() if row.status == PositionStatus.OPEN.value)
    stamp = (*_stamp(desk), held)
    return desk.shaped("blotter round trips", lambda: round_trips(lines, held), changes_with=stamp)


def _stamp(desk: Desk) -> tuple[object, ...]:
    rows = desk.book.trades()
    return (len(rows), rows[0].id if rows else 0)
