"""Damaged answers are never misjudged, and the search for misjudged ones finds them where the judgement is weakened."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bn_ml import live_exchange, order_reports
from bn_ml.errors import Refused
from bn_ml.order_answers import VenueRefusal
from tests.sim.answer_cases import cases
from tests.sim.mutated_replies import run

WRONG_IN_THE_RECORD = {
    "create new_order__response_full",  # its fills cost more than it says
    "create new_order__response_result",  # as above, and its trades are not recorded
    "create new_order_using_sor__response",  # its trade has no number
    "create pegged_order_example",  # its price is not ours
}


def test_the_undamaged_answers_mean_what_they_say() -> None:
    without = {case.name for case in cases() if case.truth is None and "stp" not in case.name}
    told = ("refused", "duplicate", "timed out", "too many", "nothing", "gone", "absent")
    assert {name for name in without if not any(word in name for word in told)} <= WRONG_IN_THE_RECORD


def test_a_thousand_damaged_answers_are_judged_rightly() -> None:
    outcomes, misjudged = run(1000, seed=7)
    assert misjudged == []
    assert set(outcomes) == {"accepted", "absent", "refused", "unknown", "unreadable"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_thousand_damaged_answers_are_judged_rightly(seed: int) -> None:
    assert run(20_000, seed)[1] == []


def _blind(*_: object, **__: object) -> None:
    """Check nothing."""


def _hasty(answer: object) -> object:
    raise Refused("an error is a refusal, is it not")


WEAKENED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "sums": lambda patch: patch.setattr(order_reports, "_require_sum", _blind),
    "names": lambda patch: patch.setattr(order_reports, "_require_ours", _blind),
    "quantity": lambda patch: patch.setattr(order_reports, "_require_intent", _blind),
    "sense": lambda patch: patch.setattr(order_reports, "_require_sense", _blind),
    "allow-list": lambda patch: patch.setattr(VenueRefusal, "is_certain", True),
    "refusals": lambda patch: patch.setattr(live_exchange, "placed", _hasty),
}


@pytest.mark.parametrize("name", WEAKENED)
def test_a_weakened_judgement_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    WEAKENED[name](monkeypatch)
    assert run(4000, seed=3)[1] != []


def test_the_command_prints_one_line_of_figures() -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "tests.sim.mutated_replies", "--replies", "50", "--seed", "1", "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert '"misjudged": 0' in done.stdout
