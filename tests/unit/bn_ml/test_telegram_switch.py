"""The switch of the control chat: off unless a word for yes is given."""

from __future__ import annotations

import pytest

from bn_ml.env import wants_telegram_control
from bn_ml.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "wanted"), [("true", True), (" TRUE ", True), ("1", True), ("false", False), ("", False), ("off", False)]
)
def test_the_switch_reads_plain_words(text: str, *, wanted: bool) -> None:
    assert wants_telegram_control({"TELEGRAM_CONTROL": text}) is wanted


def test_it_is_off_by_default_and_other_words_are_refused() -> None:
    assert not wants_telegram_control({})
    with pytest.raises(ConfigError, match=r"TELEGRAM_CONTROL: 'maybe' is not allowed; allowed: true, false"):
        wants_telegram_control({"TELEGRAM_CONTROL": "maybe"})
