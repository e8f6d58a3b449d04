"""`bnml-dod-report`: sum up the daily checks and show what is left to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli
from scripts.check_dod_daily import DAILY_DIR

SUMMARY = Path("artifacts/reports/dod/dod_v1_summary.md")
SUMMARY_JSON = SUMMARY.with_suffix(".json")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the summary and print it as Markdown; gives the exit code."""
    made = cli.parser("bnml-dod-report", "sum up the daily checks, with the checklist of a finished paper run")
    made.add_argument("--db-path", type=Path, metavar="PATH", help="the book (default storage.sqlite_path)")
    made.add_argument("--days", type=number_of_days, default=30, metavar="N", help="length of the run (default 30)")
    made.add_argument("--daily-dir", type=Path, default=DAILY_DIR, metavar="DIR", help=f"reports (default {DAILY_DIR})")
    made.add_argument("--out-md", type=Path, default=SUMMARY, metavar="PATH", help=f"default {SUMMARY}")
    made.add_argument("--out-json", type=Path, default=SUMMARY_JSON, metavar="PATH", help=f"default {SUMMARY_JSON}")
    return cli.run(_run, made, argv)


def number_of_days(text: str) -> int:
    """Read a number of days, 1 to 3650."""
    days = int(text)
    if not 1 <= days <= 3650:
        raise argparse.ArgumentTypeError(f"must be 1 to 3650 days, got {days}")
    return days


def _run(arguments: argparse.Namespace) -> int:
    from scripts.dod_report import Places, report

    places = Places(arguments.daily_dir, arguments.out_md, arguments.out_json)
    return report(arguments, places)


if __name__ == "__main__":
    raise SystemExit(main())
