"""The header of every page and the strips above it: is it alive, how does it stand, and what has to be known first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

from bn_ml.domain.account import ControlState
from bn_ml.domain.identity import BookIdentity
from bn_ml.processes import ProcessState, process_state
from bn_ml.settings import Settings
from bn_ml.state_reader import Summary
from monitoring.dashboard_state import BookState, Condition
from monitoring.plain_values import age_s, instant, mapping, number
from monitoring.wording import age

MOST_SILENT_S = 180.0
LEAST_SILENT_S = 30.0
STOPPED_AFTER_S = 10.0
AHEAD_S = 5.0
"""A beat this far in the future was made by the clock of an invented or replayed market."""

RESUME = 'bnml-kill-switch --resume --reason "why it is safe again"'


class Pulse(Enum):
    """Whether the bot works."""

    NEVER = "never started"
    ALIVE = "alive"
    SILENT = "silent"
    STOPPED = "stopped"


class Tone(Enum):
    """How loud a strip is."""

    INFO = "info"
    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Strip:
    """A line across the page, with a command to copy when there is one."""

    tone: Tone
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """The bot at a glance. Shares are fractions, ages seconds, amounts in `asset`; NaN is unknown."""

    mode: str
    control: str
    control_reason: str
    control_since: datetime | None
    set_by: str
    pulse: Pulse
    beat_at: datetime | None
    beat_age_s: float
    source: str
    data_age_s: float
    is_data_stale: bool
    equity: float
    day_change: float
    drawdown: float
    drawdown_limit: float
    exposure: float
    exposure_limit: float
    positions: int
    most_positions: int
    asset: str
    cycles: int
    market_now: datetime

    @property
    def is_grey(self) -> bool:
        """Whether the figures are those of a bot that does not work any more."""
        return self.pulse in (Pulse.SILENT, Pulse.STOPPED)

    @property
    def is_invented(self) -> bool:
        """Whether prices are made up."""
        return "synthetic" in self.source


@dataclass(frozen=True, slots=True)
class Beats:
    """What tells that the bot lives: when it was last heard of, of which process, and when its file was last written.

    Instants are of the bot's own clock except `written_at`.
    """

    beat_at: datetime | None
    cycle_at: datetime | None
    pid: int
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class Steps:
    """What has been reached on the way to the first decision, in order, and where the rest is told."""

    rows: tuple[tuple[str, bool, str], ...]

    @property
    def done(self) -> bool:
        """Whether nothing is missing any more."""
        return all(reached for _, reached, _ in self.rows)


def beats_of(heartbeat: object, loop_beat: object, written_at: datetime | None) -> Beats:
    """Gather the signs of life."""
    cycle_at, loop_at = instant(mapping(heartbeat).get("at")), instant(mapping(loop_beat).get("at"))
    known = [at for at in (cycle_at, loop_at) if at is not None]
    pid = number(mapping(loop_beat).get("pid"))
    return Beats(max(known, default=None), cycle_at, 0 if math.isnan(pid) else int(pid), written_at)


def header_of(summary: Summary, scan: object, beats: Beats, settings: Settings, now: datetime) -> Header:
    """Give the header as of `now`."""
    account = mapping(summary.account)
    source = _source(summary, scan)
    market_now = _market_now(source, beats, now)
    beat_age = _beat_age_s(source, beats, now)
    control = summary.control
    scan_age = age_s(mapping(scan).get("at"), market_now)
    return Header(
        mode=mode_word(summary.identity, source),
        control=control.state.value,
        control_reason=control.reason,
        control_since=control.since,
        set_by=control.set_by,
        pulse=_pulse(beats, beat_age, settings),
        beat_at=beats.beat_at,
        beat_age_s=beat_age,
        source=source,
        data_age_s=scan_age,
        is_data_stale=scan_age > settings.monitoring.dashboard.scan_stale_sec,
        equity=number(account.get("equity")),
        day_change=number(account.get("daily_pnl_pct")),
        drawdown=number(account.get("drawdown_pct")),
        drawdown_limit=settings.risk.max_drawdown_pct,
        exposure=number(account.get("exposure_pct")),
        exposure_limit=settings.risk.max_exposure_pct,
        positions=summary.open_positions,
        most_positions=settings.risk.max_open_positions,
        asset=str(account.get("exchange_quote_asset") or settings.base_quote),
        cycles=summary.cycles,
        market_now=market_now,
    )


def mode_word(identity: BookIdentity | None, source: str) -> str:
    """Give the one word that says what kind of money this is."""
    if identity is None:
        return "NEW"
    if source == "replay":
        return "REPLAY"
    account = f"{identity.mode} {identity.account} {source}".lower()
    if "testnet" in account or "sandbox" in account:
        return "TESTNET"
    return identity.mode.upper()


def strips_of(header: Header) -> tuple[Strip, ...]:
    """Give what has to be known before any figure, most important first."""
    found: list[Strip] = []
    if header.control != ControlState.NORMAL.value:
        tone = Tone.ALARM if header.control == ControlState.HALTED.value else Tone.WARNING
        since = f" since {header.control_since:%Y-%m-%d %H:%M:%S} UTC" if header.control_since else ""
        text = f"{header.control}{since}, set by {header.set_by}: {header.control_reason or 'no reason given'}"
        found.append(Strip(tone, text, RESUME))
    if header.is_invented:
        text = "MARKET DATA IS SYNTHETIC. Prices are invented; results say nothing about real markets."
        found.append(Strip(Tone.ALARM, text))
    if header.mode == "REPLAY":
        text = f"REPLAY of stored bars, at {header.market_now:%Y-%m-%d %H:%M} UTC of the market's time."
        found.append(Strip(Tone.ALARM, text))
    silence = _silence(header)
    if silence is not None:
        found.append(silence)
    elif header.is_data_stale:
        text = f"The newest scan is {age(header.data_age_s)} old; what follows from it is as old."
        found.append(Strip(Tone.WARNING, text, "bnml-doctor check"))
    return tuple(found)


def strip_of_condition(condition: Condition) -> Strip | None:
    """Say what is wrong with the book, None when it can be read."""
    if condition.state is BookState.READABLE:
        return None
    calm = condition.state in (BookState.MISSING, BookState.LOCKED)
    return Strip(Tone.WARNING if calm else Tone.ALARM, condition.problem, condition.command)


def first_steps(summary: Summary | None, scan: object, training: object) -> Steps:
    """Tell how far a new bot has come: started, data, models, first decision."""
    rows = [mapping(row) for row in _rows(scan)]
    status = mapping(training)
    usable = [row for row in rows if row.get("reason") not in ("data_unavailable", "data_stale", "data_gap")]
    with_bundle = [row for row in usable if row.get("bundle_version") is not None]
    started = summary is not None and summary.identity is not None
    return Steps(
        (
            ("Start the bot", started, "running" if started else "bnml-bot --paper (or `make paper`)"),
            (
                "Market data",
                bool(usable),
                f"{len(usable)} of {len(rows)} symbols" if rows else "comes with the first scan",
            ),
            ("Models", bool(with_bundle), _training_words(status, len(with_bundle), len(rows))),
            ("First decision", bool(rows), "see the funnel" if rows else "at the end of the first cycle"),
        )
    )


def newest_write(path: Path) -> float:
    """Give when a database or its log was last written, in seconds since 1970; 0 when neither can be seen."""
    return max((_modified(Path(f"{path}{ending}")) for ending in ("", "-wal")), default=0.0)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _rows(scan: object) -> Sequence[object]:
    rows = mapping(scan).get("rows")
    return rows if isinstance(rows, list) else ()


def _training_words(status: Mapping[str, object], ready: int, symbols: int) -> str:
    if status.get("status") in (None, "idle"):
        return f"{ready} of {symbols} symbols have a bundle" if symbols else "trained in the background"
    left = number(status.get("eta_s"))
    eta = f", about {age(left)} left" if left > 0 else ""
    progress = number(status.get("progress_pct"))
    share = "" if math.isnan(progress) else f" {progress:.0f} %"
    return f"training {status.get('current_symbol') or ''}{share}{eta}"


def _source(summary: Summary, scan: object) -> str:
    last = summary.last_cycle
    named = last.data.get("data_source") if last else mapping(scan).get("data_source")
    return str(named or "")


def _is_own_time(source: str, beats: Beats, now: datetime) -> bool:
    ahead = beats.beat_at is not None and beats.beat_at > now + timedelta(seconds=AHEAD_S)
    return ahead or source == "replay" or "synthetic" in source


def _market_now(source: str, beats: Beats, now: datetime) -> datetime:
    if beats.beat_at is not None and _is_own_time(source, beats, now):
        return beats.beat_at
    return now


def _beat_age_s(source: str, beats: Beats, now: datetime) -> float:
    """Give how long nothing was heard; by the file where the bot's clock is not the wall's."""
    if beats.beat_at is None:
        return math.nan
    own = _is_own_time(source, beats, now)
    return age_s(beats.written_at if own else beats.beat_at, now)


def _pulse(beats: Beats, beat_age_s: float, settings: Settings) -> Pulse:
    if beats.beat_at is None:
        return Pulse.NEVER
    if beats.pid and beat_age_s > STOPPED_AFTER_S and process_state(beats.pid) is ProcessState.GONE:
        return Pulse.STOPPED
    limit = min(max(2.0 * settings.scanner.scan_interval_sec, LEAST_SILENT_S), MOST_SILENT_S)
    return Pulse.SILENT if beat_age_s > limit else Pulse.ALIVE


def _silence(header: Header) -> Strip | None:
    if header.pulse is Pulse.NEVER:
        return Strip(Tone.INFO, "The bot has not run its first cycle yet.", "bnml-bot --paper")
    if not header.is_grey or header.beat_at is None:
        return None
    since = f"{header.beat_at:%Y-%m-%d %H:%M:%S} UTC ({age(header.beat_age_s)})"
    if header.pulse is Pulse.STOPPED:
        return Strip(Tone.WARNING, f"Bot stopped, last heard at {since}. Figures are from then.", "bnml-bot")
    return Strip(Tone.WARNING, f"Bot silent since {since}. Figures are from then.", "bnml-doctor check")
