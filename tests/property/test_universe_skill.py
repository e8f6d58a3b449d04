"""Which bundles are accepted together equals the definition written out naively."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml_engine.universe_skill import FALSE_DISCOVERY_RATE, accepted, largest_accepted

p_values = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.01, 0.02, 0.025, 0.05, 0.1, 1.0]))


def naive(values: list[float], rate: float) -> set[int]:
    """Accept the k smallest for the largest k whose k-th smallest is at most k / m * rate."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    best = 0
    for k in range(1, len(values) + 1):
        if values[order[k - 1]] <= k * (rate / len(values)):
            best = k
    return set(order[:best])


@given(st.lists(p_values, max_size=60), st.sampled_from([0.05, FALSE_DISCOVERY_RATE, 0.2]))
def test_the_accepted_are_those_of_the_definition(values: list[float], rate: float) -> None:
    assert accepted(dict(enumerate(values)), rate=rate) == naive(values, rate)


@given(st.lists(p_values, min_size=1, max_size=60), st.integers(0, 59), st.floats(0.0, 1.0))
def test_a_smaller_p_value_never_closes_another_bundle(values: list[float], place: int, share: float) -> None:
    before = accepted(dict(enumerate(values)))
    stronger = list(values)
    stronger[place % len(values)] *= share
    assert before <= accepted(dict(enumerate(stronger)))


@given(st.lists(p_values, max_size=60))
def test_order_does_not_matter(values: list[float]) -> None:
    assert largest_accepted(values) == largest_accepted(values[::-1])


@given(st.floats(0.0, FALSE_DISCOVERY_RATE))
def test_a_bundle_alone_needs_the_rate_itself(value: float) -> None:
    assert accepted({"alone": value}) == {"alone"}


def test_nobody_is_judged_without_bundles() -> None:
    assert largest_accepted([]) == float("inf")
    assert accepted({}) == frozenset()


def test_one_strong_bundle_among_many_weak_ones_is_accepted_alone() -> None:
    weak = {f"weak {place}": 0.02 + 0.04 * place for place in range(24)}
    assert accepted({**weak, "strong": 0.003}) == {"strong"}
