"""What the bot says at its start and at its end."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal

from bn_ml.codecs import from_plain
from bn_ml.config import LoadedSettings
from bn_ml.domain.market import ZERO, Symbol, iso
from bn_ml.domain.orders import Fill
from bn_ml.errors import ModelError
from bn_ml.state_reader import StateReader
from ml_engine.decision import skill_verdict
from scripts.market_basket import basket
from scripts.wiring import TradingBot

RULE = "=" * 100
ALL = 10_000_000
NAMED = 8


def banner(bot: TradingBot, loaded: LoadedSettings) -> str:
    """Give the opening words: mode, data, capital, which symbols can be traded and why not the others."""
    settings, now = bot.settings, bot.world.clock.now()
    lines = [
        RULE,
        f"BN-ML  mode {_mode(bot)}  market data {bot.world.source.name.upper()}  {iso(now)}",
        *([f"!! {bot.world.source.notice}"] if bot.world.source.notice else []),
        *_tempo(bot),
        *_ceiling(bot),
        f"configuration {loaded.path or 'defaults'}  book {bot.store.path}",
        f"capital {_capital(bot):.2f} {settings.base_quote}  state {bot.store.control().state.value}  "
        f"positions {len(bot.store.open_positions())}",
        *_symbol_lines(bot, now),
        *_basket_lines(bot, now),
        "Ctrl-C stops after the current step; resting stops stay on the exchange.",
        RULE,
    ]
    return "\n".join(lines)


def summary(bot: TradingBot) -> tuple[dict[str, object], str]:
    """Give the closing figures, and as text: trades, costs, equity, refusals by gate."""
    account = bot.engine.account()
    statistics = account.statistics
    reader = StateReader(bot.store.path)
    rows, booked = reader.cycles(limit=ALL), reader.fills(limit=ALL)
    gates = Counter[str]()
    for row in rows:
        gates.update(from_plain(dict[str, int], row.data.get("funnel", {})))
    fees, fills, cycles = sum(map(fee_in_quote, booked), ZERO), len(booked), len(rows)
    figures: dict[str, object] = {
        "mode": bot.account.mode,
        "data_source": bot.world.source.name,
        "cycles": cycles,
        "fills": fills,
        "closed_positions": statistics.closed,
        "open_positions": len(bot.store.open_positions()),
        "win_rate": round(statistics.win_rate, 4),
        "net_profit": float(statistics.sum_wins + statistics.sum_losses),
        "fees": float(fees),
        "equity": float(account.equity),
        "drawdown_pct": round(account.drawdown_frac, 6),
        "control_state": bot.store.control().state.value,
        "control_reason": bot.store.control().reason,
        "refusals": dict(gates.most_common()),
        "at": iso(account.at),
    }
    quote = bot.settings.base_quote
    stopped = ", ".join(f"{name} {count}" for name, count in gates.most_common(12)) or "nothing"
    text = "\n".join(
        [
            RULE,
            f"ended {figures['at']} after {cycles} cycles, "
            f"state {figures['control_state']} {figures['control_reason']}",
            f"positions closed {statistics.closed} (won {statistics.wins}, lost {statistics.losses}), "
            f"open {figures['open_positions']}, fills {fills}",
            f"net profit of closed positions {figures['net_profit']:.2f} {quote}, fees {fees:.2f} {quote}, "
            f"equity {account.equity:.2f} {quote}, drawdown {account.drawdown_frac:.2%}",
            f"stopped by: {stopped}",
            RULE,
        ]
    )
    return figures, text


def fee_in_quote(fill: Fill) -> Decimal:
    """Give a fill's fee in the quote asset, a fee in the base asset at the price of the fill."""
    if fill.fee_asset == fill.symbol.base:
        return fill.fee * fill.price
    return fill.fee if fill.fee_asset == fill.symbol.quote else ZERO


def _mode(bot: TradingBot) -> str:
    return bot.account.mode.upper() if bot.account.mode == bot.account.name else f"LIVE on {bot.account.name}"


def _tempo(bot: TradingBot) -> list[str]:
    if bot.world.is_replay:
        return [f"replay until {iso(bot.world.ends_at or bot.world.clock.now())}, as fast as it goes"]
    if bot.world.source.name.startswith("binance"):
        return []
    return [f"!! market time runs {bot.settings.data.synthetic_speed:g} times faster than the clock on the wall"]


def _ceiling(bot: TradingBot) -> list[str]:
    if bot.account.mode == "paper":
        return []
    limit = bot.settings.risk.max_live_capital_usdt
    return [f"!! REAL ORDERS are sent; at most {limit:g} {bot.settings.base_quote} are traded (max_live_capital_usdt)"]


def _capital(bot: TradingBot) -> Decimal:
    return bot.store.ledger_balances().get(bot.settings.base_quote, ZERO)


def _symbol_lines(bot: TradingBot, now: datetime) -> list[str]:
    good, held = [], dict[str, list[str]]()
    gated = bot.settings.model.ensemble.skill_gate
    listed = bot.world.source.markets()
    for symbol in bot.symbols:
        verdict, proven = verdict_of(bot, symbol, now) if symbol in listed else ("not listed by the data source", False)
        if proven:
            good.append(f"{symbol} {verdict}")
        else:
            held.setdefault(verdict, []).append(str(symbol))
    unproven = [] if gated else ["!! model.ensemble.skill_gate is off: symbols without skill are traded too"]
    return [
        f"tradable: {', '.join(good) or 'none yet'}",
        *unproven,
        *(f"  {_named(symbols)}: {verdict}" for verdict, symbols in held.items()),
    ]


def _basket_lines(bot: TradingBot, now: datetime) -> list[str]:
    """Warn of bundles that learnt the market columns from other symbols than those they are computed from here."""
    present = set(map(str, basket(bot.settings, bot.world.source.markets())))
    strange = []
    for symbol in bot.symbols:
        try:
            learnt = set(bot.predictor.bundle_at(symbol, now).metadata.market_basket)
        except ModelError:
            continue
        if learnt and learnt != present:
            strange.append(str(symbol))
    told = "!! learnt with other symbols around than universe.training_symbols has, train again"
    return [f"{told}: {_named(strange)}"] if strange else []


def verdict_of(bot: TradingBot, symbol: Symbol, now: datetime) -> tuple[str, bool]:
    """Give what the bundle of a symbol says of itself, judged beside the others, and whether that lets it trade."""
    try:
        metadata = bot.predictor.bundle_at(symbol, now).metadata
    except ModelError as error:
        return f"HOLD, {_explained(error)}", False
    gate = skill_verdict(metadata, binding=True, largest_p_value=bot.predictor.acceptance(bot.symbols, now))
    if gate.passed:
        return f"v{metadata.version}", True
    if metadata.tradable.verdict:
        beside = f"beside the other bundles p {gate.value:.3g} may be luck, {gate.limit:.3g} is needed"
        return f"HOLD, no_skill: {beside}" if bot.settings.model.ensemble.skill_gate else f"not proven, {beside}", False
    why = ", ".join(metadata.tradable.reasons) or "no_skill"
    return (f"HOLD, {why}" if bot.settings.model.ensemble.skill_gate else f"not proven, {why}"), False


def _explained(error: ModelError) -> str:
    return error.reason if error.reason == "no_bundle" else f"{error.reason}: {error}"


def _named(symbols: list[str]) -> str:
    named = ", ".join(symbols[:NAMED])
    return named if len(symbols) <= NAMED else f"{named} and {len(symbols) - NAMED} others"
