"""Books, prediction logs, bundles and logs as a running bot leaves them, small, for what the dashboard shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

from bn_ml.domain.market import Symbol, iso
from bn_ml.domain.orders import Side
from bn_ml.domain.signals import Action, GateVerdict, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.prediction_log import PredictionLog, log_beside
from bn_ml.state_reader import CycleRow, MetricsRow, TradeRow
from bn_ml.state_store import StateStore

NOW = datetime(2026, 3, 2, 10, 15, 30, tzinfo=timezone.utc)
BAR = timedelta(minutes=15)
SYMBOLS = ("ADA/USDC", "BTC/USDC", "ETH/USDC")
BTC = Symbol("BTC/USDC")
PLAIN: Mapping[str, object] = {}


def a_trade(
    number: int,
    side: str = "BUY",
    *,
    symbol: str = "BTC/USDC",
    at: datetime | None = None,
    price: float = 100.0,
    extra: Mapping[str, object] = PLAIN,
) -> TradeRow:
    """One coin bought or sold for a fee of 0.1 in the quote asset, 0.1 % worse than asked."""
    told: dict[str, object] = {
        "base_qty": 1.0,
        "fee": 0.1,
        "fee_asset": "USDC",
        "slippage_pct": 0.001,
        "order_id": str(number),
        "data_source": "synthetic",
    }
    if side == "SELL":
        told |= {
            "reason": "tp1",
            "cost_basis_closed": 100.1,
            "pnl_usdt": price - 100.2,
            "pnl_pct": (price - 100.2) / 100.1,
            "held_s": 3_600.0,
        }
    else:
        told |= {"expected_net_pct": 0.002, "confidence": 0.46, "bundle_version": 3}
    when = at or NOW - timedelta(minutes=1000 - number)
    return TradeRow(number, when, Symbol(symbol), side, price, price, "paper", {**told, **extra})


def a_cycle(number: int, *, funnel: Mapping[str, int] = {}, scan_ms: float = 60.0) -> CycleRow:
    """A cycle whose scan took some time and whose rest took 4 ms."""
    data = {"durations_ms": {"adopt": 1.0, "manage": 3.0, "scan": scan_ms}, "funnel": dict(funnel)}
    return CycleRow(number, NOW - timedelta(minutes=500 - number), 0, 0, data)


def a_bundle(symbol: str = "BTC/USDC", **more: object) -> dict[str, object]:
    """Metadata of a bundle that may trade, as a trainer writes it."""
    classes = {
        "SELL": {"precision": 0.5, "recall": 0.4, "f1": 0.44, "base_rate": 0.3},
        "HOLD": {"precision": 0.6, "recall": 0.7, "f1": 0.65, "base_rate": 0.5},
        "BUY": {"precision": 0.4, "recall": 0.3, "f1": 0.34, "base_rate": 0.2},
    }
    return {
        "symbol": symbol,
        "model_key": symbol.replace("/", "_"),
        "version": 3,
        "trained_at": iso(NOW - timedelta(hours=50)),
        "data_span": {"start": iso(NOW - timedelta(days=365)), "end": iso(NOW), "rows": 900, "source": "synthetic"},
        "feature_columns": ["ret_1", "adx_14", "rsi_14"],
        "dataset_rows": 900,
        "label_counts": {"SELL": 300, "HOLD": 400, "BUY": 200},
        "base_rates": {"SELL": 3 / 9, "HOLD": 4 / 9, "BUY": 2 / 9},
        "ensemble_weights": {"rf": 0.0, "xgb": 0.6, "lgb": 0.4},
        "calibration": {"method": "dirichlet"},
        "validation_metrics": {
            "skill": 0.04,
            "skill_interval": [0.02, 0.06],
            "accuracy": 0.55,
            "log_loss": 0.96,
            "prior_log_loss": 1.0,
            "ece": 0.02,
            "ece_noise_floor": 0.015,
            "rows": 120,
            "classes": classes,
        },
        "tradable": {"verdict": True, "reasons": []},
        **more,
    }


def a_record(number: int, metrics: Mapping[str, object]) -> MetricsRow:
    """A row of `model_metrics`."""
    return MetricsRow(number, NOW - timedelta(hours=100 - number), metrics)


def an_opportunity(
    symbol: str, at: datetime, buy: float = 0.4, *, version: int | None = 3, reason: str | None = None
) -> Opportunity:
    """What a scan says of a symbol; with a reason it is a HOLD that gates stopped."""
    known = version is not None
    gates = (
        GateVerdict("bundle_stale", 50.0, 100.0, True),
        GateVerdict("proba_below_min", buy, 0.42, buy >= 0.42),
        GateVerdict("ev_not_positive", 0.001, 0.0, True),
    )
    probabilities = Probabilities((1 - buy) / 2, (1 - buy) / 2, buy) if known else Probabilities(0.0, 1.0, 0.0)
    action = Action.HOLD if reason else Action.BUY
    members = {"xgb": probabilities} if known else {}
    signal = Signal(
        Symbol(symbol),
        action,
        probabilities,
        at,
        reason,
        members=members,
        bundle_version=version,
        data_source="synthetic",
        gates=gates if known else (),
    )
    return Opportunity(signal, None, score=10 * buy if known else 1.0, reason=reason)


def write_predictions(book: Path, bars: int = 8, *, until: datetime = NOW) -> None:
    """Leave what was said at the last bars beside a book; ADA has no bundle."""
    log = PredictionLog(log_beside(book))
    newest = datetime.fromtimestamp(until.timestamp() // 900 * 900, timezone.utc)
    for place in range(bars):
        at = newest - (bars - 1 - place) * BAR
        buy = 0.30 + 0.02 * place
        refused = (
            an_opportunity("ADA/USDC", at, version=None, reason="no_bundle"),
            an_opportunity("ETH/USDC", at, 0.2, reason="proba_below_min"),
        )
        log.record(ScanReport(at, (an_opportunity("BTC/USDC", at, buy),), refused))
    log.close()


def a_scan(at: datetime = NOW - timedelta(seconds=20)) -> dict[str, object]:
    """The keyed value `latest_scan` of three symbols."""
    shown = (
        an_opportunity("ADA/USDC", at, version=None, reason="no_bundle"),
        an_opportunity("ETH/USDC", at, 0.2, reason="proba_below_min"),
        an_opportunity("BTC/USDC", at, 0.46),
    )
    return {"at": iso(at), "data_source": "synthetic", "rows": [item.as_dict() for item in shown]}


def write_book(path: Path, *, trades: int = 0, kept: Mapping[str, object] = PLAIN, models: int = 0) -> Path:
    """Write a book of ten cycles with pairs of trades, keyed values and records of bundles; gives its path."""
    store = StateStore(path)
    try:
        store.session.execute("PRAGMA synchronous = OFF")
        store.bind_book("paper", "tests", NOW)
        store.deposit("USDC", Decimal(1000), NOW, "starting capital")
        with store.transaction():
            for number in range(10):
                row = a_cycle(number, funnel={"proba_below_min": 2, "no_bundle": 1})
                store.add_cycle(at=row.at, opportunities=0, opened_positions=0, data=dict(row.data))
            for number in range(1, trades + 1):
                _add(store, a_trade(number, "BUY" if number % 2 else "SELL", price=100.0 + number % 3))
            for symbol in SYMBOLS[:models]:
                store.add_model_metrics(NOW, a_bundle(symbol))
            for key, value in kept.items():
                store.put(key, value, NOW)
    finally:
        store.close()
    return path


def write_bundle(models_dir: Path, symbol: str = "BTC/USDC", **more: object) -> Path:
    """Write the folder of a bundle with its metadata and one opaque file; gives the folder."""
    folder = models_dir / symbol.replace("/", "_")
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps(a_bundle(symbol, **more)), encoding="utf-8")
    (folder / "ensemble.bin").write_bytes(b"\x80never unpickled")
    return folder


def _add(store: StateStore, row: TradeRow) -> None:
    store.add_trade(
        at=row.at,
        symbol=row.symbol,
        side=Side(row.side),
        size_quote=Decimal(str(row.size_usdt)),
        price=Decimal(str(row.price)),
        mode=row.mode,
        extra=dict(row.extra),
    )
