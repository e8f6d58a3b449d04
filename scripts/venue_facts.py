"""What the wiring asks of a market data source beside its prices."""

from __future__ import annotations

import logging
from datetime import datetime

from bn_ml.domain.market import Symbol
from bn_ml.settings import Settings
from data_manager.source import DataSource, RemoteVenue
from scripts.accounts import Account

log = logging.getLogger(__name__)


def clock_offset_s(source: DataSource, account: Account) -> float | None:
    """Give the greater offset of the venue's clock against ours, None while the account's is unknown."""
    of_account = account.clock_offset_s()
    of_source = source.offset_ms / 1000 if isinstance(source, RemoteVenue) else 0.0
    return None if of_account is None else max(of_account, of_source, key=abs)


def banned_until(source: DataSource, account: Account) -> datetime | None:
    """Give the end of the venue's last ban, None when it never asked to stay away."""
    ends = (account.banned_until(), source.banned_until if isinstance(source, RemoteVenue) else None)
    return max((end for end in ends if end is not None), default=None)


def say_without_benchmark(settings: Settings, source: DataSource) -> None:
    """Say, once at start, that nothing will be bought for want of the benchmark of the volatility breaker."""
    benchmark = Symbol(settings.risk.circuit_breakers.volatility_benchmark_symbol)
    if benchmark not in source.markets():
        log.error(
            "no entries: the market data source does not offer the benchmark of breaker_volatility "
            "source=%s risk.circuit_breakers.volatility_benchmark_symbol=%s",
            source.name,
            benchmark,
        )
