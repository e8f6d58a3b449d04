"""The frozen market still gives the features, signals and journal it always gave.

A failure names every column, symbol, table and kind of fact that changed. When the change is wanted, renew the digests
with `python -m tests.golden.frozen_story` and commit them together with it. `--market` makes new bars and a new
ensemble as well, which is only needed when a column the ensemble uses is gone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.frozen_story import FROZEN, Facts, changes, facts, stored

LARGEST_BYTES = 300_000


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    return facts(tmp_path_factory.mktemp("frozen"))


@pytest.mark.parametrize("topic", ["bars", "features", "signals", "journal"])
def test_the_frozen_market_tells_the_same_story(topic: str, told: Facts) -> None:
    differing = [line for line in changes(told, stored()) if line.startswith(topic)]
    assert not differing, "\n".join(differing)


def test_the_story_is_worth_freezing(told: Facts) -> None:
    assert len(told["features"]) > 100
    assert {"journal PositionOpened", "journal LegTaken", "journal PositionClosed", "journal StopMoved"} <= set(
        told["journal"]
    )


def test_what_changed_is_named() -> None:
    before = {"features": {"rsi_14": "a", "atr": "b"}, "journal": {"fills": "1"}}
    now = {"features": {"rsi_14": "x", "mood": "c"}, "journal": {"fills": "1"}}
    assert changes(now, before) == [
        "features: atr gone (b -> -)",
        "features: mood new (- -> c)",
        "features: rsi_14 changed (a -> x)",
    ]


def test_the_frozen_market_stays_small() -> None:
    files: list[Path] = [path for path in FROZEN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_BYTES
