"""What the daily digest says, and when."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from bn_ml.domain import events as facts
from bn_ml.domain.market import Symbol
from monitoring.daily_digest import DailyDigest, DayTally, DigestClock, digest_alert, read_tally
from tests.fakes.alert_builders import INFO

DAY = datetime(2026, 3, 2, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")


def when(hour: int, minute: int = 0, day: int = 0) -> datetime:
    return DAY + timedelta(days=day, hours=hour, minutes=minute)


def a_fill(fee: str, asset: str) -> facts.OrderFilled:
    return facts.OrderFilled(DAY, BTC, "c1", "1", "BUY", Decimal(100), Decimal(1), Decimal(fee), asset)


def a_day() -> DayTally:
    tally = DayTally("USDC")
    for event in (
        facts.CycleFinished(DAY, 1, Decimal(1000), 0, 0, 0),
        facts.PositionOpened(DAY, BTC, "p", Decimal(1), Decimal(100), Decimal(98)),
        a_fill("0.1", "USDC"),
        a_fill("0.001", "BTC"),
        a_fill("5", "BNB"),
        facts.PositionClosed(DAY, BTC, "p", "tp2", Decimal("1.9"), 60),
        facts.ScanFinished(DAY, 1, 4, 0, {"no_skill": 1, "proba_too_low": 2}),
        facts.RiskRefused(DAY, BTC, "max_exposure", 0.5, 0.4),
        facts.CycleFinished(DAY, 2, Decimal("1003.00"), 0, 0, 0),
    ):
        tally.note(event)
    return tally


def test_the_digest_says_what_the_day_was() -> None:
    alert = digest_alert(when(7), a_day(), ("tradable 3/7, oldest bundle 4 d",))
    assert alert.level is INFO
    assert alert.title == "daily 2026-03-02 | equity 1003.00 (+0.3%) | 1 opened, 1 closed, net +1.90, costs 0.20"
    expected = "4 refusals: proba_too_low 50%, max_exposure 25%, no_skill 25% | tradable 3/7, oldest bundle 4 d"
    assert alert.why == expected


def test_a_quiet_day_is_a_digest_too() -> None:
    assert digest_alert(when(7), DayTally("USDC"), ()).title == "daily 2026-03-02 | no trades in 0 cycles"


def test_a_tally_survives_being_written() -> None:
    assert vars(read_tally(a_day().text(), "USDC")) == vars(a_day())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"net": "x"}', '{"refusals": 3}'])
def test_an_unreadable_tally_begins_anew(text: str) -> None:
    assert vars(read_tally(text, "USDC")) == vars(DayTally("USDC"))


def test_the_next_day_begins_with_todays_equity() -> None:
    fresh = a_day().next_day()
    assert (fresh.equity_before, fresh.opened, fresh.net) == (Decimal("1003.00"), 0, 0)


def due_at(clock: DigestClock, start: datetime, hours: int) -> list[datetime]:
    found = []
    for minute in range(0, hours * 60, 10):
        now = start + timedelta(minutes=minute)
        if clock.is_due(now):
            clock.note(now)
            found.append(now)
    return found


def test_it_is_due_once_a_day_at_its_time() -> None:
    clock = DigestClock("07:00", "", when(6))
    assert due_at(clock, when(6), 72) == [when(7), when(7, day=1), when(7, day=2)]


def test_a_first_start_after_its_time_waits_for_tomorrow() -> None:
    assert due_at(DigestClock("07:00", "", when(8)), when(8), 24) == [when(7, day=1)]


@pytest.mark.parametrize(("last", "due"), [(when(7), []), (when(7, day=-1), [when(9)]), (when(7, day=-9), [when(9)])])
def test_a_restart_neither_repeats_nor_forgets_it(last: datetime, due: list[datetime]) -> None:
    clock = DigestClock("07:00", "", when(6))
    clock.note(last)
    assert due_at(DigestClock("07:00", clock.stamp, when(9)), when(9), 2) == due


def a_digest() -> DailyDigest:
    return DailyDigest("07:00", "USDC", when(6))


def test_a_digest_goes_on_after_a_restart() -> None:
    first, second = a_digest(), a_digest()
    first.note(facts.PositionClosed(DAY, BTC, "p", "tp2", Decimal("1.9"), 60))
    second.resume(first.text())
    assert "1 closed, net +1.90" in second.alert(when(7), ()).title
    third = a_digest()
    third.resume(second.text())
    assert (third.is_due(when(8)), third.is_due(when(7, day=1))) == (False, True)


@pytest.mark.parametrize(
    "text", ["", "yesterday {}", "2026-03-02T07:00:00Z", "2026-03-02T07:00:00Z {", "2026-03-02 []"]
)
def test_an_unreadable_digest_begins_anew(text: str) -> None:
    digest = a_digest()
    digest.resume(text)
    assert digest.alert(when(7), ()).title == "daily 2026-03-02 | no trades in 0 cycles"
