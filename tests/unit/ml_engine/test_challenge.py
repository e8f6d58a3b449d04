"""Champion against challenger: on rows neither was fitted on, paired by day, both numbers kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from bn_ml.domain.market import from_ms
from bn_ml.settings import RiskSettings
from ml_engine.bundle import ModelBundle
from ml_engine.bundle_metadata import PinPart
from ml_engine.bundle_store import BundleStore
from ml_engine.challenge import Terms, challenge, contested_rows, duel
from ml_engine.metrics import Estimate
from ml_engine.trainer import Trained
from ml_engine.training_bundle import publish_trained
from ml_engine.training_report import ENSEMBLE
from tests.fakes.training_builders import a_model, a_sample, a_trainer, planted_rows, shuffled

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Said:
    close_ms: int
    version: int | None
    sell: float
    hold: float
    buy: float


@lru_cache(maxsize=1)
def trained() -> Trained:
    """A challenger with skill; its report block is 7.5 days long."""
    return a_trainer().train_on(a_sample(planted_rows()))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """The same ensemble in service."""
    return bundle_of(trained(), tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def ignorant(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A champion that learned from shuffled outcomes."""
    noise = a_trainer().train_on(a_sample(shuffled(planted_rows())))
    return bundle_of(noise, tmp_path_factory.mktemp("noise"))


def bundle_of(result: Trained, folder: Path) -> ModelBundle:
    moment = from_ms(result.sample.data_end)
    return publish_trained(BundleStore(folder), result, a_model(), RiskSettings(), trained_at=moment, trained_by="test")


def champion(bundle: ModelBundle, rows: int, **changes: object) -> ModelBundle:
    """The bundle as if its last label ended so that `rows` rows of the challenger's report block come after it."""
    found = trained()
    t0 = found.sample.data.t0[found.blocks.report.rows]
    changes = {"recipe": "full", "label_end": from_ms(int(t0[len(t0) - rows]) - 1), **changes}
    return replace(bundle, metadata=bundle.metadata.model_copy(update=changes))


def terms(age: timedelta = timedelta(days=3), *, required: bool = True, bundle: ModelBundle) -> Terms:
    return Terms(required, WEEK, bundle.metadata.trained_at + age, 42)


def test_the_rows_are_after_the_champions_last_label_and_inside_the_report_block(published: ModelBundle) -> None:
    found, held = trained(), champion(published, 500)
    rows = contested_rows(found, held)
    assert len(rows) == 500
    assert set(rows) <= set(found.blocks.report.rows)
    assert found.sample.data.t0[rows].min() > held.metadata.label_end.timestamp() * 1000


def test_a_challenger_as_good_takes_the_place_and_both_numbers_are_kept(published: ModelBundle) -> None:
    held = champion(published, 600)
    found = challenge(trained(), held, (), terms(bundle=published))
    assert found.replaces
    assert found.compared
    assert (found.rows, found.recorded_rows, found.recorded_gap) == (600, 0, None)
    assert found.champion_version == held.version
    assert found.challenger_loss is not None
    assert found.champion_loss is not None
    assert found.prior_loss is not None
    assert found.challenger_loss < found.prior_loss
    assert found.reason.startswith("not worse")


def test_a_better_challenger_replaces_an_ignorant_champion(ignorant: ModelBundle) -> None:
    found = challenge(trained(), champion(ignorant, 600), (), terms(bundle=ignorant))
    assert found.replaces
    assert found.difference is not None
    assert found.difference < -0.02


def test_a_worse_challenger_is_refused_with_both_losses(published: ModelBundle) -> None:
    held = champion(published, 600)
    clairvoyant = perfect_record(held.version)
    found = challenge(trained(), held, clairvoyant, terms(bundle=published))
    assert not found.replaces
    assert found.recorded_rows == 600
    assert found.difference_lower is not None
    assert found.difference_lower > 0.002
    assert "worse than the champion beyond 0.2%" in found.reason


def perfect_record(version: int) -> list[Said]:
    data = trained().sample.data
    chances = np.full((len(data), 3), 0.1)
    chances[np.arange(len(data)), data.labels] = 0.8
    return [Said(int(at), version, *map(float, row)) for at, row in zip(data.t0, chances, strict=True)]


def test_what_another_version_said_is_no_word_of_the_champion(published: ModelBundle) -> None:
    held = champion(published, 600)
    found = challenge(trained(), held, perfect_record(held.version + 1), terms(bundle=published))
    assert (found.recorded_rows, found.replaces) == (0, True)


