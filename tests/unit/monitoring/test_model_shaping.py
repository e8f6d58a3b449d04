"""What the models panel says: verdicts, held-out figures, drift, inputs, training, challengers."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from bn_ml.domain.market import iso
from monitoring.bundle_figures import LARGEST_BYTES, BundleFigures, read_bundles, stamp_of
from monitoring.views_models import (
    SILENT_TRAINING_S,
    challenges_of,
    columns_of,
    drift_of,
    importances_of,
    model_lines,
    training_of,
    verdict_sentence,
)
from tests.fakes.panel_books import NOW, a_bundle, a_record, write_bundle

DRIFT = {
    "enabled": True,
    "symbols": {
        "BTC/USDC": {
            "detected": True,
            "kind": "return",
            "since": iso(NOW - timedelta(hours=3)),
            "score": 9.9,
            "limit": 8.8,
            "scores": {"psi": {"beyond": True}, "loss": {"beyond": False}},
            "worst_features": [{"name": "rsi_14"}, {"name": "adx_14"}],
        }
    },
}
REFUSED = {"tradable": {"verdict": False, "reasons": ["no_skill", "ece_too_high"]}}


def test_a_bundle_on_disk_is_read_from_its_json_alone(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (bundle,) = read_bundles(tmp_path)
    assert (bundle.model_key, bundle.files, bundle.problem) == ("BTC_USDC", 2, "")
    (line,) = model_lines((bundle,), (), DRIFT, NOW)
    assert (line.symbol, line.verdict, line.version) == ("BTC/USDC", "TRADABLE", 3)
    assert (line.skill, line.skill_low, line.skill_high) == (0.04, 0.02, 0.06)
    assert (line.accuracy, line.largest_class_share) == (0.55, 0.5)
    assert (line.buy_precision, line.buy_base_rate) == (0.4, 0.2)
    assert line.age_s == pytest.approx(50 * 3600)
    assert line.weights == (("xgb", 0.6), ("lgb", 0.4))
    assert line.size_bytes > 0


def test_folders_that_are_no_bundles_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".versions" / "BTC_USDC").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert read_bundles(tmp_path) == ()
    assert read_bundles(tmp_path / "absent") == ()
    assert stamp_of(tmp_path / "absent") == ()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00", "[" * 100_000])
def test_metadata_that_cannot_be_read_is_named_without_its_path(tmp_path: Path, content: str) -> None:
    (write_bundle(tmp_path) / "metadata.json").write_text(content)
    (bundle,) = read_bundles(tmp_path)
    assert "train the symbol again" in bundle.problem
    assert str(tmp_path) not in bundle.problem
    (line,) = model_lines((bundle,), (), None, NOW)
    assert (line.symbol, line.verdict) == ("BTC/USDC", "UNREADABLE")


def test_metadata_larger_than_any_bundle_writes_is_not_read(tmp_path: Path) -> None:
    with (write_bundle(tmp_path) / "metadata.json").open("ab") as file:
        file.truncate(LARGEST_BYTES + 1)
    assert "larger than" in read_bundles(tmp_path)[0].problem


def test_the_stamp_changes_when_a_bundle_comes(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    before = stamp_of(tmp_path)
    write_bundle(tmp_path, "ETH/USDC")
    assert len(stamp_of(tmp_path)) == len(before) + 1


def test_without_files_the_records_of_the_book_are_shown() -> None:
    records = [a_record(2, {"symbol": "BTC/USDC", "event": "kept_champion"}), a_record(1, a_bundle(**REFUSED))]
    (line,) = model_lines((), records, None, NOW)
    assert (line.verdict, line.reasons, line.files) == ("NOT TRADABLE", ("no_skill", "ece_too_high"), 0)


def test_an_odd_record_is_not_tradable() -> None:
    odd = a_bundle(tradable={"verdict": "yes"}, validation_metrics=None, trained_at="soon", ensemble_weights=[1])
    (line,) = model_lines((BundleFigures("BTC_USDC", odd),), (), 3, NOW)
    assert line.verdict == "NOT TRADABLE"
    assert math.isnan(line.skill)
    assert math.isnan(line.age_s)
    assert line.weights == ()


def test_the_sentence_counts_who_may_trade_and_what_stops_the_others() -> None:
    bundles = (
        BundleFigures("BTC_USDC", a_bundle()),
        BundleFigures("ETH_USDC", a_bundle("ETH/USDC", **REFUSED)),
        BundleFigures("SOL_USDC", a_bundle("SOL/USDC", **REFUSED)),
    )
    lines = model_lines(bundles, (), None, NOW)
    assert verdict_sentence(lines, 5) == "1/5 tradable: 2 no_skill, 2 no_bundle"
    assert verdict_sentence(lines[:1], 1) == "1/1 tradable"
    assert verdict_sentence((), 7) == "0/7 tradable: 7 no_bundle"


def test_drift_is_told_with_its_kind_limit_and_worst_inputs() -> None:
    (line,) = model_lines((BundleFigures("BTC_USDC", a_bundle()),), (), DRIFT, NOW)
    drift = line.drift
    assert (drift.status, drift.kind, drift.score, drift.limit) == ("DRIFT", "return", 9.9, 8.8)
    assert (drift.beyond, drift.worst_features) == (("psi",), ("rsi_14", "adx_14"))


def test_drift_that_is_not_watched_is_told_apart_from_quiet() -> None:
    assert drift_of({"detected": False}).status == "quiet"
    assert drift_of(None).status == "not watched yet"
    assert drift_of(None, is_watched=False).status == "off"


def test_inputs_are_weighed_by_the_linear_member_when_nothing_was_measured() -> None:
    logistic = {
        "inputs": ["ret_1", "rsi_14", "dead"],
        "coefficients": {"SELL": [0.2, -0.6, 0.0], "HOLD": [0.0, 0.0, 0.0], "BUY": [-0.2, 0.6, 0.0]},
    }
    first, second = importances_of({"logistic": logistic})
    assert (first.name, first.share) == ("rsi_14", pytest.approx(0.75))
    assert (second.name, second.share) == ("ret_1", pytest.approx(0.25))
    assert "linear" in first.basis


def test_measured_importances_go_before_the_linear_member() -> None:
    metadata = {"feature_importances": {"a": 3.0, "b": 1.0, "c": -0.1, "d": None}, "logistic": None}
    assert [(weight.name, weight.share) for weight in importances_of(metadata)] == [("a", 0.75), ("b", 0.25)]
    assert len(importances_of(metadata, most=1)) == 1


@pytest.mark.parametrize("odd", [{}, {"logistic": {"inputs": ["a"], "coefficients": {"BUY": [1.0, 2.0]}}}])
def test_a_bundle_without_weights_has_none(odd: dict[str, object]) -> None:
    assert importances_of(odd) == ()
    assert columns_of(a_bundle()) == ("ret_1", "adx_14", "rsi_14")


def test_training_is_followed_in_counts_and_a_share() -> None:
    told = {
        "status": "running",
        "phase": "calibrate",
        "current_symbol": "BTC/USDC",
        "progress_pct": 42.9,
        "symbols_requested": 7,
        "symbols_completed": 3,
        "symbols_errors": 1,
        "eta_s": 120.0,
        "updated_at": iso(NOW - timedelta(seconds=30)),
    }
    training = training_of(told, {"ETH/USDC": "cooldown"}, NOW)
    assert (training.is_running, training.is_cut_off) == (True, False)
    assert (training.progress, training.requested, training.errors) == (pytest.approx(0.429), 7, 1)
    assert training.waiting == (("ETH/USDC", "cooldown"),)


@pytest.mark.parametrize(("silent_s", "cut"), [(SILENT_TRAINING_S - 1, False), (SILENT_TRAINING_S + 1, True)])
def test_a_training_silent_for_too_long_was_cut_off(silent_s: float, cut: bool) -> None:
    told = {"status": "running", "updated_at": iso(NOW - timedelta(seconds=silent_s))}
    training = training_of(told, None, NOW)
    assert (training.is_cut_off, training.is_running) == (cut, not cut)


@pytest.mark.parametrize("odd", [None, "running", {"status": None, "progress_pct": "far", "symbols_errors": "x"}])
def test_an_odd_training_record_runs_nothing(odd: object) -> None:
    training = training_of(odd, odd, NOW)
    assert not training.is_running
    assert not training.is_cut_off


def test_challengers_are_told_with_both_losses_newest_first() -> None:
    lost = {"champion_version": 3, "champion_loss": 0.95, "challenger_loss": 0.96, "prior_loss": 1.0, "rows": 80}
    records = [
        a_record(3, {"event": "kept_champion", "symbol": "BTC/USDC", "version": 4, "challenge": lost}),
        a_record(2, a_bundle(challenge={"champion_version": 2, "champion_loss": 0.97})),
        a_record(1, a_bundle("ETH/USDC", challenge={"champion_version": 0})),
        a_record(0, a_bundle("SOL/USDC", challenge=None)),
    ]
    found = challenges_of(records)
    assert [item.outcome for item in found] == ["champion kept", "replaced the champion", "first bundle"]
    assert (found[0].champion_loss, found[0].challenger_loss, found[0].rows) == (0.95, 0.96, 80)
    assert [item.symbol for item in challenges_of(records, "ETH/USDC")] == ["ETH/USDC"]
