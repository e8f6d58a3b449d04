"""Positions held into the recorded crashes: the real trader's parts over the real bars, stops resting beforehand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.market import Symbol, from_iso
from bn_ml.domain.positions import ExitReason, Position
from bn_ml.settings import RiskSettings
from tests.fakes.replay_desk import ReplayDesk, replay_desk
from trader.protection import is_covered

BASES = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LINK", "LTC", "MATIC", "AVAX", "ATOM", "FTM")
CRASHES = ("2023-06-10T04:15:00", "2023-08-17T21:30:00")
"""The open times of the crash bars: alt-coins to -21 % inside one bar; BTC to 25,166."""


def _hold_into(crash: str, history: Path, folder: Path) -> tuple[ReplayDesk, list[Position]]:
    """Buy every symbol at the open of the crash bar itself, so that its whole fall happens to a held position."""
    desk = replay_desk(folder, history, RiskSettings(), start=from_iso(crash), quote="USDT")
    return desk, [desk.buy(Symbol(f"{base}/USDT"), Decimal(100), 0.005) for base in BASES]


def _uncovered(desk: ReplayDesk) -> list[Symbol]:
    held = desk.orders.positions.open_positions()
    return [item.symbol for item in held if not is_covered(item, desk.orders.open_of(item.position_id))]


@pytest.mark.parametrize("crash", CRASHES)
def test_positions_held_into_a_crash_are_stopped_and_the_books_stay_exact(
    crash: str, market_data: Path, tmp_path: Path
) -> None:
    desk, bought = _hold_into(crash, market_data / "spot_2022_2023", tmp_path)
    try:
        assert _uncovered(desk) == []
        for _ in range(8):
            desk.next_bar()
            assert _uncovered(desk) == []
        stopped = [desk.position(item.position_id) for item in bought]
        stopped = [item for item in stopped if item.close_reason is ExitReason.STOP_LOSS]
        assert len(stopped) >= len(BASES) // 2
        first_stop = {item.position_id: item.stop for item in bought}
        for item in stopped:
            sold = [leg for leg in item.legs if leg.reason is ExitReason.STOP_LOSS]
            assert all(leg.price <= max(first_stop[item.position_id], item.stop) for leg in sold)
        held = {asset: balance.total for asset, balance in desk.desk.exchange.balances().items()}
        ledger = {asset: amount for asset, amount in desk.desk.store.ledger_balances().items() if amount}
        assert held == ledger
    finally:
        desk.close()
