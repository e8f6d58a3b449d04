from __future__ import annotations

from dataclasses import replace

import pytest

from evidence.verdict import KEEP_ON_PAPER, NO_MONEY, VerdictFacts, verdict

SOUND = VerdictFacts(
    "replay",
    days=400,
    trades=400,
    total_return=0.05,
    random_p=0.01,
    best_removed=3,
    return_without_best=0.02,
    deflated_sharpe=0.99,
    pbo=0.1,
    gross_bp=40.0,
    cost_bp=20.0,
    break_even_bp=38.0,
    worst_month=-0.041,
)


def code(**changes: object) -> str:
    return verdict(replace(SOUND, **changes)).code  # type: ignore[arg-type]


def test_what_beats_random_entries_is_told_with_its_limits() -> None:
    said = verdict(SOUND)
    assert said.code == "beats_random"
    assert said.sentence == (
        "Gained 5.0 % after costs, better than random entries in this period (p = 0.01); breaks even at 38 bp a side; "
        "worst month -4.1 %."
    )
    assert said.advice == "A past period promises no other one."


def test_a_loss_no_better_than_random_is_told_as_such() -> None:
    facts = VerdictFacts("replay", 92, 369, -0.079, random_p=0.43)
    expected = "Lost 7.9 % after costs; no better than random entries (p = 0.43). Do not trade this with money."
    assert verdict(facts).text == expected


def test_a_loss_names_costs_and_dust() -> None:
    facts = replace(SOUND, total_return=-0.01, gross_bp=4.5, cost_bp=30.0, dust_bp=12.0)
    assert (
        "before costs +4.5 bp, costs 30.0 bp a trade, 12.0 bp of it dust too little to sell" in verdict(facts).sentence
    )


def test_a_loss_better_than_random_entries_is_still_a_loss() -> None:
    said = verdict(replace(SOUND, total_return=-0.01))
    assert (said.code, said.advice) == ("loss", NO_MONEY)
    assert "random entries lose more (p = 0.01), which earns nothing" in said.sentence


@pytest.mark.parametrize("source", ["synthetic", "SYNTHETIC", "sandbox", "testnet"])
def test_invented_prices_are_no_evidence_whatever_they_brought(source: str) -> None:
    said = verdict(replace(SOUND, data_source=source))
    assert said.code == "not_evidence"
    assert source in said.sentence


def test_without_a_trade_the_reason_is_named() -> None:
    said = verdict(VerdictFacts("replay", 92, 0, 0.0, top_reason="no_skill", top_share=0.96))
    assert said.code == "no_trades"
    assert said.sentence == (
        "No trade was closed in 92 days: there is nothing to judge; most often kept out by no_skill (96 %)."
    )


def test_without_a_trade_or_a_refusal_nothing_is_invented() -> None:
    assert (
        verdict(VerdictFacts("replay", 1, 0, 0.0)).sentence
        == "No trade was closed in 1 day: there is nothing to judge."
    )


@pytest.mark.parametrize(("trades", "expected"), [(1, "too_few_trades"), (29, "too_few_trades"), (30, "loss")])
def test_fewer_than_thirty_trades_are_too_few(trades: int, expected: str) -> None:
    assert code(trades=trades, total_return=-0.1) == expected


@pytest.mark.parametrize(("total", "expected"), [(-1e-9, "loss"), (0.0, "loss"), (1e-9, "beats_random")])
def test_only_a_gain_is_no_loss(total: float, expected: str) -> None:
    assert code(total_return=total) == expected


@pytest.mark.parametrize(
    ("p", "expected"), [(0.05, "beats_random"), (0.0501, "no_better_than_random"), (None, "no_control")]
)
def test_a_gain_must_beat_random_entries(p: float | None, expected: str) -> None:
    assert code(random_p=p) == expected


@pytest.mark.parametrize(
    ("without", "expected"), [(-0.01, "few_trades_carry"), (0.0, "few_trades_carry"), (1e-6, "beats_random")]
)
def test_a_gain_of_a_few_trades_is_none(without: float, expected: str) -> None:
    assert code(return_without_best=without) == expected


@pytest.mark.parametrize(
    ("sharpe", "pbo", "expected"),
    [
        (0.95, 0.2, "beats_random"),
        (0.949, 0.1, "luck_of_search"),
        (0.99, 0.21, "luck_of_search"),
        (None, None, "beats_random"),
    ],
)
def test_the_luck_of_a_search_must_be_ruled_out(sharpe: float | None, pbo: float | None, expected: str) -> None:
    assert code(deflated_sharpe=sharpe, pbo=pbo) == expected


@pytest.mark.parametrize(("days", "trades"), [(179.9, 400), (400, 299)])
def test_a_short_gain_stays_on_paper(days: float, trades: int) -> None:
    said = verdict(replace(SOUND, days=days, trades=trades))
    assert (said.code, said.advice) == ("promising_but_short", KEEP_ON_PAPER)


def test_long_enough_is_long_enough() -> None:
    assert code(days=180.0, trades=300) == "beats_random"


def test_no_verdict_praises() -> None:
    said = [
        verdict(replace(SOUND, **changes)).text.lower()  # type: ignore[arg-type]
        for changes in ({}, {"total_return": -0.1}, {"trades": 0}, {"random_p": 0.9}, {"days": 10})
    ]
    assert not any(word in text for text in said for word in ("excellent", "great", "good", "strong", "impressive"))
