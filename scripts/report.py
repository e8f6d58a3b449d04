"""`bnml-report`: write one offline report, or compare two runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli

EXAMPLES = """examples:
  bnml-report --from-db --out report.html
  bnml-report --from-backtest artifacts/backtests/20230101_20230630
  bnml-report --compare artifacts/state/bn_ml.db artifacts/backtests/20230601_20230901

exit codes: 0 written, 1 the book or folder cannot be reported, 2 wrong usage or configuration"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bnml-report`; gives 0 written, 1 no such book or nothing in it, 2 wrong usage or configuration."""
    return cli.run(_command, _parser(), argv)


def _parser() -> argparse.ArgumentParser:
    made = cli.parser("bnml-report", "write one offline report (HTML and its JSON twin), or compare two runs")
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.epilog = EXAMPLES
    sources = made.add_mutually_exclusive_group()
    sources.add_argument(
        "--from-db",
        nargs="?",
        const="",
        default="",
        metavar="PATH",
        help="the book of a paper or live bot (default: storage.sqlite_path)",
    )
    sources.add_argument("--from-backtest", type=Path, metavar="DIR", help="a folder that bnml-backtest wrote")
    sources.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A", "B"), help="two runs, each a database or a backtest's folder"
    )
    made.add_argument("--mode", choices=("paper", "live"), help="the mode the book must be of")
    made.add_argument("--from", dest="begin", metavar="T", help="from this date or instant (UTC) on")
    made.add_argument("--to", dest="end", metavar="T", help="until before this date or instant (UTC)")
    made.add_argument("--out", type=Path, default=Path("report.html"), metavar="PATH", help="default report.html")
    return made


def _command(arguments: argparse.Namespace) -> int:
    # Reading books and statistics takes numpy and pydantic: only a report pays for them.
    from scripts.report_command import run

    return run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
