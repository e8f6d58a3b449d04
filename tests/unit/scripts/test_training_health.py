"""The training child as a supervised worker: it rests, it is heard, and one that hangs is killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from ml_engine.retraining import SILENT_S, TrainingSupervisor
from ml_engine.training_progress import TrainingFinished
from scripts.training_health import TrainingHealth
from tests.fakes.stream_server import until

DEAF = "import signal, threading\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nthreading.Event().wait()"


@pytest.fixture
def trainer() -> Iterator[TrainingSupervisor]:
    made = TrainingSupervisor(command=[sys.executable, "-c", DEAF])
    yield made
    made.kill()
    until(lambda: not made.running)


def test_it_rests_while_nothing_is_trained(trainer: TrainingSupervisor) -> None:
    health = TrainingHealth(trainer)
    health.start()
    assert (health.is_alive(), health.beat_age_s()) == (True, 0.0)
    health.stop(1.0)


def test_a_silent_child_ages_and_is_killed_though_it_ignores_the_request_to_end(trainer: TrainingSupervisor) -> None:
    health = TrainingHealth(trainer)
    assert trainer.start()
    until(lambda: health.beat_age_s() > 0.05)
    assert health.is_alive()
    health.stop(1.0)
    until(lambda: not trainer.running)
    (message,) = trainer.poll()
    assert isinstance(message, TrainingFinished)
    assert "signal 9" in message.error
    assert (health.is_alive(), health.beat_age_s()) == (True, 0.0)


def test_the_loop_has_the_first_say_about_a_silent_child(trainer: TrainingSupervisor) -> None:
    assert TrainingHealth(trainer).stale_after_s > SILENT_S