def test_recorded_words_are_used_where_there_are_any_and_their_gap_is_told(published: ModelBundle) -> None:
    held = champion(published, 600)
    found = challenge(trained(), held, perfect_record(held.version)[-100:], terms(bundle=published))
    assert found.recorded_rows == 100
    assert found.recorded_gap is not None
    assert found.recorded_gap > 0.1


@pytest.mark.parametrize(("rows", "compared"), [(479, False), (480, True), (481, True)])
def test_fewer_than_five_days_of_rows_are_no_comparison(published: ModelBundle, rows: int, compared: bool) -> None:
    found = challenge(trained(), champion(published, rows), (), terms(bundle=published))
    assert found.compared is compared
    assert found.replaces is compared
    assert ("5 are needed" in found.reason) is not compared


@pytest.mark.parametrize(("over", "replaces"), [(-1, False), (0, True), (1, True)])
def test_age_forces_a_change_that_could_not_be_compared(published: ModelBundle, over: int, replaces: bool) -> None:
    limits = terms(WEEK + timedelta(seconds=over), bundle=published)
    found = challenge(trained(), champion(published, 100), (), limits)
    assert found.replaces is replaces
    assert not found.compared


@pytest.mark.parametrize(("held", "sent", "replaces"), [("quick", "full", True), ("quick", "quick", False)])
def test_a_quick_first_bundle_gives_way_to_a_full_one(
    published: ModelBundle, held: str, sent: str, replaces: bool
) -> None:
    full = replace(trained(), recipe=sent)
    found = challenge(full, champion(published, 100, recipe=held), (), terms(bundle=published))
    assert found.replaces is replaces


@pytest.mark.parametrize(("skill", "replaces"), [(-0.01, False), (0.0, False), (float("nan"), False), (1e-6, True)])
def test_a_challenger_without_skill_never_replaces_a_champion(
    published: ModelBundle, skill: float, replaces: bool
) -> None:
    found = trained()
    figures = {**found.figures, ENSEMBLE: replace(found.figures[ENSEMBLE], skill=Estimate(skill, skill, skill))}
    without = replace(found, figures=figures)
    for rows, age in ((600, timedelta(days=3)), (100, 2 * WEEK)):
        judged = challenge(without, champion(published, rows), (), terms(age, bundle=published))
        assert judged.replaces is replaces


def test_nothing_is_asked_where_challenges_are_switched_off(published: ModelBundle) -> None:
    held = champion(published, 600)
    limits = terms(required=False, bundle=published)
    assert challenge(trained(), held, perfect_record(held.version), limits).replaces


def test_a_version_put_back_gives_way_only_to_a_comparison(published: ModelBundle) -> None:
    pin = PinPart(content_of=7, instead_of=8, at=published.metadata.trained_at)
    for rows, replaces in ((479, False), (480, True)):
        held = champion(published, rows, pinned=pin)
        old = terms(10 * WEEK, required=False, bundle=published)
        assert challenge(trained(), held, (), old).replaces is replaces
    held = champion(published, 600, pinned=pin)
    earlier_words = challenge(trained(), held, perfect_record(7), terms(required=False, bundle=published))
    assert (earlier_words.recorded_rows, earlier_words.replaces) == (600, False)


@pytest.mark.parametrize(("gap", "kept"), [(0.0019, False), (0.0021, True)])
def test_the_tolerance_is_a_fifth_of_a_percent_of_the_class_shares_loss(gap: float, kept: bool) -> None:
    rows = 960
    labels = np.zeros(rows, dtype=np.int64)
    prior = np.full(rows, np.log(3.0))
    champion_p = np.tile([0.5, 0.25, 0.25], (rows, 1))
    worse = 0.5 * np.exp(-gap * np.log(3.0))
    challenger_p = np.tile([worse, (1 - worse) / 2, (1 - worse) / 2], (rows, 1))
    found = duel(challenger_p, champion_p, labels, prior, np.arange(rows) // 96, seed=1)
    assert found.difference == pytest.approx(gap)
    assert (found.lower > 0.002) is kept


def test_noise_between_days_widens_the_bounds() -> None:
    rows, generator = 960, np.random.default_rng(3)
    labels = generator.integers(0, 3, rows)
    even = np.full((rows, 3), 1 / 3)
    bold = np.tile([0.5, 0.25, 0.25], (rows, 1))
    prior = np.full(rows, np.log(3.0))
    found = duel(bold, even, labels, prior, np.arange(rows) // 96, seed=1)
    assert found.lower < found.difference < found.upper
    assert found.champion_loss == pytest.approx(np.log(3.0))
