"""Measuring an exchange changes nothing of what is asked and answered, whatever goes wrong on either side."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from bn_ml.domain.account import Balance
from bn_ml.domain.market import Symbol
from bn_ml.errors import OutcomeUnknown, Refused, StateError, Transient, Unreachable
from bn_ml.ports import AccountReads, Exchange, OrderDoor
from monitoring.measured_exchange import MeasuredExchange
from tests.fakes.book_builders import an_intent

AT = datetime(2024, 3, 4, tzinfo=timezone.utc)
BTC = Symbol("BTC/USDC")
ENTRY = an_intent()
CALLS: dict[str, tuple[object, ...]] = {
    "create_order": (ENTRY,),
    "create_oco": (ENTRY, ENTRY),
    "replace_order": ("old", ENTRY),
    "cancel_order": (BTC, "old"),
    "order_status": (BTC, "old"),
    "balances": (),
    "open_orders": (),
    "trades": (BTC, AT),
}
TIMED = {"create_order", "create_oco", "replace_order", "cancel_order"}


class Ticking:
    """A clock each of whose looks takes a quarter of a second."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> datetime:
        return AT

    def sleep_until(self, instant: datetime) -> None:
        del instant

    def monotonic(self) -> float:
        self._now += 0.25
        return self._now


class Venue:
    """Answers every call with what it was asked, or fails with the error it was given."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.asked: list[tuple[str, tuple[object, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.asked.append((name, arguments))
            if self.error is not None:
                raise self.error
            return {"USDC": Balance("USDC", Decimal(1))} if name == "balances" else (name, arguments)

        return call


class Figures:
    """Remembers figures, or breaks."""

    def __init__(self, *, broken: bool = False) -> None:
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self._broken = broken

    def observe_order(self, seconds: float) -> None:
        if self._broken:
            raise RuntimeError("no figures")
        self.seconds.append(seconds)

    def count_exchange_error(self, kind: str) -> None:
        if self._broken:
            raise RuntimeError("no figures")
        self.errors.append(kind)


def measured(venue: Any, figures: Figures) -> MeasuredExchange:
    return MeasuredExchange(venue, figures, Ticking())


def test_every_call_an_exchange_has_is_passed_on() -> None:
    ports = {name for port in (OrderDoor, AccountReads) for name, _ in inspect.getmembers(port, inspect.isfunction)}
    named = {name for name in ports if not name.startswith("_")}
    assert named == set(CALLS)
    exchange: Exchange = measured(Venue(), Figures())
    assert exchange is not None


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_made_once_with_the_same_arguments_and_its_answer_comes_back(name: str) -> None:
    venue, figures = Venue(), Figures()
    answer = getattr(measured(venue, figures), name)(*CALLS[name])
    assert venue.asked == [(name, CALLS[name])]
    assert answer == ({"USDC": Balance("USDC", Decimal(1))} if name == "balances" else (name, CALLS[name]))
    assert figures.seconds == ([0.25] if name in TIMED else [])
    assert figures.errors == []


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refused("no", -2010), "refused"),
        (OutcomeUnknown("lost"), "outcome_unknown"),
        (Unreachable("away"), "unreachable"),
        (Transient("late"), "transient"),
    ],
)
@pytest.mark.parametrize("broken", [False, True])
def test_an_error_comes_back_as_it_was_and_is_counted(name: str, error: Exception, kind: str, broken: bool) -> None:
    figures = Figures(broken=broken)
    with pytest.raises(type(error)) as caught:
        getattr(measured(Venue(error), figures), name)(*CALLS[name])
    assert caught.value is error
    assert figures.errors == ([] if broken else [kind])


def test_an_answer_is_not_lost_when_it_cannot_be_counted(caplog: pytest.LogCaptureFixture) -> None:
    venue = Venue()
    assert measured(venue, Figures(broken=True)).create_order(ENTRY) == ("create_order", (ENTRY,))
    assert "was not counted" in caplog.text


@pytest.mark.parametrize("error", [StateError("torn"), KeyboardInterrupt()])
def test_what_is_no_word_of_the_exchange_passes_uncounted(error: BaseException) -> None:
    figures = Figures()
    with pytest.raises(type(error)):
        measured(Venue(error), figures).balances()
    assert figures.errors == []
