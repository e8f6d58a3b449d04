"""The search for parameters: repeatable, honest about its luck, and slow to leave the defaults."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import Symbol
from bn_ml.errors import ModelError
from ml_engine import models
from ml_engine.dataset import Dataset
from ml_engine.tuning import search
from ml_engine.tuning_finals import decide, finalists, savings
from ml_engine.tuning_fits import fitter
from ml_engine.tuning_folds import Fold, Ground, days_tested, forward_splits, group_splits, thinned
from ml_engine.tuning_records import COMPLETE, FAILED, PRUNED, Trial, Tuned
from ml_engine.tuning_study import Task, study
from ml_engine.tuning_watch import TELL_EVERY_S, Watch
from ml_engine.validation import Purge
from tests.fakes.training_builders import a_model, planted_rows

ROOT = Path(__file__).resolve().parents[3]
STEP = 900_000
ROWS = 1_000
FEW: dict[str, object] = {"rf_trials": 2, "xgb_trials": 2, "lgb_trials": 4, "max_splits": 3}
MEMBERS = ("rf", "xgb", "lgb")


def a_ground(data: Dataset | None = None) -> Ground:
    found = planted_rows(ROWS) if data is None else data
    rows, columns = np.arange(len(found)), tuple(range(3))
    return Ground(found, rows, columns, Purge(10 * STEP, 4 * STEP), 0.003, int(found.t1.max()) + 1)


def searched(ground: Ground | None = None, **hpo: object) -> Tuned:
    model = a_model(hpo={**FEW, **hpo}, rf={"n_estimators": 10})
    return search(ground or a_ground(), settings=model, plan=models.recipe(model, quick=False))


def a_task(ground: Ground, **hpo: object) -> Task:
    model = a_model(hpo={**FEW, **hpo}, rf={"n_estimators": 10})
    splits = forward_splits(ground, model)
    folds = tuple(Fold(ground, split) for split in splits)
    return Task(ground, model, models.recipe(model, quick=False), {}, folds, days_tested(ground, splits))


def a_watch(timeout_s: float = 0.0) -> Watch:
    ticks = count()
    return Watch("lgb", lambda _: None, lambda: float(next(ticks)), timeout_s=timeout_s)


def grid_scores() -> list[float]:
    return [each.trial.score for each in study("lgb", a_task(a_ground(), backend="grid"), a_watch())]


@pytest.fixture(scope="module")
def found() -> Tuned:
    return searched()


def trials_of(found: Tuned, member: str) -> list[Trial]:
    return [trial for trial in found.trials if trial.member == member]


def test_the_same_rows_and_seed_find_the_same_however_many_studies_run_side_by_side(found: Tuned) -> None:
    again = searched(parallel=3)
    assert again == found
    assert [trial.score for trial in again.trials] == [trial.score for trial in found.trials]


def test_another_symbol_is_offered_other_parameters(found: Tuned) -> None:
    task = a_task(a_ground(replace(planted_rows(ROWS), symbol=Symbol("OTHER/USDC"))), xgb_trials=2)
    defaults, other = (each.trial for each in study("xgb", task, a_watch()))
    assert other.parameters != trials_of(found, "xgb")[1].parameters
    assert defaults.score == trials_of(found, "xgb")[0].score


def test_every_member_starts_with_the_defaults_and_spends_its_budget(found: Tuned) -> None:
    assert found.count == len(found.trials) >= 8
    for member, budget in zip(MEMBERS, (2, 2, 4), strict=True):
        mine = trials_of(found, member)
        assert [trial.number for trial in mine] == list(range(budget))
        assert mine[0].parameters == {}
        assert mine[0].state == COMPLETE
        assert all(trial.parameters for trial in mine[1:])


def test_the_last_winner_is_tried_right_after_the_defaults() -> None:
    winner: models.Parameters = {"num_leaves": 6, "min_child_samples": 77}
    task = replace(a_task(a_ground()), previous={"lgb": winner})
    assert [each.trial.parameters for each in study("lgb", task, a_watch())][:2] == [{}, winner]


def test_scores_and_luck_are_kept(found: Tuned) -> None:
    scores = [trial.score for trial in found.trials if trial.state == COMPLETE]
    assert found.best_score == min(scores)
    assert found.score_variance == pytest.approx(np.var(scores, ddof=1))
    assert found.sharpe_variance > 0.0
    assert set(found.pbo) <= set(MEMBERS)
    assert all(0.0 <= value <= 1.0 for value in found.pbo.values())


def test_only_a_member_that_won_its_finals_leaves_the_defaults(found: Tuned) -> None:
    assert set(found.decisions) >= set(MEMBERS)
    for member, decision in found.decisions.items():
        assert (member in found.parameters) == decision.changed
        assert not decision.changed or decision.errors > 1.0


def test_hopeless_trials_are_given_up_after_a_fold_only_when_asked() -> None:
    task = a_task(a_ground(), lgb_trials=12)
    pruned = study("lgb", task, a_watch())
    assert any(each.trial.state == PRUNED and each.trial.folds < 3 for each in pruned)
    whole = study("lgb", a_task(a_ground(), lgb_trials=12, pruning=False), a_watch())
    assert all(each.trial.state == COMPLETE and each.trial.folds == 3 for each in whole)


def test_the_time_limit_ends_a_study_but_never_before_the_defaults_are_scored() -> None:
    ended = study("lgb", a_task(a_ground()), a_watch(timeout_s=4.0))
    assert 1 < len(ended) < 4
    assert len(study("lgb", a_task(a_ground()), a_watch(timeout_s=0.5))) == 1


def test_a_search_out_of_time_keeps_the_defaults() -> None:
    clock: Iterator[int] = count()
    model = a_model(hpo={**FEW, "timeout_sec": 6.0}, rf={"n_estimators": 10})
    plan = models.recipe(model, quick=False)
    ended = search(a_ground(), settings=model, plan=plan, monotonic=lambda: float(next(clock)))
    assert ended.parameters == {}
    assert any("out of time" in decision.reason for decision in ended.decisions.values())


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on() -> None:
    task = replace(a_task(a_ground(), rf_trials=3), previous={"rf": {"max_depth": 0}})
    first, broken, third = (each.trial for each in study("rf", task, a_watch()))
    assert (first.state, broken.state, third.state) == (COMPLETE, FAILED, COMPLETE)
    assert math.isnan(broken.score)
    assert "max_depth" in broken.reason
    assert finalists([first, broken]) == []


def test_a_score_that_is_no_number_fails_the_trial() -> None:
    data = planted_rows(ROWS)
    uniqueness = data.uniqueness.copy()
    uniqueness[-100:] = np.nan
    studied = study("lgb", a_task(a_ground(replace(data, uniqueness=uniqueness))), a_watch())
    assert {each.trial.state for each in studied} == {FAILED}


def test_outcomes_after_a_fold_change_none_of_the_scores_before_it() -> None:
    data = planted_rows(ROWS)
    first = a_task(a_ground(data), pruning=False)
    border = int(first.folds[-1].split.test[0])
    labels = data.labels.copy()
    labels[border:] = 2 - labels[border:]
    second = a_task(a_ground(replace(data, labels=labels)), pruning=False)
    for member in MEMBERS:
        before, after = study(member, first, a_watch()), study(member, second, a_watch())
        # Later trials are proposed by what the last fold said.
        for one, other in zip(before[:2], after[:2], strict=True):
            assert one.running[:2] == other.running[:2]
            assert one.running[2] != other.running[2]


def test_the_grid_needs_no_extra_package_and_is_always_the_same() -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from tests.unit.ml_engine.test_parameter_search import grid_scores\n"
        "print(grid_scores())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(grid_scores())


def test_rows_binned_once_give_every_trial_what_a_fit_of_its_own_would() -> None:
    ground = a_ground()
    task = a_task(ground)
    fold = task.folds[0]
    forecast = fitter("lgb", fold, patience=40)
    first = forecast(task.parameters("lgb", {"min_child_samples": 300}, rows=len(fold.fit)))
    values = task.parameters("lgb", {"min_child_samples": 60, "num_leaves": 6}, rows=len(fold.fit))
    alone = models.fit_member(
        "lgb", models.MemberParameters({"lgb": {**values, "n_estimators": models.FIXED_ROUNDS}}), fold.fit
    )
    assert np.allclose(forecast(values), models.probabilities(alone, fold.test), atol=1e-12)
    assert np.array_equal(forecast(task.parameters("lgb", {"min_child_samples": 300}, rows=len(fold.fit))), first)


@pytest.mark.parametrize("member", ["rf", "xgb", "lgb"])
def test_forecasts_are_probabilities_even_with_unknown_values(member: str) -> None:
    data = planted_rows(ROWS)
    values = data.values.copy()
    values[::7, 3] = np.nan
    task = a_task(a_ground(replace(data, values=values)))
    fold = task.folds[0]
    found = fitter(member, fold, patience=40)(task.parameters(member, {}, rows=len(fold.fit)))
    assert found.shape == (len(fold.test), 3)
    assert np.allclose(found.sum(axis=1), 1.0, atol=1e-6)


def test_boosters_stop_by_their_own_tail_where_the_real_fit_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "EARLY_STOP_ROWS", 100)
    task = a_task(a_ground())
    for fold in task.folds:
        split, data = fold.split, task.ground.data
        assert len(split.tail) > 0
        assert data.t1[split.early].max() < data.t0[split.tail[0]]
        assert data.t1[split.fit].max() < data.t0[split.test[0]]
    for member in ("xgb", "lgb"):
        forecast = fitter(member, task.folds[0], patience=5)
        long = task.parameters(member, {"learning_rate": 0.5}, rows=500)
        assert np.array_equal(forecast({**long, "n_estimators": 300}), forecast({**long, "n_estimators": 400}))


def test_a_challenger_within_one_standard_error_changes_nothing() -> None:
    saved = np.array([0.0, 2.0, 0.0, 2.0])
    error = saved.std(ddof=1) / 2.0
    assert not decide("rf", saved + error - 1.0, splits=15).changed
    assert not decide("rf", saved + error - 1.0 - 1e-9, splits=15).changed
    better = decide("rf", saved + error - 1.0 + 1e-9, splits=15)
    assert better.changed
    assert better.errors == pytest.approx(1.0)


def test_savings_are_averaged_over_the_splits_that_test_a_part() -> None:
    scores = np.full((3, 2, 2), np.nan)
    scores[0, :, 0] = (1.0, 0.9)
    scores[1, :, 0] = (1.0, 0.7)
    scores[2, :, 1] = (2.0, 2.5)
    assert savings(scores).tolist() == [[pytest.approx(0.2), -0.5]]


def test_finalists_are_the_best_three_that_beat_the_defaults() -> None:
    scores = (1.0, 0.9, 1.1, 0.8, 0.95, 0.7, 0.7)
    trials = [Trial("rf", n, {"max_depth": n} if n else {}, COMPLETE, score, 0.0, 4) for n, score in enumerate(scores)]
    trials[6] = replace(trials[6], parameters={"max_depth": 5})
    trials[3] = replace(trials[3], state=PRUNED)
    assert finalists(trials) == [{"max_depth": 5}, {"max_depth": 1}, {"max_depth": 4}]
    assert finalists([replace(trials[0], score=0.1), *trials[1:]]) == []


def test_finals_test_every_part_in_every_round_of_three() -> None:
    groups = [tuple(split.parts) for split in group_splits(a_ground(), a_model())]
    assert len(set(groups)) == 15
    for start in range(0, 15, 3):
        assert sorted(group for pair in groups[start : start + 3] for group in pair) == list(range(6))


def test_rows_are_thinned_evenly_to_the_limit() -> None:
    rows = np.arange(1_000)
    assert thinned(rows, 1_000) is rows
    fewer = thinned(rows, 400)
    assert len(fewer) == 400
    assert (fewer[0], fewer[-1]) == (0, 999)
    assert set(np.diff(fewer)) == {2, 3}


def test_no_more_rows_than_allowed_are_searched() -> None:
    splits = forward_splits(a_ground(), a_model(hpo={"max_samples": 800, "max_splits": 2}))
    assert len(splits) == 2
    assert max(len(split.fit) + len(split.test) for split in splits) <= 800


def test_too_short_a_train_block_is_refused() -> None:
    with pytest.raises(ModelError, match="no folds"):
        searched(a_ground(planted_rows(300)))


def test_the_weighted_objective_judges_trades_after_costs() -> None:
    free, dear = a_ground(), replace(a_ground(), round_trip=0.05)
    cheap = study("lgb", a_task(free, objective="weighted", lgb_trials=1), a_watch())[0].trial
    costly = study("lgb", a_task(dear, objective="weighted", lgb_trials=1), a_watch())[0].trial
    assert cheap.score < -0.2
    assert costly.score > 0.2
    assert cheap.trades == costly.trades > 30


def test_the_weighted_objective_is_nothing_without_a_trade() -> None:
    model = a_model(hpo={**FEW, "objective": "weighted", "lgb_trials": 1}, ensemble={"min_buy_proba": 0.95})
    task = replace(a_task(a_ground()), settings=model)
    assert study("lgb", task, a_watch())[0].trial.score == 0.0


def test_a_long_search_gives_a_sign_of_life_now_and_then() -> None:
    told: list[str] = []
    times = iter([0.0, TELL_EVERY_S - 1.0, TELL_EVERY_S, TELL_EVERY_S + 1.0])
    watch = Watch("rf", told.append, lambda: next(times))
    assert not any(watch.is_over(f"{step}/20") for step in (1, 2, 3))
    assert told == ["search rf", "search rf 2/20"]
