"""How many symbols the trainers train at once."""

from __future__ import annotations

import pytest

from bn_ml.hardware import usable_cores
from bn_ml.settings import Settings
from scripts import training_flags
from scripts.training_once import jobs_of


@pytest.mark.parametrize(
    ("flags", "configured", "jobs"),
    [
        (("--jobs", "7"), 1, 7),
        ((), 1, 1),
        ((), -1, usable_cores()),
        ((), "auto", max(1, usable_cores() - 1)),
    ],
)
def test_the_flag_wins_over_the_configured_cores(flags: tuple[str, ...], configured: object, jobs: int) -> None:
    arguments = training_flags.parser("bnml-trainer", "train").parse_args(flags)
    settings = Settings.from_mapping({"model": {"acceleration": {"cpu_n_jobs": configured}}})
    assert jobs_of(arguments, settings) == jobs
