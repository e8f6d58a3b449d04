"""How many restarts there are, and how soon the next one comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitoring.restart_budget import MOST_RESTARTS, WINDOW_S, RestartBudget


def test_five_restarts_an_hour_and_no_sixth() -> None:
    budget = RestartBudget()
    assert [budget.take(second) for second in range(6)] == [True] * 5 + [False]
    assert budget.is_spent(5.0)


def test_a_restart_comes_back_an_hour_after_it_was_used() -> None:
    budget = RestartBudget()
    for second in range(5):
        budget.take(second)
    assert budget.is_spent(WINDOW_S - 0.001)
    assert not budget.is_spent(WINDOW_S)
    assert budget.take(WINDOW_S)
    assert budget.is_spent(WINDOW_S)


def test_each_wait_is_twice_the_one_before() -> None:
    budget = RestartBudget()
    waits = []
    for second in range(5):
        waits.append(budget.pause_s(second))
        budget.take(second)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_the_longest_wait_is_a_minute() -> None:
    budget = RestartBudget(most=20)
    for second in range(12):
        budget.take(second)
    assert budget.pause_s(12.0) == 60.0


def test_an_operator_gives_the_whole_budget_back() -> None:
    budget = RestartBudget()
    for second in range(5):
        budget.take(second)
    budget.renew()
    assert (budget.used(5.0), budget.pause_s(5.0)) == (0, 1.0)


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=60))
def test_no_hour_ever_holds_more_restarts_than_allowed(waits: list[float]) -> None:
    budget, now_s, taken = RestartBudget(), 0.0, []
    for wait_s in waits:
        now_s += wait_s
        if budget.take(now_s):
            taken.append(now_s)
    assert all(sum(at <= other < at + WINDOW_S for other in taken) <= MOST_RESTARTS for at in taken)
