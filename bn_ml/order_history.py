"""What the account did under our client ids, by the venue's own memory: for when our book cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from bn_ml.answer_fields import Garbled, objects
from bn_ml.domain.market import Symbol
from bn_ml.domain.orders import Fill
from bn_ml.errors import Transient
from bn_ml.order_reports import trades
from bn_ml.venue_names import venue_name

ALL_ORDERS = "/api/v3/allOrders"
TRADES = "/api/v3/myTrades"
PER_PAGE = 1000
WEIGHT = 20

SignedRead = Callable[[str, Mapping[str, str], int], object]
"""Gives the JSON of a signed read: path, parameters, request weight. Raises `Transient`."""
IsOurs = Callable[[str], bool]


class OrderHistory:
    """The newest 1000 orders and trades of a symbol, as far as they are ours."""

    def __init__(self, read: SignedRead, is_ours: IsOurs) -> None:
        """Ask through `read`; `is_ours` judges a client id."""
        self._read = read
        self._is_ours = is_ours

    def fills(self, symbol: Symbol) -> tuple[Fill, ...]:
        """Give the trades of our orders with their client ids, oldest first; raises `Transient`.

        What lies further back than a page is left out: sales of something bought before then stand alone.
        """
        page = {"symbol": venue_name(symbol), "limit": str(PER_PAGE)}
        try:
            ours = self._our_orders(self._read(ALL_ORDERS, page, WEIGHT))
            made = trades(self._read(TRADES, page, WEIGHT), symbol)
        except Garbled as error:
            raise Transient(f"unclear answer: {error}") from error
        return tuple(replace(fill, client_id=ours[fill.order_id]) for fill in made if fill.order_id in ours)

    def _our_orders(self, value: object) -> dict[str, str]:
        """Give our client ids by the venue's own number of the order."""
        ids = {str(fields.count("orderId")): str(fields.record.get("clientOrderId", "")) for fields in objects(value)}
        return {number: client_id for number, client_id in ids.items() if self._is_ours(client_id)}
