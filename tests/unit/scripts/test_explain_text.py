"""An explanation says which gate stopped a decision, by how much, and what the bundle behind it is worth."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from scripts.explain_text import Attempt, BundleFacts, Explanation, Gate, Member, as_dict, as_text
from scripts.explain_words import ADVICE, MEANINGS, advice_of, meaning_of, skill_words

AT = datetime(2023, 6, 1, 12, 15, tzinfo=timezone.utc)
BUNDLE = BundleFacts(
    version=7,
    trained_at=datetime(2023, 6, 1, tzinfo=timezone.utc),
    age_h=12.25,
    tradable=False,
    reasons=("no_skill: slope of trade return +0.010, lower bound -0.200 is not above 0",),
    calibration="dirichlet (3200 rows)",
    base_rates={"SELL": 0.22, "HOLD": 0.56, "BUY": 0.22},
    members=(Member("rf", 0.6, "admitted", (0.2, 0.5, 0.3)), Member("lstm", 0.0, "does not beat the class shares")),
    skill=(0.05, 0.02, 0.08),
    slope=(0.01, -0.2, None),
    slope_p_value=0.46,
    thresholds={"min_buy_proba": (0.42, 0.4), "min_margin": (0.07, 0.07)},
)
GATES = (
    Gate("bundle_stale", 12.25, 336.0, True),
    Gate("no_skill", -0.2, 0.0, False),
    Gate("proba_below_min", 0.36, 0.42, False),
    Gate("ev_not_positive", -0.0021, 0.0, False),
)
TOLD = Explanation(
    symbol="BTC/USDC",
    close_at=AT,
    origin="prediction log",
    action="HOLD",
    reason="no_skill",
    probabilities=(0.2, 0.44, 0.36),
    gates=GATES,
    bundle=BUNDLE,
)


def line(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_the_first_line_is_the_verdict() -> None:
    assert as_text(TOLD).splitlines()[0] == "BTC/USDC at 2023-06-01T12:15:00.000Z: HOLD (no_skill)"


def test_every_gate_shows_value_and_limit_and_only_the_first_refusal_is_marked() -> None:
    text = as_text(TOLD)
    assert "12.2 h" in line(text, "bundle_stale")
    assert "at most 336.0 h" in line(text, "bundle_stale")
    assert line(text, "bundle_stale").startswith("ok")
    assert line(text, "proba_below_min").split()[:3] == ["NO", "proba_below_min", "0.3600"]
    assert [row for row in text.splitlines() if "<- first refusal" in row] == [line(text, "NO  no_skill")]


def test_probabilities_stand_beside_their_base_rates() -> None:
    text = as_text(TOLD)
    assert line(text, "BUY  ").split() == ["BUY", "36.0%", "22.0%"]
    assert "judge BUY, the likelier direction" in text
    assert "judge SELL" in as_text(replace(TOLD, probabilities=(0.4, 0.3, 0.3)))


def test_skill_stands_beside_the_slope_and_in_words() -> None:
    text = as_text(TOLD)
    assert "skill against the class shares +5.00% [+2.00%, +8.00%]" in text
    assert "slope of trade return on score +0.010 [-0.200, unbounded] (p = 0.46)" in text
    assert "in words: forecasts volatility; no evidence on direction" in text


def test_thresholds_of_the_bundle_stand_beside_configured_ones() -> None:
    assert "thresholds: min_buy_proba 0.42 (configured 0.4), min_margin 0.07" in as_text(TOLD)


def test_members_show_their_vote_and_why_they_have_none() -> None:
    text = as_text(TOLD)
    assert line(text, "rf ").split() == ["rf", "0.60", "0.200", "0.500", "0.300", "admitted"]
    assert line(text, "lstm").split()[:5] == ["lstm", "0.00", "-", "-", "-"]


def test_a_decision_that_stopped_outside_the_gates_says_where() -> None:
    passed = replace(TOLD, gates=GATES[:1], reason="min_score")
    assert "stopped after its gates: min_score" in as_text(passed)
    early = replace(TOLD, gates=(), probabilities=(), reason="data_gap")
    assert "stopped before any gate: data_gap" in as_text(early)
    assert "the models were not asked" in as_text(early)
    assert "bnml-data inspect --symbol BTC/USDC" in as_text(early)


def test_the_usual_range_of_the_threshold_is_named() -> None:
    assert "0.38 to 0.42 is the usual range" in as_text(replace(TOLD, gates=GATES[2:], reason="proba_below_min"))


def test_a_buy_has_no_refusal_and_no_advice() -> None:
    text = as_text(replace(TOLD, action="BUY", reason=None, gates=GATES[:1]))
    assert text.splitlines()[0].endswith(": BUY")
    assert "refusal" not in text
    assert "what would change it" not in text


def test_a_gate_that_is_off_is_told_apart_from_one_that_passed() -> None:
    off = replace(TOLD, gates=(Gate("outlier", 9.0, 6.0, True), Gate("bundle_stale", 1.0, 336.0, True)), reason=None)
    assert "(gate switched off)" in line(as_text(off), "outlier")
    assert "switched off" not in line(as_text(off), "bundle_stale")


def test_a_number_that_is_not_finite_is_said_to_be_so() -> None:
    text = as_text(replace(TOLD, gates=(Gate("outlier", None, 6.0, False),), reason="outlier"))
    assert "not finite" in line(text, "NO  outlier")


@pytest.mark.parametrize(
    ("limit", "words"),
    [(0.0, "lower bound"), (0.013, "p-value of the slope test"), (0.1, "p-value of the slope test"), (1.0, "verdict")],
)
def test_the_skill_gate_says_which_of_its_three_questions_was_asked(limit: float, words: str) -> None:
    assert words in meaning_of("no_skill", limit).measures


def test_a_missing_bundle_and_unknown_entries_are_explained() -> None:
    bare = replace(TOLD, bundle=None, bundle_problem="no_bundle: BTC/USDC: no bundle in models", risk_problem="no book")
    text = as_text(bare)
    assert "bundle: no_bundle: BTC/USDC: no bundle in models" in text
    assert "risk: unknown, no book" in text


def test_what_risk_said_of_the_last_entry_is_shown() -> None:
    attempt = Attempt(AT, "refused", "rule max_exposure: 0.52 against 0.5")
    assert as_text(replace(TOLD, attempt=attempt)).splitlines()[-1] == (
        "risk: last entry tried 2023-06-01T12:15:00.000Z: refused, rule max_exposure: 0.52 against 0.5"
    )
    assert as_text(TOLD).splitlines()[-1] == "risk: no entry was tried"


def test_the_json_twin_holds_every_gate_and_figure() -> None:
    told = json.loads(json.dumps(as_dict(TOLD), allow_nan=False))
    assert told["gates"][1] == {"reason": "no_skill", "value": -0.2, "limit": 0.0, "passed": False}
    assert (told["first_refusal"], told["expected_net_pct"]) == ("no_skill", -0.0021)
    assert told["probas"] == {"SELL": 0.2, "HOLD": 0.44, "BUY": 0.36}
    assert told["bundle"]["slope"] == [0.01, -0.2, None]
    assert told["bundle"]["decision_params"] == {"min_buy_proba": 0.42, "min_margin": 0.07}


@pytest.mark.parametrize(
    ("report", "slope", "words"),
    [
        (0.01, 0.1, "rises with its score"),
        (0.01, 0.0, "no evidence on direction"),
        (0.0, 0.1, "does not beat the class shares"),
        (-0.1, None, "no evidence of any skill"),
        (None, None, "no evidence of any skill"),
    ],
)
def test_words_for_both_halves_of_skill(report: float | None, slope: float | None, words: str) -> None:
    assert words in skill_words(report, slope)


def test_every_gate_of_a_decision_has_a_meaning_and_an_advice() -> None:
    assert set(MEANINGS) <= set(ADVICE)
    assert advice_of("a_new_code", "BTC/USDC") == ""
