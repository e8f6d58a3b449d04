"""`bnml-trainer-auto`: train whenever a trigger asks for it, in a child process, until told to stop."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from scripts import cli, training_command, training_flags

SHORTEST_INTERVAL_S = 30


def main(argv: Sequence[str] | None = None) -> int:
    """Train in a loop; exit code 1 on the first failure with `--fail-fast`."""
    made = training_flags.parser("bnml-trainer-auto", "keep the ensembles young: train when a trigger asks for it")
    made.add_argument("--interval-seconds", type=float, metavar="S", help="retraining interval (default: configured)")
    made.add_argument("--startup-delay-seconds", type=float, default=0.0, metavar="S", help="wait before the first run")
    made.add_argument("--max-cycles", type=int, default=0, metavar="N", help="stop after N cycles; 0 is endless")
    made.add_argument("--fail-fast", action="store_true", help="stop at the first run with a failed symbol")
    return cli.run(_loop, made, argv)


def _loop(arguments: argparse.Namespace) -> int:
    interval, delay = arguments.interval_seconds, arguments.startup_delay_seconds
    if interval is not None and not SHORTEST_INTERVAL_S <= interval < math.inf:
        return cli.complain(f"--interval-seconds: at least {SHORTEST_INTERVAL_S}, got {interval:g}", cli.USAGE)
    if not 0.0 <= delay < math.inf or arguments.max_cycles < 0:
        return cli.complain("--startup-delay-seconds and --max-cycles must not be negative", cli.USAGE)
    try:
        training_command.prepare(arguments)
        return _trained(arguments)
    except KeyboardInterrupt:
        return cli.complain("stopped; what was not finished keeps its bundle", cli.DONE)


def _trained(arguments: argparse.Namespace) -> int:
    from scripts.training_daemon import TrainingDaemon

    daemon = TrainingDaemon(arguments, training_command.load(arguments))
    try:
        return daemon.run()
    finally:
        daemon.stop()


if __name__ == "__main__":
    raise SystemExit(main())
