"""The live exchange among the exchanges of the money path; the kill switch and the wiring open the same one."""

from __future__ import annotations

from bn_ml.account_calls import BanMemory, order_weight
from bn_ml.exchange import CcxtTransport, Credentials
from bn_ml.live_exchange import LiveExchange
from bn_ml.venue_clock import VenueClock

__all__ = ["BanMemory", "CcxtTransport", "Credentials", "LiveExchange", "VenueClock", "order_weight"]
