"""Which device is fitted on: the card only when one is there, wanted, and works."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bn_ml.errors import ConfigError
from bn_ml.hardware import GraphicsCard, Machine, card_of, this_machine, usable_cores
from bn_ml.settings import AccelerationSettings
from ml_engine.acceleration import choose_device, cuda_problem, training_jobs
from scripts import hardware_probe

CARD = GraphicsCard("NVIDIA A10", "550.54.14", 23_028)


def a_machine(card: GraphicsCard | None = None) -> Machine:
    return Machine("Linux", "x86_64", 8, 32_000, card)


@pytest.mark.parametrize("settings", [AccelerationSettings(gpu_enable=False), AccelerationSettings(device="cpu")])
def test_the_processor_is_used_when_the_configuration_says_so(settings: AccelerationSettings) -> None:
    assert choose_device(settings, a_machine(CARD)).reason == "the configuration says so"


def test_without_a_card_auto_is_the_processor_without_a_warning() -> None:
    device = choose_device(AccelerationSettings(), a_machine())
    assert (device.name, device.fallback) == ("cpu", False)


@pytest.mark.parametrize("settings", [{"gpu_enable": True}, {"device": "cuda"}])
def test_a_card_that_is_demanded_but_absent_falls_back_only_when_allowed(settings: dict[str, object]) -> None:
    allowed = AccelerationSettings.model_validate(settings)
    device = choose_device(allowed, a_machine())
    assert (device.name, device.fallback) == ("cpu", True)
    with pytest.raises(ConfigError, match=r"model\.acceleration"):
        choose_device(allowed.model_copy(update={"allow_cuda_fallback": False}), a_machine())


def test_a_card_counts_only_when_the_library_can_use_it() -> None:
    device = choose_device(AccelerationSettings(), a_machine(CARD))
    if device.name == "cpu":
        assert "CUDA" in device.reason or "test fit" in device.reason
    else:
        assert cuda_problem() == ""


@pytest.mark.parametrize(
    ("answer", "card"),
    [
        ("NVIDIA A10, 550.54.14, 23028\n", CARD),
        ("", None),
        ("No devices were found\n", None),
        ("a, b, c\n", None),
    ],
)
def test_reads_what_the_drivers_tool_prints(answer: str, card: GraphicsCard | None) -> None:
    assert card_of(answer) == card


@pytest.mark.parametrize(("status", "found"), [(0, True), (9, False)])
def test_asks_the_drivers_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, found: bool) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho 'NVIDIA A10, 550.54.14, 23028'\nexit {status}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert this_machine().card == (CARD if found else None)


@pytest.mark.parametrize(("configured", "jobs"), [("auto", max(1, usable_cores() - 1)), (-1, usable_cores()), (1, 1)])
def test_cores_for_training_are_those_configured_and_no_more_than_there_are(configured: object, jobs: int) -> None:
    assert training_jobs(AccelerationSettings.model_validate({"cpu_n_jobs": configured})) == jobs
    assert training_jobs(AccelerationSettings(cpu_n_jobs=64)) <= usable_cores()


def test_the_probe_prints_one_object_with_the_lines_to_configure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bot.yaml").write_text("model: {acceleration: {gpu_enable: true, allow_cuda_fallback: false}}\n")
    assert hardware_probe.main(["--config", str(tmp_path / "bot.yaml"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cores"] == usable_cores()
    assert told["memory_mb"] > 0
    assert told["yaml"].startswith("model:\n  acceleration:\n")
    if not told["xgboost_cuda_works"]:
        assert told["device"] == "cpu"
        assert "demanded" in told["reason"]
