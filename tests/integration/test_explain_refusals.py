"""`bnml-doctor explain SYMBOL --at T` names what stopped a symbol at T, with value and limit: gate, scan or risk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.events import CycleStarted, RiskRefused
from bn_ml.domain.market import Quote, Symbol
from bn_ml.domain.signals import Action, GateVerdict, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.prediction_log import PredictionLog, log_beside
from bn_ml.settings import Settings
from bn_ml.state_store import StateStore
from scripts import doctor
from scripts.scan_limits import ScanLimits

BTC = Symbol("BTC/USDC")
CLOSE = datetime(2024, 3, 4, 12, 15, tzinfo=timezone.utc)
SAID = Probabilities(0.1, 0.3, 0.6)
BUY = Signal(BTC, Action.BUY, SAID, CLOSE, members={"rf": SAID}, bundle_version=1, data_source="synthetic")
HOLD = Signal(
    BTC,
    Action.HOLD,
    SAID,
    CLOSE,
    "margin_too_small",
    members={"rf": SAID},
    bundle_version=1,
    gates=(GateVerdict("margin_too_small", 0.03, 0.07, False),),
)


def minute(number: int) -> datetime:
    return CLOSE + timedelta(minutes=number)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bot.yaml"
    path.write_text(
        "data: {paper_market_data_mode: synthetic}\nuniverse: {training_symbols: [BTC/USDC]}\n"
        f"model: {{models_dir: {tmp_path / 'models'}}}\nstorage: {{sqlite_path: {tmp_path / 'bot.db'}}}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def book(tmp_path: Path, config: Path) -> Iterator[StateStore]:
    """A book in which one bar was scanned thrice: too wide a spread, then risk refused, then a gate held it."""
    store = StateStore(tmp_path / "bot.db")
    store.bind_book("paper", "paper", CLOSE)
    with store.transaction():
        store.add_event(CycleStarted(minute(12), 1), 1)
        store.add_event(RiskRefused(minute(6), Symbol("BT/USDC"), "cooldown", 1.0, 2.0), 1)
        store.add_event(RiskRefused(minute(6), BTC, "max_exposure", 0.52, 0.5), 1)
    quote = Quote(BTC, Decimal(99), Decimal(101), Decimal(100), minute(1), "synthetic", Decimal(9), Decimal(1))
    log = PredictionLog(log_beside(store.path), judge=ScanLimits(Settings.from_mapping({})).verdict)
    log.record(ScanReport(minute(1), (), (Opportunity(BUY, quote, reason="spread"),)))
    log.record(ScanReport(minute(6), (Opportunity(BUY, quote),), ()))
    log.record(ScanReport(minute(11), (), (Opportunity(HOLD, None),)))
    log.close()
    yield store
    store.close()


def explained(config: Path, capsys: pytest.CaptureFixture[str], number: int) -> dict[str, object]:
    at = minute(number).isoformat()
    assert doctor.main(["explain", "BTC/USDC", "--config", str(config), "--json", "--at", at]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize(
    ("number", "reason", "value", "limit"),
    [(2, "spread", 0.02, 0.0012), (7, None, None, None), (12, "margin_too_small", 0.03, 0.07)],
)
def test_the_scan_in_force_is_told_with_its_numbers(
    number: int, reason: str | None, value: float | None, limit: float | None, config: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    scan = explained(config, capsys, number)["scan"]
    assert isinstance(scan, dict)
    assert (scan["reason"], scan["value"]) == (reason, value)
    assert (scan["limit"] is None) is (limit is None)


@pytest.mark.usefixtures("book")
def test_what_risk_said_is_found_for_the_symbol_and_the_instant_alone(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explained(config, capsys, 5)["risk"] is None
    risk = explained(config, capsys, 7)["risk"]
    assert isinstance(risk, dict)
    assert risk["detail"] == "rule max_exposure: 0.52 against 0.5"


@pytest.mark.usefixtures("book")
def test_the_text_says_what_the_scan_made_of_it(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = minute(2).isoformat()
    assert doctor.main(["explain", "BTC/USDC", "--config", str(config), "--at", at]) == 0
    said = capsys.readouterr().out
    assert "scan: refused from 2024-03-04T12:16:00.000Z on, spread: 0.02 against 0.00" in said
    assert "scanner.spread_max_pct" in said
