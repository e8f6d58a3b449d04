"""What one seed decides before anything happens: configuration, prices, wishes, and what the world will do when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

from bn_ml.domain.market import MarketRules, Symbol
from bn_ml.settings import Settings
from bn_ml.venue.account import FeeRates
from tests.sim.clock import START_MS
from tests.sim.draws import Draws

AAA, BBB, CCC = Symbol("AAA/USDC"), Symbol("BBB/USDC"), Symbol("CCC/USDC")
BTC, BNB = Symbol("BTC/USDC"), Symbol("BNB/USDC")
TRADED = (AAA, BBB, CCC)
CAPITAL = Decimal(1000)
ROUGH_MS, CALM_MS, STILL_MS = 180_000, 100_000, 12_000
CENT = Decimal("0.01")
_FOREIGN: tuple[dict[str, Decimal], ...] = (
    {},
    {"AAA": Decimal("3.5"), "EUR": Decimal(20)},
    {"AAA": Decimal(2), "BBB": Decimal("1.25"), "CCC": Decimal(9)},
)

FOR_EVER = ("hand_deposit", "hand_trade", "orphan", "kill_switch")
HAPPENINGS = (
    *("halt",) * 4,
    *("filters",) * 2,
    *("quota",) * 4,
    *("thin",) * 6,
    *("freeze",) * 5,
    *("down",) * 3,
    *("hand_cancel",) * 8,
    *("foreign_order",) * 4,
    *("ban",) * 5,
    *("wall_jump",) * 5,
    *("takeover",) * 2,
    *("reduce_only",) * 1,
    *FOR_EVER,
)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something the world does at an instant. `length_ms` is how long it lasts, `number` what it needs besides."""

    name: str
    at_ms: int
    kind: str
    symbol: Symbol
    length_ms: int
    number: int


@dataclass(frozen=True, slots=True)
class Rates:
    """How often what goes wrong; shares of calls, of crash points, of transactions."""

    write: float
    read: float
    crash: float
    disk: float


