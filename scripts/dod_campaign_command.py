"""The road from the flags of `bnml-dod-30d` to a campaign, its daily reports and its summary."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType

from bn_ml.clock import SystemClock
from bn_ml.config import load_settings
from bn_ml.control import ProcessLock
from bn_ml.domain.market import iso
from bn_ml.env import Secrets, load_env
from monitoring.dod import check_day
from monitoring.dod_files import write_day
from monitoring.dod_summary import DAY, Item, Shown, Summary, summarised
from monitoring.logger import configure_logging
from scripts import cli
from scripts.dod_campaign import Campaign, CampaignState, Outcome, Rules, resumed
from scripts.dod_checklist import Surroundings, measured
from scripts.dod_child import BotProcess, bot_command
from scripts.dod_report import Places, days_known, finish

log = logging.getLogger(__name__)

STATE_FILE = "dod_campaign.json"
LOG_FILE = "campaign.log"
_CODES = {
    Outcome.FINISHED: cli.DONE,
    Outcome.STOPPED: cli.DONE,
    Outcome.VIOLATED: cli.FAILED,
    Outcome.CANNOT_RUN: cli.USAGE,
}


def run_campaign(arguments: argparse.Namespace) -> int:
    """Run or go on with a campaign; gives the exit code. Raises `LockHeld` when one runs already."""
    environ = load_env(Path.cwd())
    settings = load_settings(arguments.config, environ=environ, overrides={"environment": "paper"}).settings
    secrets = Secrets.from_environ(environ)
    level = arguments.log_level or settings.log_level
    configure_logging(settings.monitoring, level, secrets=secrets.hidden(), file_name=LOG_FILE)
    book, stop = Path(settings.storage.sqlite_path).absolute(), threading.Event()
    file, clock = book.with_name(STATE_FILE), SystemClock(stop)
    around = Surroundings(settings, secrets, book, Path.cwd())
    shown: dict[Item, Shown] = {}
    bot = BotProcess(bot_command(_flags(arguments)), clock)
    with ProcessLock(file).acquire(clock.now()), told_to_stop(stop, bot.end_at_once):
        state = resumed(file, book=str(book), days=arguments.days, now=clock.now())
        print(_opening(state, book), file=sys.stderr)
        rules = Rules(
            check=lambda day, now: check_day(book, day, settings, now=now),
            keep=partial(write_day, folder=arguments.daily_out_dir),
            strict=arguments.strict,
            # The dashboard ends with the bot, so it is looked at before.
            at_end=lambda: shown.update(measured(around)),
        )
        campaign = Campaign(file, state, bot, rules=rules, clock=clock)
        outcome = campaign.run(stop.is_set)
        places = Places(arguments.daily_out_dir, arguments.summary_out, arguments.summary_json)
        finish(_summary(campaign.state, around, places, shown, clock.now()), places, as_json=arguments.json)
    log.info("campaign %s days_checked=%s", outcome.value, len(campaign.state.checked))
    return _CODES[outcome]


@contextmanager
def told_to_stop(stop: threading.Event, at_once: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks for an orderly end; a second one ends bot and process at once (130)."""

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            at_once()
            os._exit(cli.INTERRUPTED)
        print(f"ending the bot, then summing up (signal {number}); again to stop at once", file=sys.stderr)
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(
    state: CampaignState, around: Surroundings, places: Places, shown: Mapping[Item, Shown], now: datetime
) -> Summary:
    """Sum up the days of the campaign that are over."""
    first = state.first_day
    results, unreadable = days_known(around.book, places.daily, around.settings, now=now, since=first)
    for line in unreadable:
        log.warning(line)
    last = min(state.last_day, max(first, now.date() - DAY))
    return summarised(results, (first, last), state.days, shown=shown, now=now)


def _flags(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Give what the bot is told of our own flags."""
    return (
        *(("--config", str(arguments.config)) if arguments.config else ()),
        *(("--log-level", arguments.log_level) if arguments.log_level else ()),
        *(("--disable-retrain",) if arguments.disable_retrain else ()),
    )


def _opening(state: CampaignState, book: Path) -> str:
    """Say which days there are and how many are checked."""
    goes_on = f"goes on, {len(state.checked)} days checked" if state.checked else f"began {iso(state.started_at)}"
    return (
        f"paper campaign of {state.days} days {goes_on}: {state.first_day.isoformat()} to {state.last_day.isoformat()} "
        f"UTC, book {book}. Ctrl-C sums up; started again it goes on."
    )
