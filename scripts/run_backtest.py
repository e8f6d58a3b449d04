"""`bnml-backtest`: replay history through the bot with retraining and report it; `audit` looks for leaks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the backtest, or the audit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["audit"]:
        from scripts import audit_command

        return audit_command.main(arguments[1:])
    return cli.run(_backtest, parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """Give the parser of the backtest's flags."""
    made = cli.parser("bnml-backtest", "replay history through the bot with retraining and report it")
    made.add_argument("--symbol", action="append", help="only this symbol; repeatable (default: the configured ones)")
    made.add_argument("--from", dest="begin", metavar="DATE", help="first instant (default: --days before the end)")
    made.add_argument("--to", dest="end", metavar="DATE", help="end, not included (default: where the bars end)")
    made.add_argument("--days", type=_positive, help="length of the span in days (default 90)")
    made.add_argument("--data-dir", type=Path, help="stored bars (default data.replay_dir)")
    made.add_argument(
        "--walk-forward",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="retrain as of each date; without, the bundles of model.models_dir as they were valid",
    )
    made.add_argument("--no-hpo", action="store_true", help="train with fixed parameters")
    made.add_argument("--fee", type=float, help="fee per side as a fraction (default risk.fees_pct)")
    made.add_argument("--slippage", type=float, help="slippage per side that labels and gates count with")
    made.add_argument("--capital", type=_positive, help="capital at the start (default backtest.initial_capital)")
    made.add_argument("--seed", type=int, help="seed of trainings and of the random-entry control")
    made.add_argument("--out-dir", type=Path, help="folder of the run (default artifacts/backtests/FROM_TO)")
    made.add_argument("--paper", action="store_true", help="accepted, no effect: a backtest is always on paper")
    made.epilog = "bnml-backtest audit --help: look for leaks in features, labels, blocks and bundles"
    return made


def _backtest(arguments: argparse.Namespace) -> int:
    # Read by the learning libraries when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from scripts.backtest_command import command

    return command(arguments)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
