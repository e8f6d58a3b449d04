from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from proof_builders import BTC, ETH, START, a_book, a_fill, a_trade

from bn_ml.domain.market import ZERO
from bn_ml.domain.orders import Side
from bn_ml.domain.positions import PositionStatus
from evidence.costs import break_even, dust_quote, fee_quote, fills_of_closed, slippage_paid, waterfall

HOUR = timedelta(hours=1)


def test_fees_are_valued_at_the_price_of_their_fill() -> None:
    assert fee_quote(a_fill(fee="0.1")) == Decimal("0.1")
    assert fee_quote(a_fill(price="200", fee="0.001", fee_asset="BTC")) == Decimal("0.2")
    assert fee_quote(a_fill(fee="0.1", fee_asset="BNB")) == 0


def test_slippage_is_what_was_paid_beyond_the_price_asked_for() -> None:
    fills = [
        a_fill(price="101", client_id="entry"),
        a_fill(Side.SELL, price="97", client_id="stop"),
        a_fill(Side.SELL, price="110", client_id="target"),
        a_fill(Side.SELL, price="100", client_id="better"),
    ]
    references = {"entry": Decimal(100), "stop": Decimal(98), "better": Decimal("99.5")}
    assert slippage_paid(fills, references) == Decimal("1.5")
    assert slippage_paid(fills, {}) is None


def test_the_waterfall_adds_up() -> None:
    fills = [a_fill(price="100", client_id="in"), a_fill(Side.SELL, price="103", client_id="out", at=START + HOUR)]
    book = a_book(("1000", "1002.5"), closed=[a_trade("2.8", dust="0.01")], fills=fills)
    found = waterfall(book, {"in": Decimal("99.5")})
    assert (found.net, found.fees, found.slippage) == (Decimal("2.8"), Decimal("0.2"), Decimal("0.5"))
    assert found.dust == Decimal("1.03")
    assert found.gross == Decimal("4.53")
    assert (found.change, found.rest) == (Decimal("2.5"), Decimal("-0.3"))
    assert found.unvalued_fees == 0


def test_without_references_slippage_stays_in_the_gross_result() -> None:
    found = waterfall(a_book(closed=[a_trade("2.8")]))
    assert found.slippage is None
    assert found.gross == 3


def test_fees_in_a_third_asset_are_counted_as_unvalued() -> None:
    fills = [a_fill(fee="0.1", fee_asset="BNB"), a_fill(fee="0", fee_asset="BNB"), a_fill()]
    assert waterfall(a_book(fills=fills)).unvalued_fees == 1


def test_at_the_break_even_cost_nothing_is_left() -> None:
    fills = [a_fill(price="100"), a_fill(Side.SELL, price="103", at=START + HOUR)]
    found = break_even(a_book(closed=[a_trade("2.8")], fills=fills))
    assert found.cost_per_side == pytest.approx(3 / 203)
    assert found.paid_per_side == pytest.approx(0.2 / 203)
    assert not found.with_slippage
    # The price result of 3 pays for exactly this cost on both sides.
    assert found.cost_per_side * 203 == pytest.approx(3)


def test_trades_that_lose_before_costs_have_a_negative_break_even() -> None:
    found = break_even(a_book(closed=[a_trade("-5")], fills=[a_fill(), a_fill(Side.SELL, price="95")]))
    assert found.cost_per_side is not None
    assert found.cost_per_side < 0


def test_no_trades_have_no_break_even() -> None:
    found = break_even(a_book())
    assert (found.cost_per_side, found.paid_per_side, found.turnover) == (None, None, ZERO)


def test_fills_of_a_held_position_are_no_part_of_closed_trades() -> None:
    later = START + 5 * HOUR
    held = replace(a_trade(at=later), status=PositionStatus.OPEN, closed_at=None, remaining_quantity=Decimal(1))
    first = a_fill()
    close = a_fill(Side.SELL, at=later)
    opening = a_fill(at=later)
    part = a_fill(Side.SELL, at=later + HOUR)
    other = a_fill(symbol=ETH, at=later + HOUR)
    book = a_book(held=[held], fills=[first, close, opening, part, other])
    assert fills_of_closed(book) == (first, close, other)
    assert held.symbol == BTC


def test_dust_has_the_price_of_the_last_sale() -> None:
    assert dust_quote(a_trade("1.8", dust="0.5")) == 51
    assert dust_quote(replace(a_trade(dust="0.5"), legs=())) == 0