@dataclass(frozen=True)
class Plan:
    """One schedule before any fault is drawn."""

    seed: int
    settings: Settings
    fees: FeeRates
    bnb: Decimal
    opening: dict[Symbol, Decimal]
    prices: tuple[tuple[int, Symbol, Decimal], ...]
    happenings: tuple[Happening, ...]
    rates: Rates
    eager: float
    thin: tuple[int, ...]
    participation: Decimal
    foreign: dict[str, Decimal]
    paper_before: bool
    wire: bool

    def wanted(self, at_ms: int) -> tuple[Symbol, ...]:
        """Give the symbols wanted by the scan of an instant."""
        draws = Draws(self.seed, "wish", at_ms // 15_000)
        return tuple(symbol for symbol in TRADED if draws.chance(self.eager))

    def disliked(self, at_ms: int) -> tuple[Symbol, ...]:
        """Give the symbols a scan says SELL for."""
        draws = Draws(self.seed, "sell", at_ms // 15_000)
        return tuple(symbol for symbol in TRADED if draws.chance(0.15))

    def rules(self, symbol: Symbol) -> MarketRules:
        """Give the filters a symbol begins with."""
        coarse = Draws(self.seed, "rules", symbol).chance(0.3)
        base = MarketRules(
            symbol,
            tick=CENT,
            step=Decimal("0.01") if coarse else Decimal("0.001"),
            min_notional=Decimal(5),
            min_price=CENT,
            max_price=Decimal(100_000),
            min_quantity=Decimal("0.01") if coarse else Decimal("0.001"),
            max_quantity=Decimal(9000),
        )
        return replace(base, min_notional=Decimal(10)) if coarse else base


def draw_plan(seed: int) -> Plan:
    """Decide a schedule."""
    draws = Draws(seed, "plan")
    in_bnb = draws.chance(0.3)
    bnb = draws.one((Decimal(1), Decimal(1), Decimal("0.0005"))) if in_bnb else Decimal(0)
    fee = draws.one((Decimal("0.001"), Decimal("0.001"), Decimal("0.00075")))
    opening = {symbol: Decimal(draws.one((100, 100, 37, 12))) for symbol in TRADED}
    opening[BTC], opening[BNB] = Decimal(20_000), Decimal(250)
    return Plan(
        seed,
        settings=_settings(
            draws.one(("fixed", "fixed", "atr")),
            draws.one(("limit_ioc", "limit_ioc", "limit", "limit", "market")),
            draws.one((100, 100, 60, 35, 22, 13)),
            draws.one((0, 0, 1, 2, 3, 3)),
            draws.chance(0.4),
        ),
        fees=FeeRates(maker=fee, taker=fee, pay_with_discount_asset=in_bnb),
        bnb=bnb,
        opening=opening,
        prices=_prices(seed, opening),
        happenings=_happenings(seed),
        rates=_rates(draws),
        eager=draws.one((0.25, 0.5, 0.8)),
        thin=draws.one(((12, 40, 90), (60, 200), (2200, 100_000))),
        participation=Decimal("0.01"),
        foreign=draws.one(_FOREIGN),
        paper_before=draws.chance(0.02),
        wire=draws.chance(0.1),
    )


def _rates(draws: Draws) -> Rates:
    return Rates(
        write=draws.one((0.0, 0.04, 0.12, 0.25)),
        read=draws.one((0.0, 0.02, 0.06, 0.15)),
        crash=draws.one((0.0, 0.0, 0.002, 0.006)),
        disk=draws.one((0.0, 0.0, 0.0, 0.003)),
    )


@cache
def _settings(exit_mode: str, entry_type: str, size: int, layout: int, sells: bool) -> Settings:
    shares = ((0.5, 0.3), (0.5, 0.3), (0.34, 0.33), (0.6, 0.35), (0.85, 0.05))[layout + 1 if layout else 0]
    spec: dict[str, dict[str, Any]] = {
        "storage": {"min_free_disk_mb": 0},
        "scanner": {"scan_interval_sec": 30, "exit_interval_sec": (4, 3, 2, 4)[layout]},
        "exchange": {
            "orders": {
                "entry_type": entry_type,
                "limit_timeout_sec": 10,
                "stop_replace_min_interval_sec": 10,
                "max_notional_per_day_usdt": size * 3 if layout == 1 else 100_000,
            }
        },
        "risk": {
            "exit_mode": exit_mode,
            "max_live_capital_usdt": 1000,
            "max_position_size_usdt": size,
            "take_profit_1_fraction": shares[0],
            "take_profit_2_fraction": shares[1],
            "symbol_cooldown_min": 0,
            "max_daily_risk_pct": 0.5,
            "max_weekly_risk_pct": 0.9,
            "sell_signal_exit": sells,
            "max_open_positions": 2 if layout == 2 else 5,
            "max_exposure_pct": 0.11 if layout == 3 else 0.5,
            "max_symbol_exposure_pct": 0.11 if layout == 3 else 0.15,
            "circuit_breakers": {"max_consecutive_losses": 20},
        },
    }
    return Settings.from_mapping({"base_quote": "USDC", **spec})


def _prices(seed: int, opening: dict[Symbol, Decimal]) -> tuple[tuple[int, Symbol, Decimal], ...]:
    changes: list[tuple[int, Symbol, Decimal]] = []
    for symbol in TRADED:
        draws = Draws(seed, "price", symbol)
        price, at_ms, trend = float(opening[symbol]), 0, 0.0
        swing = draws.one((0.0008, 0.002, 0.004))
        while at_ms < ROUGH_MS + CALM_MS - STILL_MS:
            at_ms += draws.between(700, 9000)
            if draws.chance(0.08):
                trend = draws.one((-0.004, -0.002, 0.0, 0.003, 0.005, 0.008))
            jump = draws.bell() * 0.025 if draws.chance(0.04) else 0.0
            calm = 0.3 if at_ms > ROUGH_MS else 1.0
            price *= 1.0 + calm * (trend + draws.bell() * swing + jump)
            price = min(max(price, 2.0), 5000.0)
            if at_ms > ROUGH_MS + CALM_MS - STILL_MS:
                break
            changes.append((START_MS + at_ms, symbol, (Decimal(int(price * 100 + 0.5)) * CENT).quantize(CENT)))
    return tuple(sorted(changes))


def _happenings(seed: int) -> tuple[Happening, ...]:
    draws = Draws(seed, "happenings")
    count = draws.one((0, 1, 2, 3, 5))
    return tuple(
        Happening(
            f"e{number}",
            START_MS + draws.between(5_000, ROUGH_MS - 15_000),
            draws.one(HAPPENINGS),
            draws.one(TRADED),
            draws.between(2_000, 30_000),
            draws.between(0, 10**6),
        )
        for number in range(count)
    )
