"""From rows to a published bundle: signals are found, noise is not, and nothing unsound is served."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from bn_ml.domain.market import from_ms
from bn_ml.errors import ModelError
from bn_ml.settings import RiskSettings
from ml_engine.bundle_store import BundleStore
from ml_engine.trainer import Trained
from ml_engine.training_bundle import publish_trained
from ml_engine.training_report import ENSEMBLE, buy_rows
from ml_engine.validation import row_hash
from tests.fakes.training_builders import COIN, a_model, a_sample, a_trainer, planted_rows, shuffled


@pytest.fixture(scope="module")
def planted() -> Trained:
    return a_trainer().train_on(a_sample(planted_rows()))


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "models", keep_versions=None)


def publish(store: BundleStore, trained: Trained) -> None:
    moment = from_ms(trained.sample.data_end)
    publish_trained(store, trained, a_model(), RiskSettings(), trained_at=moment, trained_by="test")


def test_a_planted_signal_is_found_and_the_bundle_is_tradable(planted: Trained) -> None:
    figures = planted.figures[ENSEMBLE]
    assert planted.verdict.tradable, planted.verdict.reasons
    assert figures.skill.lower > 0.1
    assert planted.gates.slope.lower > 0.0
    assert planted.gates.line.lower(0.006) > 0.0
    assert figures.ece < 2.5 * figures.ece_floor


def test_shuffled_outcomes_hold_no_skill() -> None:
    trained = a_trainer().train_on(a_sample(shuffled(planted_rows())))
    assert trained.verdict.verdict == "no_skill"
    assert trained.figures[ENSEMBLE].skill.value < 0.003
    assert 0.46 < trained.figures[ENSEMBLE].auc_direction < 0.54


def test_the_probability_rule_enters_where_the_signal_says_so(planted: Trained) -> None:
    data, report = planted.sample.data, planted.blocks.report.rows
    entered = report[buy_rows(planted.vote.combine(planted.twin.raw(data.values[report])), a_model().ensemble)]
    assert len(entered) > 50
    assert data.trade_gross[entered].mean() > 0.003


def test_the_same_rows_and_seed_give_the_same_bytes(planted: Trained) -> None:
    again = a_trainer().train_on(a_sample(planted_rows()))
    assert again.ensemble.to_bytes() == planted.ensemble.to_bytes()
    assert again.columns == planted.columns
    assert again.figures[ENSEMBLE].skill == planted.figures[ENSEMBLE].skill


def test_another_seed_gives_other_trees(planted: Trained) -> None:
    other = a_trainer(a_model(random_state=7)).train_on(a_sample(planted_rows()))
    assert other.ensemble.to_bytes() != planted.ensemble.to_bytes()


def test_figures_come_from_members_that_never_saw_the_rows_after_the_train_block(planted: Trained) -> None:
    data = planted.sample.data
    beyond = planted.blocks.calibrate.rows[0]
    values = data.values.copy()
    values[beyond:] = np.random.default_rng(9).normal(size=values[beyond:].shape)
    other = a_trainer().train_on(a_sample(replace(data, values=values)))
    rows = data.values[planted.blocks.train.rows[:200]]
    for name, forecast in planted.twin.raw(rows).items():
        assert np.array_equal(forecast, other.twin.raw(rows)[name])


def test_the_bundle_says_what_it_was_trained_on_and_may_serve_right_after_it(
    planted: Trained, store: BundleStore
) -> None:
    publish(store, planted)
    end = from_ms(planted.sample.data_end)
    metadata = store.as_of(COIN, end).metadata
    assert metadata.label_end < metadata.valid_from == end
    assert metadata.tradable.verdict
    assert metadata.skill is not None
    assert metadata.skill.passed
    assert metadata.blocks["report"].row_hash == row_hash(str(COIN), planted.sample.data.t0[planted.blocks.report.rows])
    with pytest.raises(ModelError, match="no bundle valid"):
        store.as_of(COIN, end - timedelta(milliseconds=1))


def test_users_can_read_every_figure_of_the_report(planted: Trained, store: BundleStore) -> None:
    publish(store, planted)
    metadata = json.loads((store.models_dir / COIN.key / "metadata.json").read_text())
    figures = "log_loss prior_log_loss skill accuracy classes f1_macro confusion_matrix ece dsr pbo random_entry"
    money = "net_return sharpe_net sortino_net max_drawdown turnover"
    expected = {*figures.split(), *money.split()}
    assert expected <= set(metadata["validation_metrics"])
    assert set(metadata["validation_metrics"]["members"]) == {"rf", "xgb", "lgb", "logistic"}
    assert set(metadata["validation_metrics"]["classes"]["BUY"]) == {"precision", "recall", "f1", "base_rate"}


def test_members_files_load_to_estimators_with_importances(planted: Trained, store: BundleStore) -> None:
    import joblib

    publish(store, planted)
    for name in ("rf", "xgb", "lgb"):
        member = joblib.load(store.models_dir / COIN.key / f"{name}.joblib")
        assert len(member.feature_importances_) == len(planted.columns)


def test_a_calibration_that_fails_refuses_the_new_bundle_and_the_old_one_serves(
    planted: Trained, store: BundleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, planted)
    gave_up = OptimizeResult(success=False, message="no", x=np.zeros(1))
    gave_up = OptimizeResult(success=False, message="no", x=np.zeros(1))
    monkeypatch.setattr("ml_engine.calibration.minimize", lambda *_, **__: gave_up)
    with pytest.raises(ModelError, match="could not be fitted"):
        a_trainer(a_model(ensemble={"calibration": "dirichlet"})).train_on(a_sample(planted_rows()))
    assert store.load(COIN).version == 1


def test_each_training_is_a_new_version(planted: Trained, store: BundleStore) -> None:
    publish(store, planted)
    publish(store, planted)
    assert store.load(COIN).version == 2
