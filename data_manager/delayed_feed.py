"""Feature rows that are some bars old: what a bot acts on that needs so long between decision and order."""

from __future__ import annotations

from datetime import datetime, timedelta

from bn_ml.domain.market import Symbol
from data_manager.feature_feed import FeatureFeed
from data_manager.feed_checks import FeatureRow


class DelayedFeed:
    """Gives the row that was the newest `delay` ago; quotes and exits are not its business."""

    def __init__(self, feed: FeatureFeed, delay: timedelta) -> None:
        """Answer from `feed`; raises `ValueError` for a delay below nothing, which would tell the future."""
        if delay < timedelta():
            raise ValueError(f"a delay cannot be negative, got {delay}")
        self._feed = feed
        self._delay = delay

    def row(self, symbol: Symbol, now: datetime) -> FeatureRow:
        """Give the row of the newest bar closed by `now` less the delay; raises `MarketDataError` as the feed does."""
        return self._feed.row(symbol, now - self._delay)
