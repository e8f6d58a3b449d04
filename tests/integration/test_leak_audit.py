"""The leak audit: an honest pipeline passes, every planted leak is found, too little tested is not clean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bn_ml.domain.market import Symbol
from bn_ml.settings import RiskSettings
from data_manager.history import HistoryStore
from ml_engine.audit_features import FeatureAudit
from ml_engine.audit_findings import Check, is_clean
from ml_engine.audit_nulls import null_checks
from ml_engine.audit_plants import FEATURE_PLANTS, TRAINER_PLANTS
from ml_engine.audit_run import Subject, audit, self_test
from ml_engine.trainer import EnsembleTrainer, Trained
from ml_engine.training_data import Sample, TrainingMarket
from scripts import run_backtest
from tests.fakes.feature_market import walk
from tests.fakes.training_builders import a_model

NAMES = ("AAA/USDC", "BBB/USDC", "CCC/USDC")
BARS = 8_400


@pytest.fixture(scope="module")
def subject() -> Subject:
    bars = {Symbol(name): walk(name, bars=BARS, seed=seed) for seed, name in enumerate(NAMES, 3)}
    model = a_model(
        training_window_days=45,
        train_ohlcv_limit=3_600,
        drift={"benchmark_symbol": "AAA/USDC"},
        multi_timeframe={"timeframes": ["1h"]},
    )
    end_ms = int(bars[Symbol("AAA/USDC")].close_time[-1])
    market = TrainingMarket(bars, {}, tuple(map(Symbol, NAMES)), Symbol("AAA/USDC"), end_ms)
    return Subject(model, RiskSettings(), Symbol("BBB/USDC"), market, rows=6, seed=5)


@pytest.fixture(scope="module")
def checks(subject: Subject) -> list[Check]:
    return audit(subject)


def test_an_honest_pipeline_is_clean(checks: list[Check]) -> None:
    assert [(check.name, check.findings) for check in checks if not check.clean] == []
    assert {
        "truncated future",
        "window start",
        "units",
        "identity",
        "label recomputed",
        "reads",
        "predictor parity",
    } <= {check.name for check in checks}


def test_every_planted_leak_is_found(subject: Subject) -> None:
    caught = self_test(subject)
    assert [check.name for check in caught if not check.clean] == []
    assert len(caught) == len(FEATURE_PLANTS) + len(TRAINER_PLANTS) + 2
    guilty = next(check for check in caught if check.name == "plant: shift(-k)")
    assert "shift(-k) at row 2023-" in guilty.note


def test_fewer_rows_than_asked_for_are_not_clean(subject: Subject) -> None:
    newest = int(subject.bars.open_time[-4])
    check = FeatureAudit(subject.road, subject.market.bars, subject.symbol, newest, 50, 1).cut()
    assert check.verdict == "inconclusive"
    assert not is_clean([check])
    assert not is_clean([])


class LabelReader(EnsembleTrainer):
    """A trainer whose first column is the label itself."""

    def train_on(self, found: Sample, *arguments: Any, **keywords: Any) -> Trained:
        values = found.data.values.copy()
        values[:, 0] = found.data.labels
        return super().train_on(replace(found, data=replace(found.data, values=values)), *arguments, **keywords)


def test_worlds_without_direction_are_clean_and_a_trainer_that_reads_labels_is_not(subject: Subject) -> None:
    found = subject.rows_of()
    honest = null_checks(found, subject.trainer, subject.model, subject.risk, seed=1)
    assert [(check.name, check.findings) for check in honest if not check.clean] == []
    leaky = LabelReader(subject.model, subject.risk, quick=True)
    assert [check.verdict for check in null_checks(found, leaky, subject.model, subject.risk, seed=1)] == ["FAIL"] * 2


CONFIG = """
universe: {{training_symbols: [AAA/USDC, BBB/USDC, CCC/USDC]}}
data: {{paper_market_data_mode: replay, replay_dir: {folder}, replay_from: 2023-01-02, replay_to: 2023-04-30}}
model:
  models_dir: {folder}/models
  training_window_days: 45
  train_ohlcv_limit: 3600
  min_train_rows: 500
  drift: {{benchmark_symbol: AAA/USDC}}
  multi_timeframe: {{timeframes: [1h]}}
"""


def test_the_command_tells_each_check_and_exits_0_only_when_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = HistoryStore(tmp_path)
    for seed, name in enumerate(NAMES):
        store.write(walk(name, bars=BARS, seed=seed))
    config = tmp_path / "bot.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    flags = ["audit", "--config", str(config), "--rows", "4", "--until", "2023-03-30", "--json"]
    assert run_backtest.main(flags) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["clean"] is True
    assert shown["symbol"] == "AAA/USDC"
    assert all(check["verdict"] == "ok" for check in shown["checks"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [(("--symbol", "ZZZ/USDC"), "--symbol ZZZ/USDC"), (("--until", "soon"), "--until"), (("--rows", "0"), "--rows")],
)
def test_bad_use_is_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    HistoryStore(tmp_path).write(walk("AAA/USDC", bars=300))
    config = tmp_path / "bot.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    try:
        code = run_backtest.main(["audit", "--config", str(config), *flags])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert words in capsys.readouterr().err
