"""Days of trading for the daily checks: a month the bot replays by itself, and single days written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.settings import Settings
from data_manager.bars import Bars
from monitoring.dod_findings import Window
from monitoring.dod_rows import (
    BookPosition,
    ControlRow,
    CycleFacts,
    CycleRow,
    FillRow,
    IntentRow,
    LedgerRow,
    Notes,
    Plan,
    Rows,
    TradeRow,
)
from tests.fakes import trading_world as world

DAY = date(2026, 3, 4)
WINDOW = Window.of(DAY)
UNITS = 10**8
MINUTE_MS = 60_000
HOURLY = 3600


def units(amount: float) -> int:
    """An amount in units of 1e-8."""
    return round(amount * UNITS)


def settings_with(**risk: object) -> Settings:
    """Settings whose limits of risk are the given ones, `base_quote` USDC."""
    return Settings.from_mapping({"base_quote": "USDC", "risk": risk})


@dataclass
class HandWritten:
    """A day put together entry by entry; everything is bought and held, each with a stop, unless told otherwise.

    Only what the rules about entries and stops look at is there: no journal, no exchange.
    """

    equity: float = 1000.0
    begin_ms: int = WINDOW.begin_ms
    mode: str = "paper"
    intents: list[IntentRow] = field(default_factory=list)
    fills: list[FillRow] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    trades: list[TradeRow] = field(default_factory=list)
    cycles: list[CycleRow] = field(default_factory=list)
    control: list[ControlRow] = field(default_factory=list)
    positions: list[BookPosition] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.control.append(ControlRow(1, "NORMAL", "first start", self.begin_ms - 1))

    def cycle(self, minute: int, **facts: object) -> None:
        """A cycle that ended at a minute of the day."""
        made = CycleFacts(**{"mode": self.mode, "data_source": "binance", "equity": self.equity, **facts})  # type: ignore[arg-type]
        self.cycles.append(CycleRow(self.begin_ms + minute * MINUTE_MS, made))

    def buys(
        self,
        symbol: str,
        minute: int,
        *,
        size: float = 10.0,
        planned: float = 0.1,
        stop_after_ms: int = 0,
        covered: float = 1.0,
        notes: Notes | None = None,
        epoch: int = 1,
    ) -> str:
        """Buy at a price of one, to be held until the end of the day, and protect it; gives the entry's order id."""
        at_ms, name, quantity = self.begin_ms + minute * MINUTE_MS, f"e{len(self.intents)}", units(size)
        told = notes or Notes(equity=self.equity, client_id=name)
        self.intents.append(_intent(name, symbol, at_ms, quantity, purpose="entry", epoch=epoch))
        self.fills.append(
            FillRow(len(self.fills), symbol, f"t{name}", name, "BUY", UNITS, quantity, quantity, 0, "USDC", at_ms)
        )
        rules = MarketRules(Symbol(symbol), tick=Decimal("0.0001"), step=Decimal("0.01"), min_notional=Decimal(1))
        self.plans[name] = Plan(name, rules, Decimal(str(planned)))
        self.trades.append(TradeRow(at_ms, symbol, "BUY", size, 1.0, self.mode, replace(told, client_id=name)))
        stop = _intent(f"s{name}", symbol, at_ms + stop_after_ms, round(quantity * covered), purpose="stop")
        if stop.qty:
            self.intents.append(replace(stop, position_id=name))
        return name

    def rows(self) -> Rows:
        """The day as a check reads it."""
        deposit = LedgerRow(1, self.begin_ms - 1, "USDC", units(self.equity), "deposit", None, None)
        ordered = sorted(self.intents, key=lambda row: row.created_ms)
        return Rows(
            intents=tuple(ordered),
            fills=tuple(self.fills),
            ledger=(deposit,),
            control=tuple(self.control),
            positions=tuple(self.positions),
            readable=(),
            trades=tuple(self.trades),
            cycles=tuple(self.cycles),
            told=(),
            plans=self.plans,
        )


def _intent(name: str, symbol: str, at_ms: int, quantity: int, *, purpose: str, epoch: int = 1) -> IntentRow:
    entry = purpose == "entry"
    return IntentRow(
        seq=at_ms,
        client_id=name,
        symbol=symbol,
        side="BUY" if entry else "SELL",
        qty=quantity,
        limit_px=UNITS if entry else None,
        stop_px=None if entry else units(0.99),
        purpose=purpose,
        position_id=name,
        state="FILLED" if entry else "OPEN",
        epoch=epoch,
        reserved_quote=quantity if entry else 0,
        reference_px=None,
        created_ms=at_ms,
        resolved_ms=at_ms if entry else None,
    )


@dataclass(frozen=True)
class Month:
    """Thirty days of made bars the bot has replayed, and the settings it did so with."""

    book: Path
    settings: Settings
    first: date
    days: int


def replayed_month(folder: Path, *, days: int = 30) -> Month:
    """Let the bot live through thirty full days of one symbol, one scan an hour."""
    names = world.NAMES[:1]
    bars = world.WARM + 96 * (days + 1)
    markets = [_traded(str(name), bars, seed) for seed, name in enumerate(names)]
    world.store_market(folder, markets, world.fitted_on(markets[0]))
    made = world.trading_settings(folder, folder / "book" / "bn_ml.db", names)
    start = world.MONDAY_MS + world.WARM * world.STEP_MS
    midnight = -(-start // (96 * world.STEP_MS)) * 96 * world.STEP_MS
    begin, end = world.from_ms(midnight), world.from_ms(midnight) + timedelta(days=days)
    scanner = made.scanner.model_copy(update={"scan_interval_sec": HOURLY})
    data = made.data.model_copy(update={"replay_from": begin, "replay_to": end})
    model = made.model.model_copy(update={"max_bundle_age_hours": 24 * days + 100})
    # Three or four entries a day are enough, and quicker.
    orders = made.exchange.orders.model_copy(update={"max_notional_per_day_usdt": 350.0})
    exchange = made.exchange.model_copy(update={"orders": orders})
    mood = made.santrade_intelligence.model_copy(update={"enabled": False})
    settings = made.model_copy(
        update={
            "scanner": scanner,
            "data": data,
            "model": model,
            "santrade_intelligence": mood,
            "exchange": exchange,
        }
    )
    world.run_replay(settings)
    return Month(folder / "book" / "bn_ml.db", settings, begin.date(), days)


def _traded(name: str, bars: int, seed: int) -> Bars:
    walked = world.walk(name, bars=bars + 1, seed=seed + 11)
    prices: Sequence[str] = ("open", "high", "low", "close")
    rounded = {column: getattr(walked, column).round(4) for column in prices}
    return replace(walked, **rounded, volume=(walked.volume * 1e4).round(3))
