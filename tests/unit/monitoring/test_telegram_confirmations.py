"""Questions: answered once, within thirty seconds, and by nobody who does not know the token."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from bn_ml.clock import SimulatedClock
from monitoring.telegram_confirmations import MOST_OPEN, Confirmations, NotConfirmed, Tightening
from tests.fakes.book_builders import AT


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(AT)


@pytest.fixture
def questions(clock: SimulatedClock) -> Confirmations:
    numbers = count()
    return Confirmations(clock, lambda: f"t{next(numbers)}")


def wait(clock: SimulatedClock, seconds: float) -> None:
    clock.sleep_until(clock.now() + timedelta(seconds=seconds))


@pytest.mark.parametrize("what", list(Tightening))
@pytest.mark.parametrize("age_s", [0.0, 29.999])
def test_an_answer_in_time_decides(
    questions: Confirmations, clock: SimulatedClock, what: Tightening, age_s: float
) -> None:
    token = questions.ask(what)
    wait(clock, age_s)
    assert questions.take(token) is what


@pytest.mark.parametrize("age_s", [30.0, 30.001, 3600.0])
def test_an_answer_at_thirty_seconds_or_later_decides_nothing(
    questions: Confirmations, clock: SimulatedClock, age_s: float
) -> None:
    token = questions.ask(Tightening.KILL)
    wait(clock, age_s)
    with pytest.raises(NotConfirmed, match="too late"):
        questions.take(token)
    with pytest.raises(NotConfirmed, match="used already"):
        questions.take(token)


def test_a_second_press_decides_nothing(questions: Confirmations) -> None:
    token = questions.ask(Tightening.PAUSE)
    questions.take(token)
    with pytest.raises(NotConfirmed, match="used already"):
        questions.take(token)


def test_a_token_of_another_run_decides_nothing(questions: Confirmations) -> None:
    questions.ask(Tightening.KILL)
    for token in ("", "t1", "kill"):
        with pytest.raises(NotConfirmed, match="not valid any more"):
            questions.take(token)


def test_only_the_newest_questions_are_kept(questions: Confirmations) -> None:
    tokens = [questions.ask(Tightening.KILL) for _ in range(MOST_OPEN + 1)]
    with pytest.raises(NotConfirmed, match="not valid any more"):
        questions.take(tokens[0])
    assert [questions.take(token) for token in tokens[1:]] == [Tightening.KILL] * MOST_OPEN


def test_nothing_that_loosens_can_be_asked_for() -> None:
    assert {what.value for what in Tightening} == {"pause", "kill"}
