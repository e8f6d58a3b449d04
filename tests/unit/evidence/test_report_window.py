from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from proof_builders import DAY, START, a_book, a_fill, a_trade

from bn_ml.errors import StateError
from evidence.book_window import window
from evidence.excursions import excursions
from tests.fakes.bar_builders import BTC, some_bars

BOOK = a_book(
    ("1000", "1010", "1020", "1030", "1040"),
    closed=[a_trade(name=f"p-{k}", at=START + k * DAY) for k in range(4)],
    fills=[a_fill(client_id=f"c-{k}", at=START + k * DAY) for k in range(4)],
    exposure=(0.1, 0.2, 0.3, 0.4),
)


def test_nothing_asked_for_cuts_nothing() -> None:
    assert window(BOOK, None, None) is BOOK


def test_a_part_begins_with_the_equity_before_it() -> None:
    part = window(BOOK, START + 2 * DAY, START + 4 * DAY, {"no_skill": 1})
    assert [float(point.equity) for point in part.curve] == [1010.0, 1020.0, 1030.0]
    assert (float(part.capital), part.begin, part.exposure_frac) == (1010.0, START + 2 * DAY, (0.2, 0.3))
    assert [position.position_id for position in part.closed] == ["p-2", "p-3"]
    assert [fill.client_id for fill in part.fills] == ["c-2", "c-3"]
    assert part.funnel == {"no_skill": 1}


def test_a_trade_over_the_edge_is_no_trade_of_the_part() -> None:
    part = window(BOOK, START + timedelta(minutes=30), START + 2 * DAY + timedelta(minutes=30))
    assert [position.position_id for position in part.closed] == ["p-1"]


def test_a_part_without_a_cycle_is_refused_naming_what_is_held() -> None:
    with pytest.raises(StateError, match=r"no cycle from 2024-04-03.* this book holds 2024-03-04.* to 2024-03-08"):
        window(BOOK, START + 30 * DAY, None)


def test_excursions_count_the_bars_inside_and_the_exit() -> None:
    bars = some_bars(200)
    opened = bars.open_time[10]
    at = START.fromtimestamp(opened / 1000, START.tzinfo)
    trade = replace(a_trade(at=at), symbol=BTC, entry_price=a_trade().entry_price * 260)
    entry = float(trade.entry_price)
    inside = slice(10, 14)
    (found,) = excursions([trade], {BTC: bars}).values()
    leg = float(trade.legs[0].price)
    assert found.adverse_frac == pytest.approx(1 - min(entry, leg, float(np.min(bars.low[inside]))) / entry)
    assert found.favourable_frac == pytest.approx(max(entry, leg, float(np.max(bars.high[inside]))) / entry - 1)


def test_a_trade_beyond_the_stored_bars_has_no_excursion() -> None:
    bars = some_bars(200)
    before = START.fromtimestamp(bars.open_time[0] / 1000 - 60, START.tzinfo)
    assert excursions([a_trade(at=before)], {BTC: bars}) == {}
    assert excursions([a_trade()], {}) == {}
