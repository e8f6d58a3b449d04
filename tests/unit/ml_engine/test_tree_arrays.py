"""What cannot be reproduced exactly is refused before it could answer differently."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
import xgboost

from ml_engine.tree_arrays import LEAF, tree_nodes
from tests.fakes.bundle_builders import COLUMNS, members, training_rows


def test_every_member_is_read_into_consistent_arrays() -> None:
    for name, model in members().items():
        nodes = tree_nodes(name, model)
        inner = nodes.left != LEAF
        assert nodes.n_features == len(COLUMNS)
        assert len(nodes.left) == len(nodes.right) == len(nodes.feature) == len(nodes.threshold) == len(nodes.value)
        assert ((nodes.right != LEAF) == inner).all()
        reached = np.sort(np.concatenate([nodes.roots, nodes.left[inner], nodes.right[inner]]))
        assert (reached == np.arange(len(nodes.left))).all()


@pytest.mark.filterwarnings("ignore:.*booster=dart:UserWarning")
def test_boosters_of_another_kind_are_refused() -> None:
    rows, classes = training_rows(200)
    dart = xgboost.XGBClassifier(
        booster="dart", one_drop=1, rate_drop=0.5, n_estimators=2, objective="multi:softprob", n_jobs=1
    )
    with pytest.raises(ValueError, match="gbtree"):
        tree_nodes("xgb", dart.fit(rows, classes))
    several = xgboost.XGBClassifier(num_parallel_tree=2, n_estimators=2, objective="multi:softprob", n_jobs=1)
    with pytest.raises(ValueError, match="num_parallel_tree"):
        tree_nodes("xgb", several.fit(rows, classes))


@pytest.mark.parametrize(
    "options",
    [
        {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"zero_as_missing": True},
        {"linear_tree": True},
        {"objective": "multiclassova"},
    ],
)
def test_light_boosters_of_another_kind_are_refused(options: dict[str, object]) -> None:
    rows, classes = training_rows(300)
    model = lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1, **options).fit(rows, classes)
    with pytest.raises(ValueError, match="lgb"):
        tree_nodes("lgb", model)


def test_categorical_splits_are_refused() -> None:
    rows, classes = training_rows(400, holes=0.0)
    rows[:, 0] = classes
    model = lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1)
    model.fit(rows, classes, categorical_feature=[0])
    with pytest.raises(ValueError, match="categorical"):
        tree_nodes("lgb", model)


def test_a_member_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown member"):
        tree_nodes("svm", members()["rf"])
