"""Books for the dashboard: real databases in every state a viewer may meet, and the page drawn over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import yaml
from streamlit.testing.v1 import AppTest

from bn_ml.codecs import to_plain
from bn_ml.domain.account import ControlState
from bn_ml.domain.events import PositionClosed
from bn_ml.domain.identity import BookIdentity
from bn_ml.domain.market import Symbol, iso
from bn_ml.domain.orders import Side
from bn_ml.state_store import StateStore
from tests.fakes.book_builders import a_position

ROOT = Path(__file__).resolve().parents[2]
ETH = Symbol("ETH/USDC")
PANELS = ("overview", "positions", "opportunities", "trades", "models", "metrics", "risk_flags", "cycle_feed")


def scan_row(symbol: str, reason: str | None, p_buy: float, price: float | None = None) -> dict[str, object]:
    """A row of the newest scan."""
    return {
        "symbol": symbol,
        "action": "HOLD" if reason else "BUY",
        "reason": reason,
        "confidence": 0.6,
        "probas": {"BUY": p_buy, "HOLD": 0.5, "SELL": round(0.5 - p_buy, 4)},
        "price": price,
        "correlation_btc": 0.8,
        "bundle_version": 1,
        "score": 4.0,
        "data_source": "binance",
    }


def cycle_data(number: int, equity: float, funnel: Mapping[str, int], source: str = "binance") -> dict[str, object]:
    """The fields of a cycle row."""
    return {
        "cycle": number,
        "mode": "paper",
        "data_source": source,
        "control_state": "NORMAL",
        "open_positions": 1,
        "full_closes": 0,
        "partial_closes": 0,
        "daily_pnl_pct": equity / 1000.0 - 1.0,
        "equity": equity,
        "drawdown_pct": max(0.0, 1.0 - equity / 1000.0),
        "exposure_pct": 0.13,
        "breakers": [],
        "funnel": dict(funnel),
        "durations_ms": {"adopt": 1.0, "manage": 20.0, "scan": 300.0, "enter": 4.0},
        "errors": [],
    }


def account(equity: float) -> dict[str, object]:
    """The account of the last cycle."""
    breaker = {"name": "breaker_daily_loss", "value": 0.029, "limit": 0.03, "distance": 0.001, "tripped": False}
    drift = {"name": "breaker_drift", "value": 0.0, "limit": 0.0, "distance": 0.0, "tripped": False, "clears_at": None}
    return {
        "equity": equity,
        "total_capital": equity,
        "active_capital": 0.6 * equity,
        "equity_peak": 1000.0,
        "drawdown_pct": 1.0 - equity / 1000.0,
        "exposure_pct": 0.13,
        "daily_pnl_pct": -0.01,
        "weekly_pnl_pct": 0.02,
        "daily_realized_usdt": -1.0,
        "weekly_realized_usdt": 2.0,
        "unrealized_usdt": 1.5,
        "exchange_quote_asset": "USDC",
        "market_regime": "neutral",
        "breakers": [{**breaker, "clears_at": "2099-01-01T00:00:00.000Z"}, drift],
    }


def empty_book(path: Path) -> None:
    """A book in which nothing has happened yet."""
    StateStore(path).close()


def kept_book(path: Path, now: datetime, *, source: str = "binance", cycles: int = 6, trades: int = 4) -> None:
    """A book after a few cycles, the last one 20 s before `now`, with one open position and some closed ones."""
    store = StateStore(path)
    store.put("book_identity", to_plain(BookIdentity("paper", "paper", now)), now)
    with store.transaction():
        _history(store, now, source, cycles)
        _closed(store, now, trades)
    store.close()


def set_control(path: Path, state: ControlState, reason: str, at: datetime) -> None:
    """Change the control state as the kill switch does."""
    store = StateStore(path)
    store.set_control(state, reason, "operator", at)
    store.close()


def config_for(folder: Path, book: Path, **dashboard: object) -> Path:
    """A configuration whose book is `book`."""
    path = folder / "bot.yaml"
    content = {
        "storage": {"sqlite_path": str(book)},
        "universe": {"training_symbols": ["BTC/USDC", "ETH/USDC"]},
        "monitoring": {
            "metrics_dir": str(folder / "metrics"),
            "logs_dir": str(folder / "logs"),
            "dashboard": {"timeframe_default": "all", **dashboard},
        },
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def page(panel: str = "overview", **query: str) -> AppTest:
    """The page as a first visit draws it; the configuration stands on the command line."""
    shown = AppTest.from_file(str(ROOT / "monitoring" / "dashboard.py"), default_timeout=30)
    shown.query_params["panel"] = panel
    for name, value in query.items():
        shown.query_params[name] = value
    return shown.run()


def markup(shown: AppTest) -> str:
    """All markup of the page but its style sheet."""
    parts = [str(item.proto.body) for item in shown.get("html")]
    return "\n".join(part for part in parts if not part.startswith("<style"))


def _history(store: StateStore, now: datetime, source: str, cycles: int) -> None:
    for number in range(1, cycles + 1):
        at = now - timedelta(minutes=5 * (cycles - number), seconds=20)
        data = cycle_data(number, 1000.0 - number, {"proba_below_min": 1, "no_bundle": 1}, source)
        store.add_cycle(at=at, opportunities=0, opened_positions=0, data=data)
    last = now - timedelta(seconds=20)
    rows = [scan_row("BTC/USDC", "proba_below_min", 0.4), scan_row("ETH/USDC", "no_bundle", 0.1)]
    store.put("latest_scan", {"at": iso(last), "rows": rows, "data_source": source}, last)
    store.put("account_state", {"at": iso(last), **account(1000.0 - cycles)}, last)
    store.put("account_book", {"marks": {"BTC/USDC": "26500"}}, last)
    store.put("heartbeat", {"at": iso(last), "cycle": cycles, "mode": "paper"}, last)
    position = replace(a_position(opened_at=last - timedelta(hours=2)), protected_at=last)
    store.save_position(position)


def _closed(store: StateStore, now: datetime, trades: int) -> None:
    for number in range(trades):
        at = now - timedelta(minutes=3 * (trades - number))
        pnl = Decimal("1.25") if number % 2 else Decimal("-0.75")
        extra = {"pnl_usdt": float(pnl), "pnl_pct": float(pnl) / 50, "fee": 0.05, "fee_asset": "USDC", "reason": "tp1"}
        shown = {**extra, "slippage_pct": 0.0001, "held_s": 900.0, "base_qty": 0.002, "entry_price": 25000.0}
        store.add_trade(
            at=at, symbol=ETH, side=Side.SELL, size_quote=Decimal(50), price=Decimal(25600), mode="paper", extra=shown
        )
        store.add_event(PositionClosed(at, ETH, f"p-{number}", "tp1", pnl, 900.0), number)
