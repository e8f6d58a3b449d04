"""Which facts are told, at which level, in which words."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Any, get_type_hints

import pytest

from bn_ml.domain import events as facts
from bn_ml.domain.alerts import Alert, AlertLevel
from bn_ml.domain.market import Symbol
from monitoring.alert_rules import AlertRules, bot_started, bot_stopped
from tests.fakes.alert_builders import CRITICAL, INFO, START, WARNING, at

BTC = Symbol("BTC/USDC")
QUIET = {
    "CycleStarted",
    "RiskRefused",
    "EntryApproved",
    "OrderSent",
    "OrderOutcomeUnknown",
    "OrderFinished",
    "OrderFilled",
    "CycleFinished",
    "BackupMade",
    "BackupFailed",
    "Event",
}
"""Facts of which nothing is told by themselves: routine, or told by who watches how long they last."""


def rules() -> AlertRules:
    return AlertRules("USDC")


def a_fact(kind: type[facts.Event], **fields: Any) -> facts.Event:
    """Give a fact with a plain value in every field that is not given."""
    hints = get_type_hints(kind)
    plain: dict[Any, Any] = {str: "word", int: 3, float: 0.5, Decimal: Decimal("1.5"), Symbol: BTC, datetime: START}
    given = {
        item.name: fields.get(item.name, plain.get(hints[item.name], {} if item.name == "funnel" else ()))
        for item in dataclasses.fields(kind)
    }
    if kind is facts.DriftDetected:
        given["symbol"] = fields.get("symbol", BTC)
    return kind(**given)


def told(*events: facts.Event) -> list[Alert]:
    one = rules()
    return [alert for event in events for alert in one.alerts_of(event)]


def opened(*events: facts.Event) -> list[Alert]:
    return [alert for alert in told(*events) if not alert.ends]


EVERY_FACT = [kind for kind in vars(facts).values() if isinstance(kind, type) and issubclass(kind, facts.Event)]


@pytest.mark.parametrize("kind", EVERY_FACT, ids=lambda kind: kind.__name__)
def test_every_fact_is_told_or_is_known_to_be_routine(kind: type[facts.Event]) -> None:
    fields: dict[str, Any] = {"state": "HALTED", "reason": "tp1"} if kind is facts.ControlChanged else {"reason": "tp1"}
    alerts = told(a_fact(kind, **fields))
    assert bool(alerts) is (kind.__name__ not in QUIET)
    assert all(alert.title and alert.key and "\n" not in alert.title for alert in alerts)


@pytest.mark.parametrize(
    ("kind", "fields", "level"),
    [
        (facts.LiveStarted, {}, CRITICAL),
        (facts.ControlChanged, {"state": "HALTED"}, CRITICAL),
        (facts.ControlChanged, {"state": "REDUCE_ONLY", "reason": "disk"}, WARNING),
        (facts.ControlChanged, {"state": "REDUCE_ONLY", "reason": "disk, api_ban"}, WARNING),
        (facts.ControlChanged, {"state": "REDUCE_ONLY", "reason": "disk, missing_stop"}, CRITICAL),
        (facts.ControlChanged, {"state": "REDUCE_ONLY", "reason": "key_refused: -2015 Invalid API-key"}, CRITICAL),
        (facts.BreakerTripped, {"breaker": "breaker_daily_loss"}, CRITICAL),
        (facts.BreakerTripped, {"breaker": "breaker_drawdown"}, CRITICAL),
        (facts.BreakerTripped, {"breaker": "breaker_weekly_loss"}, WARNING),
        (facts.BreakerTripped, {"breaker": "breaker_volatility"}, WARNING),
        (facts.BalanceUnexplained, {}, CRITICAL),
        (facts.OrphanAdopted, {}, CRITICAL),
        (facts.OrderOverfilled, {}, CRITICAL),
        (facts.BookRestored, {}, CRITICAL),
        (facts.CycleFailed, {}, CRITICAL),
        (facts.OrderRejected, {}, WARNING),
        (facts.DriftDetected, {}, WARNING),
        (facts.BundleRefused, {}, WARNING),
        (facts.PositionOpened, {}, INFO),
        (facts.PositionClosed, {}, INFO),
        (facts.LegTaken, {"reason": "tp2"}, INFO),
        (facts.BundleAdopted, {}, INFO),
        (facts.MoodChanged, {}, INFO),
    ],
)
def test_facts_have_the_level_of_the_table(kind: type[facts.Event], fields: dict[str, Any], level: AlertLevel) -> None:
    assert [alert.level for alert in opened(a_fact(kind, **fields))] == [level]


def test_a_purchase_says_what_for_how_much_and_why() -> None:
    approved = facts.EntryApproved(START, BTC, Decimal(100), "risk", 0.46, 7.4)
    bought = facts.PositionOpened(START, BTC, "p1", Decimal("0.0023809"), Decimal(42000), Decimal(41370))
    worth = a_fact(facts.CycleFinished, equity=Decimal(1000))
    (alert,) = opened(worth, approved, bought)
    assert alert.title == "BUY BTC/USDC 100.00 USDC @ 42000"
    assert alert.why == "p 0.46, score 7.4, stop 41370, risk 0.15% of equity"


def test_a_close_says_its_result_and_reason() -> None:
    closed = facts.PositionClosed(START, BTC, "p1", "stop_loss", Decimal("-1.234"), 5400)
    (alert,) = opened(closed)
    assert (alert.title, alert.why) == ("CLOSED BTC/USDC -1.23 USDC (stop_loss)", "held 1.5 h, result after all fees")


@pytest.mark.parametrize("reason", ["stop_loss", "time_stop", "trailing_stop", "kill_switch"])
def test_a_sale_that_closes_is_told_as_the_close_only(reason: str) -> None:
    assert told(a_fact(facts.LegTaken, reason=reason)) == []


def test_a_refused_stop_is_critical_until_the_stops_rest() -> None:
    sent = a_fact(facts.OrderSent, client_id="c1", purpose="stop")
    refused = a_fact(facts.OrderRejected, client_id="c1", reason="PERCENT_PRICE_BY_SIDE")
    alert, end = told(sent, refused, a_fact(facts.PositionProtected))
    assert (alert.level, alert.title, alert.why) == (CRITICAL, "stop refused BTC/USDC", "PERCENT_PRICE_BY_SIDE")
    assert (end.ends, end.key) == (True, alert.key)


def test_a_refused_entry_is_a_warning() -> None:
    sent = a_fact(facts.OrderSent, client_id="c1", purpose="entry")
    (alert,) = told(sent, a_fact(facts.OrderRejected, client_id="c1"))
    assert alert.level is WARNING


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (
            a_fact(facts.BreakerTripped, breaker="breaker_var"),
            a_fact(facts.BreakerCleared, breaker="breaker_var"),
        ),
        (a_fact(facts.ControlChanged, state="HALTED"), a_fact(facts.ControlChanged, state="NORMAL")),
        (a_fact(facts.ControlChanged, state="REDUCE_ONLY"), a_fact(facts.ControlChanged, state="NORMAL")),
        (a_fact(facts.ControlChanged, state="REDUCE_ONLY"), a_fact(facts.ControlChanged, state="HALTED")),
        (a_fact(facts.BalanceUnexplained, asset="BTC"), a_fact(facts.ForeignDeclared, asset="BTC")),
        (a_fact(facts.BalanceUnexplained, asset="BTC"), a_fact(facts.DifferenceWrittenOff, asset="BTC")),
        (a_fact(facts.DriftDetected), a_fact(facts.BundleAdopted)),
        (a_fact(facts.BundleRefused), a_fact(facts.BundleAdopted)),
        (a_fact(facts.CycleFailed, cycle=7), a_fact(facts.CycleFinished, cycle=8)),
    ],
)
def test_incidents_have_an_end(begins: facts.Event, ends: facts.Event) -> None:
    (began,) = opened(begins)
    assert began.key in {alert.key for alert in told(begins, ends) if alert.ends}


@pytest.mark.parametrize(
    ("error", "level"),
    [
        ("scan: Unreachable: no answer", WARNING),
        ("look: Transient: time-out", WARNING),
        ("scan: KeyError: 'Unreachable: x'", CRITICAL),
        ("scan", CRITICAL),
    ],
)
def test_a_cycle_that_fails_for_the_network_is_a_warning(error: str, level: AlertLevel) -> None:
    begins = a_fact(facts.CycleFailed, cycle=7, error=error)
    (alert,) = opened(begins)
    assert alert.level is level
    assert alert.key in {end.key for end in told(begins, a_fact(facts.CycleFinished, cycle=8)) if end.ends}


@pytest.mark.parametrize("regime", ["disabled", "insufficient_data"])
def test_no_mood_is_no_news(regime: str) -> None:
    assert told(a_fact(facts.MoodChanged, regime=regime)) == []


def test_the_end_of_a_failed_cycle_itself_ends_nothing() -> None:
    failed, same = a_fact(facts.CycleFailed, cycle=7), a_fact(facts.CycleFinished, cycle=7)
    assert [alert.ends for alert in told(failed, same)] == [False]


def a_scan(symbols: int, **funnel: int) -> facts.ScanFinished:
    return facts.ScanFinished(START, 1, symbols, 0, funnel)


@pytest.mark.parametrize(
    ("scans", "keys"),
    [
        ([a_scan(3, no_bundle=3)], []),
        ([a_scan(3, no_bundle=2, no_skill=1)] * 2, ["no_tradable_bundle"]),
        ([a_scan(3, no_bundle=2, no_skill=1)] * 5, ["no_tradable_bundle"]),
        ([a_scan(3, no_bundle=2)] * 5, []),
        ([a_scan(3, no_bundle=2, margin_too_small=1)] * 5, []),
        ([a_scan(3, data_stale=3)] * 2, ["no_data"]),
        ([a_scan(3, data_stale=3), a_scan(3), a_scan(3, data_stale=3)], []),
        ([a_scan(0)] * 5, []),
    ],
)
def test_scans_without_a_single_symbol_to_judge_are_told_once(scans: list[facts.Event], keys: list[str]) -> None:
    assert [alert.key for alert in opened(*scans)] == keys


def test_a_scan_that_judges_again_ends_the_incident() -> None:
    ends = {alert.key for alert in told(*[a_scan(3, data_gap=3)] * 2, a_scan(3, proba_too_low=3)) if alert.ends}
    assert "no_data" in ends


def test_what_it_remembers_is_bounded() -> None:
    one = rules()
    for number in range(2000):
        one.alerts_of(a_fact(facts.EntryApproved, symbol=Symbol(f"C{number}/USDC")))
        one.alerts_of(a_fact(facts.OrderSent, client_id=f"c{number}", purpose="stop"))
    assert len(one._approved) <= 500
    assert len(one._stops) <= 500


def test_start_and_stop_are_information() -> None:
    assert [bot_started(at(0), "paper").level, bot_stopped(at(1), "told to").level] == [INFO, INFO]
