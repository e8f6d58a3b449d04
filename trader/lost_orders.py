"""Orders the exchange has shown and does not know any more: cancelled by hand, or wiped with a test network's accounts.

One look proves nothing, since reads lag. Only when the order, the list of open orders and the account's trades agree
for long enough is it taken for ended, with whatever those trades say it has filled.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from bn_ml.domain.orders import Fill, IntentRecord, IntentState
from trader.desk import Desk
from trader.order_records import OrderRecords

log = logging.getLogger(__name__)

LAG = timedelta(seconds=10)
"""How long the exchange's reads may be behind."""

GONE = "not at the exchange any more"


class LostOrders:
    """Remembers since when an order is missing, and ends it when it stays so."""

    def __init__(self, desk: Desk, records: OrderRecords) -> None:
        """Start with nothing missing: a restart waits anew."""
        self._exchange = desk.exchange
        self._clock = desk.clock
        self._records = records
        self._since: dict[str, datetime] = {}

    def seen(self, client_id: str) -> None:
        """Take notice that the exchange knows an order."""
        self._since.pop(client_id, None)

    def missing(self, record: IntentRecord) -> IntentRecord:
        """Take notice that an order was not found; end it when it has been missing for long. Raises `Transient`."""
        intent = record.intent
        now = self._clock.now()
        since = self._since.setdefault(intent.client_id, now)
        if since == now:
            log.error("order not found any more symbol=%s client_id=%s", intent.symbol, intent.client_id)
        if now - since < LAG:
            return record
        if any(report.client_id == intent.client_id for report in self._exchange.open_orders()):
            self.seen(intent.client_id)
            return record
        made = self._exchange.trades(intent.symbol, intent.created_at)
        known = self._records.book_trades(record, [fill for fill in made if belongs(fill, record)])
        filled = known.filled_quantity >= intent.quantity
        self._records.finish(intent, IntentState.FILLED if filled else IntentState.CANCELED, GONE)
        self.seen(intent.client_id)
        return self._records.record(intent.client_id)


def belongs(fill: Fill, record: IntentRecord) -> bool:
    """Whether a trade was made by an order, by its client id or the exchange's own number of it."""
    if fill.client_id:
        return fill.client_id == record.intent.client_id
    return bool(fill.order_id) and fill.order_id == record.exchange_id
