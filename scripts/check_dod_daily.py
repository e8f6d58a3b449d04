"""`bnml-dod-check`: check one day of trading against the rules."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from scripts import cli

DAILY_DIR = Path("artifacts/reports/dod/daily")


def main(argv: Sequence[str] | None = None) -> int:
    """Check a day and write its report; gives 0, or 1 with --fail-on-violation unless the day is a PASS."""
    made = cli.parser("bnml-dod-check", "check one day of trading against the rules")
    made.add_argument("--db-path", type=Path, metavar="PATH", help="the book (default storage.sqlite_path)")
    made.add_argument("--date", type=_date, metavar="YYYY-MM-DD", help="UTC day to check (default today)")
    made.add_argument("--out-dir", type=Path, default=DAILY_DIR, metavar="DIR", help=f"folder (default {DAILY_DIR})")
    made.add_argument("--fail-on-violation", action="store_true", help="exit 1 on FAIL and on INCOMPLETE")
    return cli.run(_run, made, argv)


def _run(arguments: argparse.Namespace) -> int:
    from bn_ml.clock import SystemClock
    from bn_ml.config import load_settings
    from bn_ml.env import load_env
    from monitoring.dod import Status, check_day
    from monitoring.dod_files import write_day
    from monitoring.dod_text import day_words

    settings = load_settings(arguments.config, environ=load_env(Path.cwd())).settings
    now = SystemClock().now()
    book = arguments.db_path or Path(settings.storage.sqlite_path)
    report = check_day(book, arguments.date or now.date(), settings, now=now)
    plain, text = write_day(report, arguments.out_dir)
    absent = "" if book.exists() else f"\n{book}: no book yet; start the bot (bnml-bot) or give --db-path"
    words = f"{day_words(report)}{absent}\nwritten: {plain} and {text}"
    cli.show(report.as_dict(), as_json=arguments.json, text=words)
    bad = arguments.fail_on_violation and report.status is not Status.PASS
    return cli.FAILED if bad else cli.DONE


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"give a day such as 2026-01-31, got {text}") from None


if __name__ == "__main__":
    raise SystemExit(main())
