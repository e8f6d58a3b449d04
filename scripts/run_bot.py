"""`bnml-bot`: the trading loop."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from scripts import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bot until it is told to stop; gives the exit code."""
    made = cli.parser("bnml-bot", "Scan, predict, judge and trade until stopped (Ctrl-C).")
    mode = made.add_mutually_exclusive_group()
    mode.add_argument("--paper", action="store_true", help="trade on paper, whatever the configuration says")
    mode.add_argument("--live", action="store_true", help="trade with real money, whatever the configuration says")
    made.add_argument("--once", action="store_true", help="run one full cycle and exit")
    made.add_argument("--max-cycles", type=_count, metavar="N", help="exit after N cycles")
    made.add_argument("--symbol", action="append", metavar="S", help="trade only this symbol (repeatable)")
    made.add_argument("--no-dashboard", action="store_true", help="start no dashboard")
    made.add_argument("--dashboard-port", type=int, metavar="PORT", help="port of the dashboard")
    made.add_argument("--dashboard-address", metavar="ADDRESS", help="address of the dashboard")
    made.add_argument("--disable-retrain", action="store_true", help="train nothing in the background")
    made.add_argument(
        "--market-data",
        choices=("live", "synthetic", "replay", "auto"),
        help="where prices come from, chosen once at start (auto: live if reachable, else synthetic)",
    )
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    with cli.collector_at_rest():
        from scripts.bot_session import run_session

    return run_session(arguments)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
