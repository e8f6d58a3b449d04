"""The sequence member: what the rows before tell is learnt, and plain numbers answer as the library does."""

from __future__ import annotations

import builtins
import pickle
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import joblib
import numpy as np
import pytest

from bn_ml.errors import ConfigError, ModelError
from bn_ml.settings_model import LstmSettings
from data_manager.windows import Windows
from ml_engine import sequence_model
from ml_engine.bundle_publishing import member_file
from ml_engine.metrics import class_shares, log_loss, prior_losses
from ml_engine.sequence_member import SequenceMember
from ml_engine.sequence_model import FittedSequence, backend_of, best_epochs, fit_sequence, telling_columns
from ml_engine.sequence_networks import summaries
from tests.fakes.sequence_builders import BACKENDS, LENGTH, TORCH, a_lesson, a_memory, values_of

ROWS, CLASSES = a_memory()
TAUGHT, LATER = slice(0, 1_500), slice(1_600, 2_000)


@lru_cache(maxsize=4)
def fitted(backend: str, second: int = 0) -> FittedSequence:
    passes = 2 if second else 10
    return fit_sequence(values_of(backend, hidden_size_2=second, epochs=passes), a_lesson(ROWS, CLASSES, TAUGHT))


def later() -> Windows:
    return a_lesson(ROWS, CLASSES, LATER).windows


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_lies_in_the_rows_before_is_learnt(backend: str) -> None:
    lesson = a_lesson(ROWS, CLASSES, LATER)
    loss = log_loss(fitted(backend).probabilities(lesson.windows), lesson.labels)
    assert loss < 0.8 * float(prior_losses(class_shares(CLASSES[TAUGHT]), lesson.labels).mean())


