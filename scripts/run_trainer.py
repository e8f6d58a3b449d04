"""`bnml-trainer`: train bundles once and say what each symbol is worth."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scripts import cli, training_command, training_flags


def main(argv: Sequence[str] | None = None) -> int:
    """Train; exit code 1 with the list when any symbol failed."""
    made = training_flags.parser("bnml-trainer", "train the ensembles of the configured symbols once")
    return cli.run(_train, made, argv)


def _train(arguments: argparse.Namespace) -> int:
    training_command.prepare(arguments)
    settings = training_command.load(arguments)
    run = training_command.run_once(arguments, settings, trained_by="bnml-trainer")
    return training_command.present(run, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
