"""How far prices went for and against each trade while it was held (MAE, MFE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.positions import Position
from data_manager.bars import Bars
from evidence.report_trades import Excursion


def excursions(closed: Sequence[Position], bars: Mapping[Symbol, Bars]) -> dict[str, Excursion]:
    """Give the excursion of each closed position whose symbol has a bar for each end of its time, by position id.

    Bars opened at or after the entry and closed at or before the exit count, and the prices of the exits themselves.
    """
    found = {}
    for position in closed:
        own = bars.get(position.symbol)
        if own is None or position.closed_at is None or not len(own):
            continue
        begin, end = to_ms(position.opened_at), to_ms(position.closed_at)
        if own.open_time[0] <= begin and end <= own.newest_close_ms:
            found[position.position_id] = _excursion(position, own.between(begin, end - own.timeframe.ms + 1))
    return found


def _excursion(position: Position, inside: Bars) -> Excursion:
    entry = float(position.entry_price)
    exits = [float(leg.price) for leg in position.legs]
    lowest = min([entry, *exits, *inside.low.tolist()])
    highest = max([entry, *exits, *inside.high.tolist()])
    return Excursion(adverse_frac=1.0 - lowest / entry, favourable_frac=highest / entry - 1.0)
