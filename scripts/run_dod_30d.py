"""`bnml-dod-30d`: run the supervised paper campaign."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import cli
from scripts.check_dod_daily import DAILY_DIR
from scripts.generate_dod_report import SUMMARY, SUMMARY_JSON, number_of_days


def main(argv: Sequence[str] | None = None) -> int:
    """Run the paper bot for days, checked each day; gives 0, or 1 with --strict after a violation."""
    made = cli.parser(
        "bnml-dod-30d",
        "Run the paper bot on live prices for days, restart it when it dies, check every day at 00:00 UTC and sum up "
        "at the end or at a stop. Started again, it goes on with the same campaign.",
    )
    made.add_argument("--days", type=number_of_days, default=30, metavar="N", help="full UTC days (default 30)")
    made.add_argument("--disable-retrain", action="store_true", help="train nothing in the background")
    made.add_argument("--daily-out-dir", type=Path, default=DAILY_DIR, metavar="DIR", help=f"default {DAILY_DIR}")
    made.add_argument("--summary-out", type=Path, default=SUMMARY, metavar="PATH", help=f"default {SUMMARY}")
    made.add_argument("--summary-json", type=Path, default=SUMMARY_JSON, metavar="PATH", help=f"default {SUMMARY_JSON}")
    made.add_argument("--strict", action="store_true", help="end at the first violation, exit 1")
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    from scripts.dod_campaign_command import run_campaign

    return run_campaign(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
