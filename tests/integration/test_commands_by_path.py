"""`python scripts/<name>.py` runs the file's own checkout, from any folder, installed or not."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_progress import TrainingFinished

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(path for path in (ROOT / "scripts").glob("*.py") if "def main(" in path.read_text(encoding="utf-8"))


def _without_packages(path: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", str(path), *arguments]
    return subprocess.run(command, cwd=cwd, env={}, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_run_by_its_path_gives_its_help_where_nothing_is_installed(path: Path, tmp_path: Path) -> None:
    done = _without_packages(path, tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_a_missing_package_is_told_with_its_fix_and_no_traceback(tmp_path: Path) -> None:
    done = _without_packages(ROOT / "scripts" / "run_bot.py", tmp_path, "--once", "--paper")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("is missing; install with: pip install -e .\n")
    assert len(done.stderr.splitlines()) == 1


def test_the_training_child_is_our_own_in_a_folder_with_foreign_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "__init__.py").write_text("raise SystemExit('a stranger')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    supervisor = TrainingSupervisor()
    assert supervisor.start(["--help"])
    for thread in threading.enumerate():
        if thread.name == "training-reader":
            thread.join(20)
    (message,) = supervisor.poll()
    assert isinstance(message, TrainingFinished)
    assert "exit code 0" in message.error
