"""A search is not lost with the challenger it was made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_engine.bundle_store import BundleStore
from ml_engine.search_memory import keep_search, last_search
from ml_engine.tuning_memory import hpo_part, trials_part
from ml_engine.tuning_records import Decision, Tuned
from tests.fakes.bundle_builders import BTC, FEATURE_HASH, a_bundle


def searched(at: int, depth: int = 5) -> Tuned:
    return Tuned(
        backend="optuna",
        objective="log_loss",
        parameters={"rf": {"max_depth": depth}},
        decisions={"rf": Decision("rf", True, "better", 0.01, 0.002, 5)},
        count=12,
        score_variance=1e-4,
        sharpe_variance=0.02,
        best_score=0.9,
        pbo={"rf": 0.2},
        searched_at=at,
        key="k",
    )


def a_store(folder: Path, tuned: Tuned | None) -> BundleStore:
    store = BundleStore(folder, feature_hash=FEATURE_HASH)
    store.save(a_bundle(hpo=hpo_part(tuned, ""), trials=trials_part(tuned)))
    (folder / ".training").mkdir()
    return store


def test_the_search_of_a_challenger_that_lost_is_found_again(tmp_path: Path) -> None:
    store = a_store(tmp_path, None)
    assert last_search(store, BTC) is None
    keep_search(tmp_path, BTC, searched(1_000_000))
    assert last_search(store, BTC) == searched(1_000_000)


@pytest.mark.parametrize(("kept_at", "depth"), [(999_000, 5), (1_001_000, 9)])
def test_the_newer_search_counts(tmp_path: Path, kept_at: int, depth: int) -> None:
    store = a_store(tmp_path, searched(1_000_000))
    keep_search(tmp_path, BTC, searched(kept_at, depth=9))
    found = last_search(store, BTC)
    assert found is not None
    assert found.parameters["rf"]["max_depth"] == depth


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hpo": 3, "trials": 4}', '{"hpo": {}, "trials": {}}'])
def test_a_memory_nobody_understands_is_none(tmp_path: Path, text: str) -> None:
    store = a_store(tmp_path, searched(1_000_000))
    (tmp_path / ".training" / f"{BTC.key}.search.json").write_text(text)
    assert last_search(store, BTC) == searched(1_000_000)


def test_without_a_search_or_a_bundle_nothing_is_remembered(tmp_path: Path) -> None:
    keep_search(tmp_path / "models", BTC, None)
    assert last_search(BundleStore(tmp_path / "models"), BTC) is None
    keep_search(tmp_path / "absent", BTC, searched(1_000_000))
