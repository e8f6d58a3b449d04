"""Checks run side by side: in order, within their limits, and none hides another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from bn_ml.clock import SystemClock
from scripts.doctor_checks_venue import _reason
from scripts.doctor_findings import Check, Diagnosis, Status, bad, brief, diagnosed, good, listed, told

CLOCK = SystemClock()


def saying(name: str) -> Check:
    return Check(name, lambda: (good(name, "fine"),))


def test_findings_come_in_the_order_of_the_checks() -> None:
    first_may_go = threading.Event()

    def slow() -> Iterator[Diagnosis]:
        first_may_go.wait(2)
        yield good("a", "fine")

    def quick() -> Iterator[Diagnosis]:
        first_may_go.set()
        yield good("b", "fine")
        yield bad("b", "not fine", "mend it")

    found = diagnosed([Check("a", slow), Check("b", quick)], CLOCK)
    assert [(item.name, item.status) for item in found] == [("a", Status.OK), ("b", Status.OK), ("b", Status.FAIL)]


def test_a_check_that_hangs_costs_its_limit_and_no_other_its_answer() -> None:
    never = threading.Event()
    hanging = Check("hangs", lambda: (good("hangs", str(never.wait(5))),), 0.2)
    began = CLOCK.monotonic()
    found = diagnosed([hanging, *(saying(str(number)) for number in range(20))], CLOCK)
    took_s = CLOCK.monotonic() - began
    never.set()
    assert took_s < 1.5
    assert found[0].line().startswith("FAIL hangs: no result within 0.2 s -> ")
    assert [item.name for item in found[1:]] == [str(number) for number in range(20)]


def test_checks_the_time_for_all_leaves_out_are_named() -> None:
    never = threading.Event()
    checks = [Check(str(number), lambda: (good("x", str(never.wait(5))),), 5.0) for number in range(20)]
    found = diagnosed([*checks, saying("last")], CLOCK, in_all_s=0.2)
    never.set()
    assert len(found) == 21
    assert {item.status for item in found} == {Status.FAIL}


def test_a_check_that_breaks_is_a_finding_with_its_reason() -> None:
    def broken() -> Iterator[Diagnosis]:
        raise ZeroDivisionError("by nothing")

    (found, other) = diagnosed([Check("broken", broken), saying("sound")], CLOCK)
    assert found.line() == "FAIL broken: the check itself failed: ZeroDivisionError: by nothing -> report this"
    assert other.status is Status.OK


def test_no_checks_give_no_findings() -> None:
    assert diagnosed([], CLOCK) == ()


@pytest.mark.parametrize(
    ("message", "found", "fix"),
    [
        ("x: wrong; write y", "x: wrong", "write y"),
        ("x: wrong; y is meant; write y", "x: wrong; y is meant", "write y"),
        ("x: wrong", "x: wrong", "usual"),
    ],
)
def test_a_message_is_parted_into_what_is_wrong_and_what_to_do(message: str, found: str, fix: str) -> None:
    assert told("n", Status.FAIL, message, "usual") == Diagnosis("n", Status.FAIL, found, fix)


def test_a_finding_is_one_line_of_bounded_length() -> None:
    assert "\n" not in brief("a\nb\r\nc")
    assert len(brief("x" * 10_000)) == 300
    assert listed([]) == ""
    assert listed(list(range(9)), most=3) == "0, 1, 2 and 6 more"


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (socket.gaierror(-2, "Name or service not known"), "DNS: "),
        (TimeoutError("timed out"), "TCP: no connection within 2 s"),
        (ConnectionRefusedError(111, "Connection refused"), "TCP: Connection refused"),
        (UnicodeError("label too long"), "DNS: "),
    ],
)
def test_a_lost_exchange_is_told_by_the_step_that_failed(error: Exception, step: str) -> None:
    assert _reason(error).startswith(step)
