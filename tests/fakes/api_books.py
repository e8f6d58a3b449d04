"""A traded book with everything the API shows, and a models folder of plain files, both made quickly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from bn_ml.domain.market import iso
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from tests.checker.good_book import QUARTER, RELAXED, START, write_book

CYCLES = 40
END = START + QUARTER * (CYCLES - 1)
SCAN_ROWS = (
    {"symbol": "BTC/USDT", "action": "BUY", "confidence": 0.5, "score": 7.0, "price": 101.5, "reason": None},
    {"symbol": "BBB/USDT", "action": "HOLD", "confidence": 0.6, "score": 0.0, "price": 50.0, "reason": "no_skill"},
    {"symbol": "CCC/USDT", "action": "SELL", "confidence": 0.4, "score": 0.0, "price": 9.0, "reason": "signal_not_buy"},
)
MOOD: Mapping[str, object] = {
    "timestamp": iso(END),
    "market_signal": "BULLISH",
    "confidence": 0.7,
    "probas": {"BULLISH": 0.7, "NEUTRAL": 0.2, "BEARISH": 0.1},
    "contributing_symbols": ["BTC/USDT", "BBB/USDT"],
    "market_score": 0.25,
    "index_value": 62.5,
    "market_regime": "bull_acceleration",
    "profile": "defensive",
    "benchmark_symbol": "BTC/USDT",
    "benchmark_price": 101.5,
    "predicted_move_pct": 0.01,
    "model_samples": 12,
    "enabled": True,
}
SECRET_FIGURE = "987654.321"


def a_traded_book(path: Path) -> None:
    """Trade forty cycles and add what workers write: a scan, a mood, training, drift and alerts."""
    write_book(path, Settings.from_mapping(RELAXED), bars=CYCLES, seed=5)
    store = StateStore(path)
    store.put("latest_scan", {"at": iso(END), "rows": [dict(row) for row in SCAN_ROWS], "data_source": "replay"}, END)
    store.put("santrade_intelligence", dict(MOOD), END)
    store.put("training_status", {"status": "running", "progress_pct": 40.0, "updated_at": iso(END)}, END)
    store.put("drift_status", {"enabled": True, "detected": False, "symbols": {"BTC/USDT": {"detected": True}}}, END)
    store.put("recent_alerts", [{"id": "a1", "ended_at": None}, {"id": "a2", "ended_at": iso(END)}], END)
    for place in range(3):
        at = END + timedelta(minutes=place)
        mood = {f"market_intelligence_{name}": MOOD[name] for name in ("confidence", "profile")}
        score = 0.25 if place == 2 else 0.1 * place
        data = {**mood, "market_intelligence_score": score, "market_intelligence_regime": "neutral"}
        store.add_cycle(at=at, opportunities=0, opened_positions=0, data={**data, "mode": "paper"})
    store.close()


def api_settings(book: Path, models: Path) -> Settings:
    """Settings of an API on a book and a models folder."""
    return Settings.from_mapping({"storage": {"sqlite_path": str(book)}, "model": {"models_dir": str(models)}})


def a_bundle_folder(models: Path, key: str, *, version: int = 3, blob: bytes = b"weights" * 1000) -> Path:
    """Write a bundle directory as the store lays it out: metadata, a blob, the manifest and a signature."""
    folder = models / key
    folder.mkdir(parents=True)
    metadata = {
        "symbol": key.replace("_", "/"),
        "version": version,
        "trained_at": iso(START),
        "tradable": {"verdict": False, "reasons": ["no_skill"]},
        "skill": {"report": {"value": 0.041}},
    }
    files = {"metadata.json": json.dumps(metadata).encode(), "ensemble.bin": blob}
    facts = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    files["manifest.json"] = json.dumps({"version": version, "files": facts}).encode()
    files["manifest.sig"] = b"s" * 64
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "notes_not_in_the_manifest.txt").write_text("private")
    return folder


def shown_settings(folder: Path) -> Settings:
    """Settings of an API that shows a traded book and two bundles; nobody writes to them."""
    a_traded_book(folder / "bn_ml.db")
    for key in ("BTC_USDT", "BBB_USDT"):
        a_bundle_folder(folder / "models", key)
    return api_settings(folder / "bn_ml.db", folder / "models")
