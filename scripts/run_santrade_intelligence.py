"""`bnml-santrade-intel`: compute the market mood alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scripts import cli

SHORTEST_INTERVAL_S = 15.0


def main(argv: Sequence[str] | None = None) -> int:
    """Read the market's mood again and again until told to stop; gives the exit code."""
    made = cli.parser("bnml-santrade-intel", "Read the mood of the market, without trading.")
    mode = made.add_mutually_exclusive_group()
    mode.add_argument("--paper", action="store_true", help="use the market data of paper trading")
    mode.add_argument("--live", action="store_true", help="use the market data of live trading")
    made.add_argument("--once", action="store_true", help="read the mood once, print it and exit")
    made.add_argument("--interval-seconds", type=_interval, metavar="S", help="time between readings, at least 15")
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    from scripts.santrade_session import run_session

    return run_session(arguments)


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SHORTEST_INTERVAL_S <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be at least {SHORTEST_INTERVAL_S:g} seconds, got {text!r}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
