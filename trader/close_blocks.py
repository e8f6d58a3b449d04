"""Why a position cannot be closed for now, kept on the position so that everybody sees it."""

from __future__ import annotations

import logging
from dataclasses import replace

from bn_ml.domain.positions import Position
from bn_ml.errors import MarketDataError
from trader.desk import Desk
from trader.position_manager import PositionManager

log = logging.getLogger(__name__)

NOT_TRADING = "symbol_not_trading"
"""The venue has stopped the symbol: every order would be refused, so what rests already stays."""


class CloseBlocks:
    """Notes and clears the reasons."""

    def __init__(self, desk: Desk, positions: PositionManager) -> None:
        """Both share the desk's store."""
        self._store = desk.store
        self._market = desk.market
        self._positions = positions

    def waits(self, position: Position) -> bool:
        """Tell whether the position's symbol does not trade now, and note it; unknown rules make nobody wait."""
        try:
            trading = self._market.rules(position.symbol).trading
        except MarketDataError:
            trading = True
        blocked = position.close_blocked_reason == NOT_TRADING
        if blocked == trading:
            self.note(position.position_id, None if trading else NOT_TRADING)
        if not trading and not blocked:
            log.warning("symbol does not trade, its orders wait symbol=%s", position.symbol)
        return not trading

    def note(self, position_id: str, reason: str | None) -> None:
        """Keep the reason on an open position; None when orders are taken again."""
        held = self._positions.position(position_id)
        if held is not None and held.is_open and held.close_blocked_reason != reason:
            with self._store.transaction():
                self._positions.save(replace(held, close_blocked_reason=reason))
