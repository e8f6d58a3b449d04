"""Whatever shape a caller holds, a section can be had from it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bn_ml.errors import ConfigError
from bn_ml.settings import ModelSettings, RiskSettings, Settings, model_section, risk_section
from data_manager.feature_engineer import FeatureEngineer
from ml_engine.labeling import DynamicLabeler
from ml_engine.trainer import EnsembleTrainer
from trader.exit_manager import ExitManager
from trader.risk_manager import RiskManager

PARTIAL = {"exchange": {"name": "binance", "enableRateLimit": True}, "risk": {"max_position_size_usdt": 80}}


@pytest.mark.parametrize(
    "config",
    [
        RiskSettings(max_position_size_usdt=80),
        Settings(risk=RiskSettings(max_position_size_usdt=80)),
        PARTIAL,
        {"max_position_size_usdt": 80},
    ],
    ids=["section", "all", "partial mapping of all", "partial mapping of the section"],
)
def test_a_section_is_found_in_every_shape(config: Settings | RiskSettings | Mapping[str, object]) -> None:
    assert risk_section(config) == RiskSettings(max_position_size_usdt=80)


def test_nothing_gives_the_defaults() -> None:
    assert (model_section(None), risk_section({})) == (ModelSettings(), RiskSettings())


def test_a_wrong_key_is_named_with_its_section() -> None:
    with pytest.raises(ConfigError, match=r"model\.random_sate"):
        model_section({"random_sate": 3})


def test_every_part_can_be_made_from_a_partial_configuration() -> None:
    assert FeatureEngineer(PARTIAL).columns == FeatureEngineer().columns
    assert DynamicLabeler(PARTIAL).window_bars(900_000) == DynamicLabeler(Settings()).window_bars(900_000)
    assert all(part(PARTIAL) is not None for part in (EnsembleTrainer, ExitManager, RiskManager))
