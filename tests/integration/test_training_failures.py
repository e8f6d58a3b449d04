"""Every way a training fails, with the real trainer as the bot's child: told, counted, the old bundle in service."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import yaml

from bn_ml.clock import SimulatedClock
from bn_ml.config import load_settings
from bn_ml.domain.market import Symbol, from_ms
from bn_ml.settings import Settings
from data_manager.bars import Bars
from data_manager.feature_engineer import FeatureEngineer
from data_manager.history import HistoryStore
from data_manager.sources.replay import ReplaySource
from ml_engine.bundle_store import BundleStore
from ml_engine.retraining import TRAINER, TrainingSupervisor
from ml_engine.training_progress import Message, SymbolOutcome
from scripts.training_worker import TrainingWorker
from scripts.wiring import Extras, TradingBot, open_bot
from scripts.worlds import World
from tests.fakes.bar_builders import START_MS, some_bars
from tests.fakes.bundle_builders import a_bundle

BARS = 5_200
NOW = from_ms(START_MS + BARS * 900_000)
GOOD, FEW, RISING, HOLED, ABSENT = (Symbol(f"{name}/USDC") for name in ("GOOD", "FEW", "RISE", "HOLE", "NONE"))
CHILD = [sys.executable, str(TRAINER), "--progress-json"]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound symbol, one with too few bars, one that only ever rises, one whose volume is lost on the way."""
    folder = tmp_path_factory.mktemp("history")
    holed = some_bars(BARS, symbol=HOLED)
    lost = np.arange(BARS) > 2_000
    holed = replace(holed, volume=np.where(lost, 0.0, holed.volume), quote_volume=np.where(lost, 0.0, 1.0))
    few = some_bars(300, symbol=FEW, start_ms=START_MS + (BARS - 300) * 900_000)
    for bars in (some_bars(BARS, symbol=GOOD), few, rising(), holed):
        HistoryStore(folder).write(bars)
    return folder


def rising() -> Bars:
    bars = some_bars(BARS, symbol=RISING)
    close = 100.0 * np.exp(0.002 * np.arange(BARS)) * (1.0 + 1e-5 * np.sin(np.arange(BARS)))
    opened = np.concatenate([[100.0], close[:-1]])
    return replace(bars, open=opened, close=close, high=np.maximum(opened, close) * 1.0001, low=opened * 0.9999)


@dataclass(frozen=True)
class Place:
    """A bot with an old bundle of every symbol, and its worker's road to the real trainer."""

    settings: Settings
    config: Path
    bot: TradingBot

    @property
    def models(self) -> Path:
        return Path(self.settings.model.models_dir)

    def run(
        self,
        *,
        command: Sequence[str] = CHILD,
        environ: Mapping[str, str] = os.environ,
        heard: list[Message] | None = None,
        kill: bool = False,
    ) -> dict[str, object]:
        """Let the worker train what is due and give the record users see."""
        supervisor = Listening(command, environ, [] if heard is None else heard)
        worker = TrainingWorker(self.settings, self.bot.world, config=self.config, enabled=True, supervisor=supervisor)
        worker.attach(self.bot)
        worker.collect(NOW)
        while supervisor.running:
            worker.collect(NOW)
            if kill and supervisor.heard:
                os.kill(supervisor.child_pid, signal.SIGKILL)
            Event().wait(0.02)
        worker.collect(NOW)
        kept = self.bot.store.get("training_status")
        assert isinstance(kept, dict)
        return {**kept, "waiting": dict(worker.waiting)}

    def serves(self, symbol: Symbol) -> int:
        """The version a restarted bot would serve."""
        engineer = FeatureEngineer(self.settings.model)
        return BundleStore(self.models, feature_hash=engineer.feature_hash).load(symbol).version


