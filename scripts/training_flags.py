"""The flags both trainers share, read without loading anything heavy."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from scripts import cli

MODES = ("live", "synthetic", "replay", "auto")


def parser(name: str, purpose: str) -> argparse.ArgumentParser:
    """Give the flags of a trainer."""
    made = cli.parser(name, purpose)
    made.add_argument("--symbol", action="append", metavar="S", help="train this symbol (repeatable)")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--train-missing-only", action="store_true", help="only symbols without a bundle young enough")
    which.add_argument("--train-all", action="store_true", help="every configured symbol")
    made.add_argument("--max-model-age-hours", type=_positive, metavar="H", help="an older bundle is trained again")
    made.add_argument("--models-dir", type=Path, metavar="DIR", help="folder of the bundles")
    made.add_argument("--no-hpo", action="store_true", help="configured parameters, nothing is searched")
    made.add_argument("--paper", action="store_true", help="accepted, no effect: training needs no account")
    made.add_argument("--jobs", type=_whole, metavar="N", help="symbols trained at once (default: cores less one)")
    made.add_argument("--until", type=_instant, metavar="DATE", help="use nothing known after this instant (UTC)")
    made.add_argument("--quick", action="store_true", help="a smaller ensemble, for a first start")
    made.add_argument("--market-data", choices=MODES, help="where bars come from (default: configured)")
    made.add_argument(
        "--no-challenge", action="store_true", help="replace a bundle without comparing it with the new one"
    )
    made.add_argument("--progress-json", action="store_true", help="one JSON line per step on stdout, nothing else")
    made.add_argument("--nice", type=int, default=0, help=argparse.SUPPRESS)
    made.add_argument("--started-by", default=None, help=argparse.SUPPRESS)
    return made


def _instant(text: str) -> datetime:
    from bn_ml.domain.market import from_iso

    try:
        return from_iso(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not a date like 2023-06-01: {text!r}") from error


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _whole(text: str) -> int:
    if not (text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)
