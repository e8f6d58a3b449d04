"""What a bundle promised against what came of its words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from ml_engine.bundle_metadata import BundleMetadata
from ml_engine.live_quality import baseline, live_record
from ml_engine.retraining_triggers import Baseline, LiveRecord
from tests.fakes.bundle_builders import metadata_fields

DAY = 86_400_000
STEP = 900_000 * 10


@dataclass(frozen=True)
class Said:
    close_ms: int
    version: int | None
    sell: float = 0.2
    hold: float = 0.6
    buy: float = 0.2


@dataclass(frozen=True)
class Came:
    close_ms: int
    label: int


def metadata(**figures: object) -> BundleMetadata:
    return BundleMetadata.model_validate(metadata_fields(version=3, validation_metrics=figures))


def test_the_promise_is_read_from_the_report_figures() -> None:
    figures = {"log_loss": 0.9, "prior_log_loss": 1.0, "trades": 20, "win_rate": 0.55}
    assert baseline(metadata(**figures)) == Baseline(0.9, 0.55)


@pytest.mark.parametrize(
    ("figures", "promised"),
    [
        ({}, Baseline()),
        ({"log_loss": None, "prior_log_loss": 1.0}, Baseline()),
        ({"log_loss": 0.9, "prior_log_loss": 0.0}, Baseline()),
        ({"log_loss": "x", "prior_log_loss": 1.0}, Baseline()),
        ({"trades": 19, "win_rate": 0.5}, Baseline()),
        ({"trades": 20, "win_rate": None}, Baseline()),
    ],
)
def test_figures_that_are_missing_or_from_too_few_trades_promise_nothing(
    figures: dict[str, object], promised: Baseline
) -> None:
    assert baseline(metadata(**figures)) == promised


def test_the_live_loss_is_that_of_matured_words_of_this_version_over_the_class_shares() -> None:
    said = [Said(0, 3), Said(STEP, 3), Said(DAY, 3), Said(DAY + STEP, 2), Said(2 * DAY, None), Said(3 * DAY, 3)]
    came = [Came(at, 1) for at in (0, STEP, DAY, DAY + STEP, 2 * DAY)]
    found = live_record(metadata(), said, came, [True, False, True])
    assert found.loss_ratio == pytest.approx(math.log(0.6) / math.log(0.5))
    assert (found.loss_days, found.trades, found.wins) == (1.0, 3, 2)


def test_without_outcomes_nothing_is_known() -> None:
    assert live_record(metadata(), [Said(0, 3)], [], []) == LiveRecord()


def test_a_word_of_no_chance_at_all_is_a_large_finite_loss() -> None:
    found = live_record(metadata(), [Said(0, 3, 0.0, 1.0, 0.0)], [Came(0, 0)], [])
    assert found.loss_ratio is not None
    assert 20 < found.loss_ratio < 30