class Listening(TrainingSupervisor):
    """Keeps what it hears."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], heard: list[Message]) -> None:
        super().__init__(command=command, environ=environ)
        self.heard = heard

    def poll(self) -> list[Message]:
        messages = super().poll()
        self.heard += messages
        return messages

    @property
    def child_pid(self) -> int:
        assert self._child is not None
        return self._child.pid


@contextmanager
def place(history: Path, folder: Path, symbols: Sequence[Symbol], **model: object) -> Iterator[Place]:
    config = folder / "bot.yaml"
    models = folder / "models"
    small = {"n_estimators": 10}
    tree = {
        "base_quote": "USDC",
        "universe": {"training_symbols": [str(symbol) for symbol in symbols]},
        "data": {"paper_market_data_mode": "replay", "replay_dir": str(history)},
        "model": {
            **{"models_dir": str(models), "training_window_days": 45, "min_train_rows": 500, "rf": small, "xgb": small},
            **{"lgb": small, "hpo": {"enabled": False}, **model},
        },
        "storage": {"sqlite_path": str(folder / "bn_ml.db")},
    }
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    settings = load_settings(config).settings
    for symbol in symbols:
        publish_old(settings, symbol)
    clock = SimulatedClock(NOW)
    bot = open_bot(settings, World(clock, ReplaySource(history, clock)), Extras())
    try:
        yield Place(settings, config, bot)
    finally:
        bot.close()


def publish_old(settings: Settings, symbol: Symbol) -> None:
    engineer = FeatureEngineer(settings.model)
    trained = NOW - timedelta(days=20)
    bundle = a_bundle(
        symbol=str(symbol),
        model_key=symbol.key,
        feature_hash=engineer.feature_hash,
        feature_columns=tuple(engineer.columns[:6]),
        optional_columns=(),
        trained_at=trained,
        valid_from=trained,
        label_end=trained - timedelta(hours=1),
    )
    BundleStore(settings.model.models_dir, feature_hash=engineer.feature_hash).save(bundle)


def outcome_of(heard: Sequence[Message], symbol: Symbol) -> SymbolOutcome:
    (found,) = (message for message in heard if isinstance(message, SymbolOutcome) and message.symbol == symbol)
    return found


def test_bars_nobody_can_learn_from_fail_their_symbols_with_the_reason(history: Path, tmp_path: Path) -> None:
    heard: list[Message] = []
    symbols = (FEW, RISING, HOLED, ABSENT)
    with place(history, tmp_path, symbols) as there:
        kept = there.run(heard=heard)
        served = [there.serves(symbol) for symbol in symbols]
    assert (kept["status"], kept["symbols_errors"], kept["symbols_trained"]) == ("failed", 4, 0)
    assert served == [1, 1, 1, 1]
    reasons = {symbol: outcome_of(heard, symbol).reasons[0] for symbol in symbols}
    assert reasons[FEW].startswith("too_few_rows: ")
    assert reasons[RISING].startswith("rare_class: class shares SELL/HOLD/BUY 0.000/")
    assert re.fullmatch(r"too_few_rows: .* are needed: \w+ is unknown in 3186 of 4320 bars", reasons[HOLED])
    assert reasons[ABSENT].startswith("data_unavailable: ")
    assert str(kept["last_error"]).partition(":")[0] in {str(symbol) for symbol in symbols}


def test_a_calibration_that_cannot_be_made_refuses_the_bundle_and_the_rest_waits(history: Path, tmp_path: Path) -> None:
    with place(history, tmp_path, [GOOD], ensemble={"calibration": "isotonic"}) as there:
        kept = there.run()
        assert there.serves(GOOD) == 1
    assert kept["status"] == "failed"
    assert "GOOD/USDC: calibration_failed: " in str(kept["last_error"])


def test_a_killed_child_is_a_failure_and_the_old_bundle_serves(history: Path, tmp_path: Path) -> None:
    with place(history, tmp_path, [GOOD]) as there:
        kept = there.run(kill=True)
        assert there.serves(GOOD) == 1
        again = there.run()
    assert kept["status"] == "failed"
    assert str(kept["last_error"]).startswith("the training process ended by signal 9")
    assert "failed, rests until" in again["waiting"][GOOD]  # type: ignore[index]


def test_a_full_disk_refuses_the_new_bundle_and_the_old_one_serves(history: Path, tmp_path: Path) -> None:
    incoming = tmp_path / "models" / ".incoming"
    mount = f'mount -t tmpfs -o size=64k none {incoming} && exec "$@"'
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no own mounts on this machine")
    with place(history, tmp_path, [GOOD], retraining={"champion_challenger": False}) as there:
        kept = there.run(command=["unshare", "-rm", "sh", "-c", mount, "sh", *CHILD])
        assert there.serves(GOOD) == 1
        assert [path.name for path in incoming.iterdir()] == []
    assert kept["status"] == "failed"
    assert "No space left on device" in str(kept["last_error"])


def test_a_source_that_is_down_fails_the_run_with_its_message(history: Path, tmp_path: Path) -> None:
    bars = shutil.copytree(history, tmp_path / "history")
    with place(bars, tmp_path, [GOOD]) as there:
        bars.rename(tmp_path / "away")
        kept = there.run()
        assert there.serves(GOOD) == 1
    assert kept["status"] == "failed"
    assert "no bars to replay in" in str(kept["last_error"])
    assert kept["symbols_errors"] == 0


def test_a_corrupt_old_bundle_is_replaced_and_the_record_says_so(history: Path, tmp_path: Path) -> None:
    heard: list[Message] = []
    with place(history, tmp_path, [GOOD]) as there:
        (there.models / GOOD.key / "reference.npz").write_bytes(b"x")
        kept = there.run(heard=heard)
        assert there.serves(GOOD) == 2
    assert kept["status"] == "completed"
    assert "the old one is unusable: " in str(outcome_of(heard, GOOD).challenge["reason"])


def test_a_signing_key_that_cannot_be_read_fails_the_symbol(history: Path, tmp_path: Path) -> None:
    key = tmp_path / "signing.key"
    key.write_text("no key")
    with place(history, tmp_path, [GOOD], retraining={"champion_challenger": False}) as there:
        kept = there.run(environ={**os.environ, "BNML_SIGNING_KEY_FILE": str(key)})
        assert there.serves(GOOD) == 1
    assert kept["status"] == "failed"
    assert "signing" in str(kept["last_error"]).lower() or "key" in str(kept["last_error"]).lower()
