"""The scoreboard's own parts: worlds decided by their seed, the best forecaster's truth, work that is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.eval_ml import __main__ as board
from benchmarks.eval_ml import bayes, figures_rest, figures_worlds, worlds
from benchmarks.eval_ml.figures import Options
from benchmarks.eval_ml.running import Answer, Unit, run
from benchmarks.eval_ml.settings import model_settings, risk_settings
from ml_engine.labeling import DynamicLabeler
from ml_engine.metrics import log_loss


@pytest.mark.parametrize("kind", sorted(worlds.NULLS))
def test_a_world_is_decided_by_its_seed(kind: str) -> None:
    make = worlds.NULLS[kind]
    assert np.array_equal(make(3, count=500).bars.close, make(3, count=500).bars.close)
    assert not np.array_equal(make(3, count=500).bars.close, make(4, count=500).bars.close)


@pytest.mark.parametrize("kind", sorted(worlds.NULLS))
def test_bars_of_a_world_hold_open_and_close_within_their_range(kind: str) -> None:
    bars = worlds.NULLS[kind](3, count=2000).bars
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    gaps = bars.open[1:] != bars.close[:-1]
    assert gaps.all() if kind == "skew" else not gaps.any()


@pytest.mark.parametrize("kind", sorted(worlds.NULLS))
def test_no_martingale_drifts_with_the_state_it_shows(kind: str) -> None:
    world = worlds.NULLS[kind](3, count=60_000)
    later = np.diff(np.log(world.bars.close)) / world.vol[:-1]
    error = later.std() / np.sqrt(len(later))
    assert abs(float((later * world.z[:-1]).mean())) < 4 * error


@pytest.mark.parametrize("kind", sorted(worlds.NULLS))
def test_no_martingale_pays_at_the_touch(kind: str) -> None:
    bars = worlds.NULLS[kind](3, count=30_000).bars
    labels = DynamicLabeler(model_settings().labeling, risk_settings()).label(bars)
    gross = labels.trade_gross[labels.present]
    days = np.array([part.mean() for part in np.array_split(gross, len(gross) // 192)])
    assert abs(days.mean()) < 4 * days.std() / np.sqrt(len(days))


def test_a_planted_drift_explains_its_share_of_the_next_return() -> None:
    world = worlds.planted(3, r2=0.1, count=60_000)
    later = np.diff(np.log(world.bars.close)) / world.vol[:-1]
    assert np.corrcoef(later, world.z[:-1])[0, 1] ** 2 == pytest.approx(0.1, abs=0.02)


def test_the_sign_flips_where_it_is_told_to() -> None:
    plain, turned = worlds.planted(3, r2=0.1, count=900), worlds.sign_flipped(3, r2=0.1, count=900, flip_at=600)
    same = np.isclose(np.diff(np.log(plain.bars.close)), np.diff(np.log(turned.bars.close)), rtol=0, atol=1e-12)
    assert same[:599].all()
    assert not same[601:].any()


def test_mirroring_keeps_ranges_and_volume_and_turns_moves_around() -> None:
    bars = worlds.planted(3, r2=0.0, count=400).bars
    turned = worlds.mirrored(bars, np.ones(400, dtype=bool))
    assert np.log(turned.high / turned.low) == pytest.approx(np.log(bars.high / bars.low))
    assert np.log(turned.close / turned.open) == pytest.approx(-np.log(bars.close / bars.open))
    assert np.array_equal(turned.volume, bars.volume)
    untouched = worlds.mirrored(bars, np.zeros(400, dtype=bool))
    assert untouched.close == pytest.approx(bars.close)


def test_the_best_forecaster_gives_what_the_world_then_does() -> None:
    world = worlds.planted(3, r2=0.1, count=40_000)
    rows, width = np.arange(0, 39_000), np.full(39_000, 0.006)
    best = bayes.truth(world.z[rows], world.vol[rows], width, r2=0.1, horizon=8)
    gross = world.bars.close[rows + 8] / world.bars.close[rows] - 1.0
    labels = np.where(gross <= -width, 0, np.where(gross >= width, 2, 1))
    assert best.probabilities.sum(axis=1) == pytest.approx(1.0)
    assert best.probabilities.mean(axis=0) == pytest.approx(np.bincount(labels) / len(labels), abs=0.01)
    slope = np.polyfit(best.expected, gross, 1)[0]
    assert slope == pytest.approx(1.0, abs=0.15)
    blurred = 0.8 * best.probabilities + 0.2 / 3
    assert log_loss(best.probabilities, labels) < log_loss(blurred, labels)


def test_finished_work_is_kept_and_only_forgotten_when_asked(tmp_path: Path) -> None:
    unit = Unit(figures_rest.known_ratio, (40,))
    first = run([unit, unit], tmp_path, jobs=1, fresh=False)
    kept = tmp_path / f"{unit.key}.json"
    kept.write_text(kept.read_text().replace('"found": ', '"found": 7, "was": '))
    assert run([unit], tmp_path, jobs=1, fresh=False)[unit].values["found"] == 7
    assert run([unit], tmp_path, jobs=1, fresh=True)[unit].values["found"] == first[unit].values["found"]


def test_the_known_deflated_ratios_hold_and_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--only", "S21", "--jobs", "1", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "ml.json")]
    assert board.main(arguments) == 0
    assert "2 of 2 bars hold" in capsys.readouterr().out


def test_figures_without_their_bars_are_listed_as_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--only", "S12", "--data", str(tmp_path), "--work", str(tmp_path), "--out", str(tmp_path / "ml.json")]
    assert board.main(arguments) == 1
    assert "not measured" in capsys.readouterr().out


def a_null(*, hold: float = 1.0, tradable: bool = False, gross: tuple[float, ...] = ()) -> Answer:
    days = list(range(len(gross)))
    return Answer({"hold_share": hold, "tradable": tradable, "gross": list(gross), "days": days, "seconds": 1.0})


@pytest.mark.parametrize(
    ("worlds_seen", "holds"),
    [
        ([a_null()] * 18 + [a_null(tradable=True)] * 2, True),
        ([a_null()] * 17 + [a_null(tradable=True)] * 3, False),
        ([a_null(hold=0.99)] * 20, True),
        ([a_null(hold=0.9899)] * 20, False),
        ([a_null(gross=(0.01, 0.012, 0.011))] * 20, False),
    ],
)
def test_a_null_world_line_holds_up_to_its_limits(worlds_seen: list[Answer], holds: bool) -> None:
    line = next(line for line in figures_worlds.LINES if line.id == "S7")
    assert line.judge({"garch": worlds_seen})[0].holds is holds


def test_any_seed_can_be_asked_for() -> None:
    options = Options(None, 500, 3, quick=False)
    assert list(options.seeds_of(20)) == [500, 501, 502]
    assert list(Options(None, 0, None, quick=True).seeds_of(20)) == [0, 1]
