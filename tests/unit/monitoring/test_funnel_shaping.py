"""The funnel adds up, whatever reasons a cycle has."""

from __future__ import annotations

from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from bn_ml.state_reader import CycleRow
from monitoring.views_funnel import GATES, RISK, funnel_of, gate_of, refusals_of

AT = datetime(2024, 3, 2, tzinfo=timezone.utc)
REASONS = (*(reason for _, reasons in GATES for reason in reasons), "max_open_positions", "a_new_reason")


def a_cycle(funnel: object, opened: int = 0) -> CycleRow:
    return CycleRow(1, AT, 0, opened, {"cycle": 12, "funnel": funnel})


@given(
    funnel=st.dictionaries(st.sampled_from(REASONS), st.integers(1, 50)),
    opened=st.integers(0, 5),
    rows=st.integers(0, 300),
)
def test_scanned_is_what_all_gates_stopped_and_what_was_bought(funnel: dict[str, int], opened: int, rows: int) -> None:
    scan = {"rows": [{"symbol": f"S{place}/USDC"} for place in range(rows)]}
    shown = funnel_of(a_cycle(funnel, opened), scan, 0.42)
    assert shown.scanned == shown.sent + sum(gate.stopped for gate in shown.gates)
    assert shown.gates[-1].passed == shown.sent
    assert all(before.passed == after.reached for before, after in zip(shown.gates, shown.gates[1:], strict=False))


def test_the_top_reason_and_the_nearest_symbol_are_named() -> None:
    rows = [
        {"symbol": "BTC/USDC", "reason": "proba_below_min", "probas": {"BUY": 0.36}},
        {"symbol": "ETH/USDC", "reason": "proba_below_min", "probas": {"BUY": 0.40}},
        {"symbol": "SOL/USDC", "reason": "no_bundle"},
    ]
    shown = funnel_of(a_cycle({"proba_below_min": 2, "no_bundle": 1}), {"rows": rows}, 0.42)
    gate = next(gate for gate in shown.gates if gate.name == "Probability")
    assert (gate.reached, gate.stopped, gate.top_reason, gate.top_count) == (2, 2, "proba_below_min", 2)
    assert gate.nearest == "ETH/USDC 0.40 < 0.42"
    assert gate.symbols == ("BTC/USDC", "ETH/USDC")
    assert "2 of 3 stopped at Probability" in shown.sentence()


def test_what_the_scan_does_not_know_is_risks() -> None:
    assert gate_of("max_open_positions") == RISK


def test_an_odd_funnel_counts_nothing() -> None:
    for odd in (None, [], "x", {"no_bundle": "many"}, {"no_bundle": -1}):
        assert funnel_of(a_cycle(odd), None, 0.42).scanned == 0


def test_refusals_of_several_cycles_are_added_and_told() -> None:
    told = refusals_of([a_cycle({"no_bundle": 3, "no_skill": 1}), a_cycle({"no_bundle": 2})])
    assert told.reasons == (("no_bundle", 5), ("no_skill", 1))
    assert told.sentence(0) == "No trades. 2 cycles, 6 refusals; most frequent: no_bundle 83 %."
