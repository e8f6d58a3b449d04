"""What bundles in service promised and did is read from the book and the log beside it, and judged now and then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from bn_ml.domain.alerts import Alert
from bn_ml.domain.market import Symbol, to_ms
from bn_ml.domain.signals import Action, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.prediction_log import BAR_MS, OutcomeRecord, PredictionLog, log_beside
from bn_ml.state_store import StateStore
from ml_engine.bundle_metadata import BundleMetadata
from monitoring.performance_decay import DecayWatch, Service
from scripts.service_records import BUNDLES_PER_LOOK, LOOK_EVERY, DecayLook, returns_since, services
from tests.fakes.book_builders import a_position, closed
from tests.fakes.bundle_builders import TRAINED_AT, metadata_fields

NOW = TRAINED_AT + timedelta(days=10)
BTC = Symbol("BTC/USDC")
PROMISED = {"log_loss": 0.98, "prior_log_loss": 1.0, "trades": 80, "win_rate": 0.6, "net_return": 0.004}
ONE_BAR = timedelta(milliseconds=BAR_MS)


class Told:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def offer(self, alert: Alert) -> None:
        self.alerts.append(alert)


def metadata(version: int = 2, **changes: object) -> BundleMetadata:
    fields = metadata_fields(version=version, validation_metrics=PROMISED, **changes)
    return BundleMetadata.model_validate(fields)


def found(state: Path, *serving: BundleMetadata) -> tuple[Service, ...]:
    return services(state, serving, returns_since(state, TRAINED_AT), NOW)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path / "bn_ml.db")
    opened.bind_book("paper", "paper", TRAINED_AT)
    yield opened
    opened.close()


def trade(store: StateStore, number: int, *, won: bool, version: int = 2) -> None:
    at = TRAINED_AT + timedelta(hours=number + 1)
    position = closed(a_position(f"p-{number}", opened_at=at), at + timedelta(minutes=30))
    realized = Decimal(130 if won else -130)
    store.save_position(replace(position, bundle_version=version, realized_quote=realized))


def predicted(log: PredictionLog, bars: int, *, came: int, version: int = 2) -> None:
    """Say BUY is 40 % likely at so many bars, each settled with the class `came`."""
    said = Probabilities(0.3, 0.3, 0.4)
    for bar in range(bars):
        at = TRAINED_AT + (bar + 1) * ONE_BAR
        signal = Signal(BTC, Action.BUY, said, at, members={"rf": said}, bundle_version=version)
        log.record(ScanReport(at, (Opportunity(signal, None),), ()))
        log.settle([OutcomeRecord(BTC, to_ms(at), version, came, 0.0)])


def test_promise_and_record_belong_to_the_version_in_service(store: StateStore) -> None:
    log = PredictionLog(log_beside(store.path), rows_per_write=1_000)
    predicted(log, 5, came=2, version=1)
    log.close()
    for number in range(4):
        trade(store, number, won=number < 3)
    trade(store, 9, won=False, version=1)
    (service,) = found(store.path, metadata())
    assert (service.symbol, service.version) == (BTC, 2)
    assert (service.promise.loss_ratio, service.promise.win_rate, service.promise.net_return) == (0.98, 0.6, 0.004)
    assert service.record.returns == pytest.approx([0.01, 0.01, 0.01, -0.01])
    assert service.record.forecasts == []


def test_settled_predictions_are_joined_to_what_came(store: StateStore) -> None:
    log = PredictionLog(log_beside(store.path), rows_per_write=1_000)
    predicted(log, 120, came=2)
    log.close()
    (service,) = found(store.path, metadata())
    assert service.record.forecasts == [(0.4, True)] * 120
    assert service.record.loss_days == pytest.approx(119 / 96)
    assert service.record.loss_ratio is not None
    assert service.record.loss_ratio < 1


def test_a_promise_from_too_few_trades_is_unknown(store: StateStore) -> None:
    few = metadata().model_copy(update={"validation_metrics": {**PROMISED, "trades": 5}})
    (service,) = found(store.path, few)
    assert (service.promise.win_rate, service.promise.net_return) == (None, None)


def test_without_a_book_nothing_has_been_done(tmp_path: Path) -> None:
    (service,) = found(tmp_path / "none.db", metadata())
    assert (service.record.returns, service.record.forecasts) == ((), [])


def test_a_decaying_bundle_is_told_at_the_next_look(store: StateStore) -> None:
    told = Told()
    look = DecayLook(store.path, DecayWatch(told, 0.15))
    look(NOW)
    look.serve([metadata()])
    for number in range(30):
        trade(store, number, won=number % 10 == 0)
    look(NOW)
    (alert,) = told.alerts
    assert "win rate 10% of the last 30 trades" in alert.why
    assert "expectancy -0.800% per trade" in alert.why


def test_between_looks_nothing_is_read(store: StateStore) -> None:
    told = Told()
    look = DecayLook(store.path, DecayWatch(told, 0.15))
    look.serve([metadata()])
    look(NOW)
    for number in range(30):
        trade(store, number, won=False)
    look(NOW + LOOK_EVERY - timedelta(seconds=1))
    assert told.alerts == []
    look(NOW + LOOK_EVERY)
    assert len(told.alerts) == 1


def test_a_few_bundles_are_read_at_a_time_and_judged_together(store: StateStore) -> None:
    told = Told()
    look = DecayLook(store.path, DecayWatch(told, 0.15))
    names = [f"A{number}" for number in range(BUNDLES_PER_LOOK)]
    others = [metadata(symbol=f"{name}/USDC", model_key=f"{name}_USDC") for name in names]
    look.serve([metadata(), *others])
    for number in range(30):
        trade(store, number, won=False)
    look(NOW)
    assert told.alerts == []
    look(NOW)
    assert [alert.symbol for alert in told.alerts] == [BTC]
