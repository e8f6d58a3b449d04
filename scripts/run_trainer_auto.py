"""`bnml-trainer-auto`: train again whenever bundles are missing or old, until told to stop."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scripts import cli, training_command, training_flags

SHORTEST_INTERVAL_S = 30


def main(argv: Sequence[str] | None = None) -> int:
    """Train in a loop; exit code 1 on the first failure with `--fail-fast`."""
    made = training_flags.parser("bnml-trainer-auto", "keep the ensembles young: train in a loop")
    made.add_argument("--interval-seconds", type=float, metavar="S", help="time between runs (default: configured)")
    made.add_argument("--startup-delay-seconds", type=float, default=0.0, metavar="S", help="wait before the first run")
    made.add_argument("--max-cycles", type=int, default=0, metavar="N", help="stop after N runs; 0 is endless")
    made.add_argument("--fail-fast", action="store_true", help="stop at the first run with a failed symbol")
    return cli.run(_loop, made, argv)


def _loop(arguments: argparse.Namespace) -> int:
    from datetime import timedelta

    from bn_ml.clock import SystemClock

    training_command.prepare(arguments)
    settings = training_command.load(arguments)
    interval_s = arguments.interval_seconds or settings.model.retraining.interval_hours * 3600.0
    if interval_s < SHORTEST_INTERVAL_S:
        return cli.complain(f"--interval-seconds: at least {SHORTEST_INTERVAL_S}, got {interval_s:g}", cli.USAGE)
    if arguments.startup_delay_seconds < 0 or arguments.max_cycles < 0:
        return cli.complain("--startup-delay-seconds and --max-cycles must not be negative", cli.USAGE)
    if not (arguments.train_all or arguments.symbol):
        arguments.train_missing_only = True
    clock = SystemClock()
    clock.sleep_until(clock.now() + timedelta(seconds=arguments.startup_delay_seconds))
    cycle, code = 0, cli.DONE
    while True:
        started = clock.now()
        code = _cycle(arguments)
        cycle += 1
        if (code != cli.DONE and arguments.fail_fast) or cycle == arguments.max_cycles:
            return code
        clock.sleep_until(started + timedelta(seconds=interval_s))


def _cycle(arguments: argparse.Namespace) -> int:
    """Run once; a source that is down fails this run, not the daemon."""
    from bn_ml.errors import BnMlError

    try:
        settings = training_command.load(arguments)
        run = training_command.run_once(arguments, settings, trained_by="bnml-trainer-auto")
    except BnMlError as error:
        return cli.complain(str(error), cli.FAILED)
    return training_command.present(run, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
