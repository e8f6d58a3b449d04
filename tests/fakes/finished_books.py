"""Books of finished runs on disk: given positions, refusals and one cycle every quarter of an hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

from bn_ml.domain.events import RiskRefused
from bn_ml.domain.market import Symbol
from bn_ml.domain.positions import ExitReason, Leg, Position, PositionStatus
from bn_ml.journal import Journal
from bn_ml.state_store import StateStore

BEGIN = datetime(2023, 6, 1, tzinfo=timezone.utc)
BAR = timedelta(minutes=15)
SOL = Symbol("SOL/USDC")
ADA = Symbol("ADA/USDC")


@dataclass(frozen=True)
class Story:
    """What a written book tells; `changes` are results added to the equity at the close of each position."""

    closed: Sequence[Position] = ()
    refused: Sequence[tuple[datetime, Symbol, str]] = ()
    cycles: int = 96
    capital: str = "1000"
    data_source: str = "replay"
    mode: str = "paper"
    funnel: Mapping[str, int] = field(default_factory=lambda: {"proba_below_min": 9, "no_skill": 1})


def a_deal(
    name: str,
    at: datetime = BEGIN,
    *,
    symbol: Symbol = SOL,
    entry: str = "20",
    net: str = "1",
    reason: ExitReason = ExitReason.TP2,
) -> Position:
    """Ten coins bought at `entry` and sold two hours later with a result of `net` after a fee of 0.4."""
    cost, later = Decimal(entry) * 10 + Decimal("0.2"), at + timedelta(hours=2)
    price = (cost + Decimal(net) + Decimal("0.2")) / 10
    return Position(
        position_id=name,
        symbol=symbol,
        status=PositionStatus.CLOSED,
        opened_at=at,
        entry_price=Decimal(entry),
        initial_quantity=Decimal(10),
        remaining_quantity=Decimal(0),
        cost_quote=cost,
        stop=Decimal(entry) * Decimal("0.98"),
        target_1=Decimal(entry) * Decimal("1.02"),
        target_2=Decimal(entry) * Decimal("1.04"),
        max_price_seen=Decimal(entry),
        proceeds_quote=cost + Decimal(net),
        fees_quote=Decimal("0.4"),
        realized_quote=Decimal(net),
        legs=(Leg(reason, Decimal(10), price, Decimal(net), later),),
        confidence=0.45,
        bundle_version=1,
        closed_at=later,
        close_reason=reason,
    )


def write_book(path: Path, story: Story) -> Path:
    """Write a book that tells the story; gives its path."""
    store = StateStore(path)
    try:
        store.session.execute("PRAGMA synchronous = OFF")
        store.bind_book(story.mode, "tests", BEGIN)
        store.deposit("USDC", Decimal(story.capital), BEGIN, "starting capital")
        with store.transaction():
            for position in story.closed:
                store.save_position(position)
            for at, symbol, rule in story.refused:
                Journal(store).emit(RiskRefused(at, symbol, rule, 0.66, 0.65))
            for number in range(story.cycles):
                _cycle(store, story, BEGIN + number * BAR)
    finally:
        store.close()
    return path


def _cycle(store: StateStore, story: Story, at: datetime) -> None:
    results = [position.realized_quote for position in story.closed if position.closed_at and position.closed_at <= at]
    facts = {
        "equity": float(Decimal(story.capital) + sum(results)),
        "exposure_pct": 0.1,
        "mode": story.mode,
        "data_source": story.data_source,
        "funnel": dict(story.funnel),
    }
    store.add_cycle(at=at, opportunities=0, opened_positions=0, data=facts)
