"""The training child: whatever it does, the loop only ever hears messages."""

from __future__ import annotations

import sys
import threading

import pytest

from ml_engine.retraining import TrainingSupervisor
from ml_engine.training_progress import (
    Message,
    SymbolOutcome,
    TrainingFinished,
    TrainingProgress,
    decode,
    encode,
)

STEP = TrainingProgress("BTC/USDC", "fit", 1, 2, 0, eta_s=4.0)
OUTCOME = SymbolOutcome("BTC/USDC", "trained", reasons=("no_skill: x",), skill=(0.1, None, 0.2), weights={"rf": 1.0})
DONE = TrainingFinished("completed", trained=("BTC/USDC",))


def child(*lines: str, then: str = "") -> TrainingSupervisor:
    """A supervisor of a Python child that prints lines and then does something."""
    program = f"import os, sys, signal, threading\nfor line in {list(lines)!r}: print(line, flush=True)\n{then}"
    return TrainingSupervisor(command=[sys.executable, "-c", program])


def everything(supervisor: TrainingSupervisor) -> list[Message]:
    """Run to the end and collect."""
    assert supervisor.start()
    for thread in threading.enumerate():
        if thread.name == "training-reader":
            thread.join(20)
    assert not supervisor.running
    return supervisor.poll()


def test_messages_survive_the_pipe() -> None:
    assert [decode(encode(message)) for message in (STEP, OUTCOME, DONE)] == [STEP, OUTCOME, DONE]


def test_the_loop_hears_every_message_in_order_and_log_text_is_no_message() -> None:
    supervisor = child(encode(STEP), "INFO something", encode(OUTCOME), encode(DONE))
    assert everything(supervisor) == [STEP, OUTCOME, DONE]
    assert supervisor.poll() == []


def test_a_child_that_crashes_is_a_failed_training() -> None:
    messages = everything(child(encode(STEP), then="sys.exit('no memory left')"))
    assert messages == [STEP, TrainingFinished("failed", error=messages[-1].error)]  # type: ignore[union-attr]
    assert "exit code 1: no memory left" in messages[-1].error  # type: ignore[union-attr]


def test_a_child_that_is_killed_is_a_failed_training() -> None:
    messages = everything(child(then="os.kill(os.getpid(), signal.SIGKILL)"))
    assert messages == [TrainingFinished("failed", error="the training process ended by signal 9")]


def test_a_child_that_cannot_start_is_a_failed_training() -> None:
    supervisor = TrainingSupervisor(command=["/nonexistent/trainer"])
    assert not supervisor.start()
    (message,) = supervisor.poll()
    assert isinstance(message, TrainingFinished)
    assert message.status == "failed"


def test_stop_ends_a_running_child_and_says_so() -> None:
    supervisor = child(encode(STEP), then="threading.Event().wait()")
    assert supervisor.start()
    assert not supervisor.start()
    assert supervisor.running
    supervisor.stop()
    assert not supervisor.running
    assert supervisor.poll()[-1] == TrainingFinished("stopped")


def test_stop_ends_a_child_that_ignores_it() -> None:
    deaf = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); print({encode(STEP)!r}, flush=True)"
    supervisor = child(then=f"{deaf}; threading.Event().wait()")
    assert supervisor.start()
    while not supervisor.poll():
        threading.Event().wait(0.01)
    supervisor.stop(wait_s=0.5)
    assert not supervisor.running
    assert supervisor.poll() == [TrainingFinished("stopped")]


def test_stopping_nothing_does_nothing() -> None:
    TrainingSupervisor(command=["true"]).stop()


def test_a_loop_that_does_not_collect_keeps_the_outcomes() -> None:
    many = "\n".join(["for _ in range(1500): print(" + repr(encode(STEP)) + ")", f"print({encode(OUTCOME)!r})"])
    messages = everything(child(then=f"{many}\nprint({encode(DONE)!r})"))
    assert len(messages) == 1000
    assert messages[-2:] == [OUTCOME, DONE]


def silent_child(*, ignores: bool) -> TrainingSupervisor:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if ignores else ""
    program = f"import signal, threading\n{deaf}print({encode(STEP)!r}, flush=True)\nthreading.Event().wait()"
    return TrainingSupervisor(command=[sys.executable, "-c", program], silent_s=0.3)


def polled_to_the_end(supervisor: TrainingSupervisor) -> list[Message]:
    heard: list[Message] = []
    while supervisor.running:
        heard += supervisor.poll()
        threading.Event().wait(0.02)
    return heard + supervisor.poll()


@pytest.mark.parametrize("ignores", [False, True])
def test_a_child_silent_for_too_long_is_ended_as_hung(ignores: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_engine.retraining.STOP_WAIT_S", 0.2)
    supervisor = silent_child(ignores=ignores)
    assert supervisor.start()
    messages = polled_to_the_end(supervisor)
    assert isinstance(messages[-1], TrainingFinished)
    assert messages[-1].status == "failed"
    assert "hung: no message for" in messages[-1].error


def test_a_child_that_speaks_now_and_then_is_not_hung() -> None:
    speech = f"[print({encode(STEP)!r}, flush=True) or threading.Event().wait(0.2) for _ in range(8)]"
    program = f"import threading\n{speech}\nprint({encode(DONE)!r})"
    supervisor = TrainingSupervisor(command=[sys.executable, "-c", program], silent_s=1.2)
    assert supervisor.start()
    assert polled_to_the_end(supervisor)[-1] == DONE
