"""The trainer names every configured wish it cannot fulfil, once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from data_manager.history import HistoryStore
from tests.fakes.bar_builders import some_bars

ROOT = Path(__file__).resolve().parents[2]


def test_a_key_without_effect_is_named_once_in_the_output(tmp_path: Path) -> None:
    HistoryStore(tmp_path / "history").write(some_bars(200))
    config = tmp_path / "bot.yaml"
    config.write_text(
        "universe: {training_symbols: [BTC/USDC]}\n"
        f"data: {{paper_market_data_mode: replay, replay_dir: {tmp_path / 'history'}, replay_speed: 60}}\n"
        f"model: {{models_dir: {tmp_path / 'models'}}}\n"
        "scanner: {workers: 4}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "scripts.run_trainer", "--config", str(config), "--quick", "--jobs", "1"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--until", "2024-03-06"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert output.count("data.replay_speed: 60.0 has no effect in this version") == 1
    assert output.count("scanner.workers: 4 has no effect in this version") == 1
    assert output.count("has no effect") == 2
    assert "failed: BTC/USDC" in done.stderr
