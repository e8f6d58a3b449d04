"""What people read after a training."""

from __future__ import annotations

from ml_engine.training_progress import FAILED, KEPT, TRAINED, UP_TO_DATE, SymbolOutcome
from scripts.training_table import table


def test_skill_stands_beside_the_return_slope_and_precision_beside_its_base_rate() -> None:
    outcome = SymbolOutcome(
        "BTC/USDC", TRAINED, reasons=("no_skill: slope",), version=3, rows=900, skill=(0.05, 0.01, 0.09),
        slope=(0.4, None, None), buy_precision=0.43, buy_base_rate=0.22, weights={"lgb": 0.6, "rf": 0.4},
        recipe="quick", calibration="dirichlet", files="models/BTC_USDC",
    )  # fmt: skip
    text = table([outcome])
    assert "no skill" in text
    assert "+5.00% (+1.00%)" in text
    assert "+0.40 (-)" in text
    assert "43%/22%" in text
    assert "BTC/USDC: no_skill: slope" in text
    assert "files in models/BTC_USDC" in text


def test_a_refused_symbol_shows_why_and_no_figures() -> None:
    text = table([SymbolOutcome("X/USDC", FAILED, reasons=("too_few_rows: 10",)), SymbolOutcome("Y/USDC", UP_TO_DATE)])
    assert "X/USDC: too_few_rows: 10" in text
    assert "refused" in text
    assert "up to date" in text


def test_a_champion_kept_stands_beside_both_losses() -> None:
    told = {
        "compared": True, "champion_version": 3, "rows": 600, "recorded_rows": 580, "champion_loss": 0.91,
        "challenger_loss": 0.94, "difference": 0.031, "difference_lower": 0.011, "difference_upper": 0.05,
    }  # fmt: skip
    kept = SymbolOutcome(
        "X/USDC", KEPT, reasons=("worse than the champion",), version=3, rows=900, files="m", challenge=told
    )
    text = table([kept])
    assert "champion kept" in text
    assert "X/USDC: worse than the champion" in text
    assert "log-loss 0.9400 against 0.9100 of version 3 on 600 rows (580 recorded live)" in text
    assert "+3.10% +1.10% +5.00%" in text
    assert "files in" not in text


def test_a_challenge_that_was_not_decided_shows_no_losses() -> None:
    undecided = SymbolOutcome(
        "X/USDC", KEPT, reasons=("2.0 days to compare on, 5 are needed",), rows=900, challenge={"compared": False}
    )
    assert "log-loss 0" not in table([undecided])
