"""`bnml-hardware-probe`: tell what hardware training can use."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from scripts import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print what the machine has and which device training takes, as JSON; exit code 0."""
    made = cli.parser("bnml-hardware-probe", "Tell what hardware training can use, as JSON.")
    return cli.run(_probe, made, argv)


def _probe(arguments: argparse.Namespace) -> int:
    from bn_ml.config import load_settings
    from bn_ml.errors import ConfigError
    from bn_ml.hardware import this_machine
    from ml_engine.acceleration import CPU, Device, built_with_cuda, choose_device, cuda_problem, training_jobs

    settings = load_settings(arguments.config).settings.model.acceleration
    machine = this_machine()
    try:
        device = choose_device(settings, machine)
    except ConfigError as error:
        device = Device(CPU, error.problems[0], fallback=True)
    card = machine.card
    works = card is not None and built_with_cuda() and not cuda_problem()
    told = {
        "system": machine.system,
        "machine": machine.machine,
        "cores": machine.cores,
        "memory_mb": machine.memory_mb,
        "has_nvidia_gpu": card is not None,
        "gpu_name": card.name if card else None,
        "gpu_driver": card.driver if card else None,
        "gpu_memory_mb": card.memory_mb if card else None,
        "is_apple_silicon": machine.is_apple_silicon,
        "xgboost_cuda_built": built_with_cuda(),
        "xgboost_cuda_works": works,
        "device": device.name,
        "reason": device.reason,
        "training_jobs": training_jobs(settings),
        "yaml": f"model:\n  acceleration:\n    gpu_enable: {str(works).lower()}\n    device: {device.name}\n",
    }
    print(json.dumps(told, indent=None if arguments.json else 1))
    return cli.DONE


if __name__ == "__main__":
    raise SystemExit(main())
