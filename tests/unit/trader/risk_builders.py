"""Builders of a calm account, a liquid symbol and a good opportunity; a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from bn_ml.domain.account import AccountState, Balance, Control, ControlState, Period
from bn_ml.domain.market import ZERO, MarketRules, Quote, Symbol
from bn_ml.domain.orders import IntentRecord, IntentState, OrderIntent, OrderType, Purpose, Side
from bn_ml.domain.positions import Position, PositionStatus
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from trader.entry_request import EntryRequest

NOW = datetime(2023, 6, 10, 12, 0, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")
ETH = Symbol("ETH/USDC")
SOL = Symbol("SOL/USDC")
DAY = Period("2023-06-10", Decimal(1000))
WEEK = Period("2023-W23", Decimal(1000))


def market_rules(symbol: Symbol = BTC, **changes: object) -> MarketRules:
    base = MarketRules(symbol, tick=Decimal("0.01"), step=Decimal("0.00001"), min_notional=Decimal(5))
    return replace(base, **changes)  # type: ignore[arg-type]


def quote(symbol: Symbol = BTC, *, bid: str = "99.99", ask: str = "100.00", age_s: float = 0, **more: object) -> Quote:
    base = Quote(
        symbol,
        Decimal(bid),
        Decimal(ask),
        Decimal(ask),
        NOW - timedelta(seconds=age_s),
        "binance",
        depth_quote=Decimal(200_000),
        volume_24h_quote=Decimal(50_000_000),
    )
    return replace(base, **more)  # type: ignore[arg-type]


def signal(
    symbol: Symbol = BTC, action: Action = Action.BUY, *, buy: float = 0.6, sell: float = 0.1, source: str = "binance"
) -> Signal:
    return Signal(symbol, action, Probabilities(sell, 1 - buy - sell, buy), NOW, data_source=source)


def opportunity(symbol: Symbol = BTC, *, score: float = 8.0, **changes: object) -> Opportunity:
    base = Opportunity(signal(symbol), quote(symbol), score=score, atr_frac=0.003, volatility_frac=0.002)
    return replace(base, **changes)  # type: ignore[arg-type]


def account(**changes: object) -> AccountState:
    base = AccountState(
        at=NOW,
        equity=Decimal(1000),
        quote_free=Decimal(1000),
        quote_total=Decimal(1000),
        exposure=ZERO,
        unrealized=ZERO,
        equity_peak=Decimal(1000),
        day=DAY,
        week=WEEK,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def exposed(amounts: Mapping[Symbol, str], **changes: object) -> AccountState:
    by_symbol = {symbol: Decimal(amount) for symbol, amount in amounts.items()}
    return account(symbol_exposure=by_symbol, exposure=sum(by_symbol.values(), start=ZERO), **changes)


def scan(correlations: Mapping[tuple[Symbol, Symbol], float] | None = None, **changes: object) -> ScanReport:
    pairs = {(ETH, BTC): 0.1, (BTC, ETH): 0.1, (BTC, SOL): 0.1, (ETH, SOL): 0.1} | dict(correlations or {})
    return replace(ScanReport(NOW, (), (), correlations=pairs), **changes)  # type: ignore[arg-type]


def position(symbol: Symbol = ETH, *, entry: str = "100", quantity: str = "1", **changes: object) -> Position:
    price, held = Decimal(entry), Decimal(quantity)
    base = Position(
        position_id=f"{symbol.key}-1",
        symbol=symbol,
        status=PositionStatus.OPEN,
        opened_at=NOW,
        entry_price=price,
        initial_quantity=held,
        remaining_quantity=held,
        cost_quote=price * held,
        cost_open_quote=price * held,
        stop=price * Decimal("0.985"),
        target_1=price * Decimal("1.02"),
        target_2=price * Decimal("1.035"),
        max_price_seen=price,
        atr_frac=0.003,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def buy_intent(symbol: Symbol = ETH, *, reserved: str = "50", state: IntentState = IntentState.SENT) -> IntentRecord:
    intent = OrderIntent(
        client_id=f"bnml-{symbol.base}",
        symbol=symbol,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal("0.5"),
        purpose=Purpose.ENTRY,
        position_id=f"{symbol.key}-2",
        created_at=NOW,
        limit_price=Decimal(100),
        reserved_quote=Decimal(reserved),
    )
    return IntentRecord(intent, state)


def cash(amount: str) -> Balance:
    return Balance("USDC", Decimal(amount))


def control(state: ControlState = ControlState.NORMAL) -> Control:
    return Control(1, state, "test", NOW, "test")


def request(**changes: object) -> EntryRequest:
    base = EntryRequest(
        opportunity=opportunity(),
        quote=quote(),
        rules=market_rules(),
        account=account(),
        control=control(),
        scan=scan(),
        now=NOW,
        disk_free_mb=10_000.0,
        positions=(),
        intents=(),
        breakers=(),
        data_source="binance",
    )
    return replace(base, **changes)  # type: ignore[arg-type]
