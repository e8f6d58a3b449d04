"""What people read after a training."""

from __future__ import annotations

from ml_engine.training_progress import FAILED, TRAINED, UP_TO_DATE, SymbolOutcome
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
