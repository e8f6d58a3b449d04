"""Fees of fills in the quote asset, whatever they were paid in."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill, Side
from scripts.bot_banner import fee_in_quote


@pytest.mark.parametrize(
    ("asset", "fee", "expected"),
    [("USDC", "0.25", "0.25"), ("AAA", "0.002", "0.4"), ("BNB", "0.001", "0"), ("USDC", "0", "0")],
)
def test_a_fee_is_counted_in_the_quote_asset(asset: str, fee: str, expected: str) -> None:
    fill = Fill(
        trade_id="1",
        client_id="c",
        symbol=Symbol("AAA/USDC"),
        side=Side.BUY,
        price=Decimal(200),
        quantity=Decimal(2),
        quote_quantity=Decimal(400),
        fee=Decimal(fee),
        fee_asset=asset,
        at=datetime(2024, 3, 4, tzinfo=timezone.utc),
    )
    assert fee_in_quote(fill) == Decimal(expected)
