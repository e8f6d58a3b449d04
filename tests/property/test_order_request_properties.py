"""Whatever amount is sent, it is sent as the venue reads numbers, and means the same."""

from __future__ import annotations

import re
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from bn_ml.answer_fields import Fields, Garbled, parsed
from bn_ml.domain.market import Symbol
from bn_ml.errors import Refused
from bn_ml.order_requests import plain
from bn_ml.venue_names import symbol_named, venue_name

VENUE_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_an_amount_is_sent_exactly_in_plain_digits_or_not_at_all(amount: Decimal) -> None:
    try:
        text = plain(amount)
    except Refused:
        sendable = amount.is_finite() and 0 < amount < 10**20
        assert not sendable or -amount.as_tuple().exponent > 20
    else:
        assert VENUE_NUMBER.fullmatch(text)
        assert Decimal(text) == amount


@given(st.decimals(min_value=0, max_value=10**9, places=8))
def test_an_amount_comes_back_as_it_was_written(amount: Decimal) -> None:
    assert Fields.of({"qty": f"{amount:f}"}).amount("qty") == amount


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parsed(text)
    except Garbled:
        return
    assert text.strip()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda item: st.lists(item), max_leaves=5))
def test_nothing_but_a_plain_number_is_an_amount(value: object) -> None:
    try:
        amount = Fields.of({"qty": value}).amount("qty")
    except Garbled:
        return
    assert isinstance(value, str)
    assert VENUE_NUMBER.fullmatch(value)
    assert amount >= 0


@given(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=2, max_size=8),
    st.sampled_from(["USDT", "USDC", "FDUSD", "BTC", "BNB", "EUR", "TRY"]),
)
def test_a_symbol_is_found_again_by_the_venue_s_name(base: str, quote: str) -> None:
    name = venue_name(Symbol(f"{base}/{quote}"))
    assert venue_name(symbol_named(name)) == name