@pytest.mark.parametrize("second", [0, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_its_numbers_answer_as_the_library(backend: str, second: int) -> None:
    member = fitted(backend, second)
    plain, windows = member.exported(), later().pick(member.columns)
    assert np.abs(plain.probabilities(windows) - member.predict_proba(windows.gather())).max() <= 1e-6
    wild = windows.part(slice(0, 40)).gather()
    wild[::2, 3] = np.nan
    wild[1::2] *= 1e6
    assert np.abs(plain.predict_proba(wild) - member.predict_proba(wild)).max() <= 1e-6


@pytest.mark.parametrize("second", [0, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_window_alone_has_the_same_bits_as_in_a_batch(backend: str, second: int) -> None:
    plain = fitted(backend, second).exported()
    windows = later().pick(plain.columns)
    batch = plain.probabilities(windows)
    alone = [plain.probabilities(windows.part(slice(place, place + 1))) for place in range(0, len(windows), 41)]
    assert batch[::41].tobytes() == np.concatenate(alone).tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_rows_and_seed_give_the_same_numbers_and_another_seed_others(backend: str) -> None:
    def numbers(seed: int) -> Mapping[str, np.ndarray]:
        values = values_of(backend, epochs=2, random_state=seed)
        return fit_sequence(values, a_lesson(ROWS, CLASSES, slice(0, 400))).exported().arrays()

    one, again, other = numbers(3), numbers(3), numbers(4)
    assert all(one[name].tobytes() == again[name].tobytes() for name in one)
    assert any(one[name].tobytes() != other[name].tobytes() for name in one)


@TORCH
def test_fitting_leaves_the_random_numbers_of_others_alone() -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    fit_sequence(values_of("torch", epochs=1), a_lesson(ROWS, CLASSES, slice(0, 200)))
    assert torch.rand(3).tolist() == expected


def test_rows_whose_window_is_unknown_get_no_answer_and_teach_nothing() -> None:
    member = fitted("mlp")
    windows = a_lesson(ROWS, CLASSES, slice(0, LENGTH + 3)).windows
    answers = member.exported().probabilities(windows.pick(member.columns))
    assert np.isnan(answers[: LENGTH - 1]).all()
    assert np.isfinite(answers[LENGTH - 1 :]).all()
    assert np.array_equal(np.isnan(answers), np.isnan(member.probabilities(windows)))
    values, classes = values_of("mlp", epochs=1), CLASSES.copy()
    classes[: LENGTH - 1] = 2
    plain = fit_sequence(values, a_lesson(ROWS, CLASSES, slice(0, 300))).exported().arrays()
    other = fit_sequence(values, a_lesson(ROWS, classes, slice(0, 300))).exported().arrays()
    assert all(plain[name].tobytes() == other[name].tobytes() for name in plain)


def test_without_any_whole_window_nothing_is_fitted() -> None:
    with pytest.raises(ModelError, match="no row has a whole window"):
        fit_sequence(values_of("mlp"), a_lesson(ROWS, CLASSES, slice(0, LENGTH - 1)))


def test_passes_end_where_the_tail_stops_gaining() -> None:
    values, tail = values_of("mlp", epochs=25, hidden_size=64), slice(2_300, 3_000)
    shuffled = np.random.default_rng(2).permutation(CLASSES)
    nothing = best_epochs(values, a_lesson(ROWS, shuffled, TAUGHT), a_lesson(ROWS, shuffled, tail))
    something = best_epochs(values, a_lesson(ROWS, CLASSES, TAUGHT), a_lesson(ROWS, CLASSES, tail))
    assert nothing < something < 25


@pytest.mark.parametrize(("tail", "passes"), [(599, 4), (600, 1)])
def test_a_short_tail_does_not_decide_the_passes(tail: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_model, "log_loss", lambda *_: 1.0)
    lesson = a_lesson(ROWS, CLASSES, slice(2_000, 2_000 + tail))
    assert best_epochs(values_of("mlp", epochs=6), a_lesson(ROWS, CLASSES, slice(0, 300)), lesson) == passes


def test_many_windows_are_thinned_evenly() -> None:
    lesson = a_lesson(ROWS, CLASSES, slice(0, 2_000)).thinned(500)
    assert len(lesson.labels) == 498
    assert set(np.diff(lesson.windows.ends)) == {4}
    assert lesson.weights.mean() == pytest.approx(1.0)


def test_the_columns_that_tell_the_classes_apart_are_looked_at_and_slow_ones_are_not_taken_for_them() -> None:
    generator = np.random.default_rng(4)
    rows = np.cumsum(generator.normal(size=(3_000, 8)), axis=0)
    rows[:, 3] = generator.normal(size=3_000)
    classes = np.digitize(rows[:, 3] + generator.normal(size=3_000), [-0.6, 0.6])
    rows[:, 6] = np.nan
    assert 3 in telling_columns(rows, classes, most=1)
    assert telling_columns(rows, classes).tolist() == list(range(8))


def test_summaries_are_the_last_value_means_deviation_and_slope() -> None:
    window = np.arange(20.0)[None, :, None]
    last, four, sixteen, all_rows, deviation, slope = summaries(window)[0]
    assert (last, four, sixteen, all_rows) == (19.0, 17.5, 11.5, 9.5)
    assert deviation == pytest.approx(window.std())
    assert slope == pytest.approx(9.5)


def test_torch_demanded_but_absent_is_a_clear_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_model, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"model.lstm.backend: torch is not installed; run `pip install .\[lstm\]`"):
        backend_of(LstmSettings(backend="torch"))
    assert backend_of(LstmSettings()) == "mlp"


def test_a_network_of_summaries_is_never_called_recurrent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *rest: object, **named: object) -> object:
        assert not name.startswith("torch")
        return imported(name, *rest, **named)  # type: ignore[arg-type]

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    member = fit_sequence(values_of("mlp", epochs=1), a_lesson(ROWS, CLASSES, slice(0, 200))).exported()
    assert (member.backend, member.is_recurrent) == ("mlp", False)


@TORCH
def test_a_large_network_is_grown_once_and_a_small_one_three_times() -> None:
    def nets(first: int, second: int, backend: str = "torch") -> object:
        settings = LstmSettings(hidden_size=first, hidden_size_2=second, backend=backend)
        return sequence_model.sequence_parameters(settings, 1)["nets"]

    assert (nets(32, 32), nets(32, 33), nets(128, 64), nets(128, 64, "mlp")) == (3, 1, 1, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_file_loads_without_a_training_library(backend: str, tmp_path: Path) -> None:
    member = fitted(backend)
    windows = later().part(slice(0, 5)).pick(member.columns).gather()
    (tmp_path / "lstm.joblib").write_bytes(member_file(member))
    np.save(tmp_path / "windows.npy", windows)
    loaded = joblib.load(tmp_path / "lstm.joblib")
    assert np.array_equal(loaded.predict_proba(windows), member.exported().predict_proba(windows))
    code = (
        "import sys, joblib, numpy as np;"
        f"told = joblib.load(r'{tmp_path}/lstm.joblib').predict_proba(np.load(r'{tmp_path}/windows.npy'));"
        "assert told.shape == (5, 3) and abs(told.sum(axis=1) - 1).max() < 1e-9;"
        "sys.exit(','.join({'torch', 'sklearn', 'xgboost', 'lightgbm'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_windows_of_another_shape_are_refused() -> None:
    plain = fitted("mlp").exported()
    with pytest.raises(ValueError, match="windows must be"):
        plain.predict_proba(np.zeros((1, LENGTH + 1, len(plain.columns))))
    with pytest.raises(ValueError, match="this member looks at 12"):
        plain.probabilities(Windows(np.zeros((20, len(plain.columns))), np.array([15]), LENGTH - 1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_survive_their_way_through_arrays_and_pickles(backend: str) -> None:
    plain = fitted(backend).exported()
    windows = later().pick(plain.columns)
    again = SequenceMember.of(plain.backend, plain.length, plain.arrays())
    assert np.array_equal(again.probabilities(windows), plain.probabilities(windows))
    assert np.array_equal(pickle.loads(pickle.dumps(plain)).probabilities(windows), plain.probabilities(windows))
    with pytest.raises(ValueError, match="unknown sequence backend"):
        SequenceMember.of("guess", plain.length, plain.arrays())
