"""How a rehearsal judges an end of the bot that nobody asked for, and what it takes a recovery to be made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rehearsal_parts import Bot, Plan, Recovery, Sandbox
from benchmarks.rehearse import _quantile

CLOCK = "FAIL clock: +1.300 s against the exchange, limit 1 s -> synchronise"
FORMER = "FAIL disk: of an earlier start\n"


class ToldSandbox(Sandbox):
    """A sandbox whose clock is as far off as it is told."""

    def __init__(self, offset_ms: int) -> None:
        self.offset_ms = offset_ms

    def ask(self, path: str, wish: Any = None) -> dict[str, object]:
        assert path == "clock"
        self.offset_ms += wish["jump_ms"] if wish else 0
        return {"now_ms": 1, "offset_ms": self.offset_ms}


def an_ended_bot(folder: Path, code: int, said: str, offset_ms: int = 0) -> Bot:
    plan = Plan(folder, ("BTC/USDC",), "USDC", "synthetic", "harsh", 1, 1.0, 0.05)
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    bot = Bot(plan, folder / "bot.yaml", ToldSandbox(offset_ms), process, told=len(FORMER))
    bot.log.write_text(FORMER + said)
    return bot


def test_an_exchange_that_was_not_found_is_what_a_supervisor_is_for(tmp_path: Path) -> None:
    bot = an_ended_bot(tmp_path, 4, "sandbox: does not tell its time")
    assert (bot.note_end(), dict(bot.ends), bot.off_clock) == ("", {4: 1}, 0)


@pytest.mark.parametrize(
    ("said", "offset_ms", "is_excused"),
    [
        (CLOCK, 1300, True),
        (CLOCK, -1300, True),
        (CLOCK, 950, True),
        (CLOCK, 949, False),
        (CLOCK, 0, False),
        (f"{CLOCK}\nFAIL capital: 0", 1300, False),
        ("FAIL capital: 0", 1300, False),
        ("", 1300, False),
    ],
)
def test_a_refusal_for_the_clock_is_excused_by_a_clock_that_is_off_alone(
    tmp_path: Path, said: str, offset_ms: int, is_excused: bool
) -> None:
    bot = an_ended_bot(tmp_path, 3, said, offset_ms)
    assert ((bot.note_end() == ""), dict(bot.ends), bot.off_clock) == (is_excused, {3: 1}, int(is_excused))


def test_the_clock_is_set_right_after_the_third_start_it_forbade(tmp_path: Path) -> None:
    bot = an_ended_bot(tmp_path, 3, CLOCK, -1700)
    offsets = []
    for _ in range(3):
        assert bot.note_end() == ""
        offsets.append(bot.sandbox.ask("clock")["offset_ms"])
    assert (offsets, bot.off_clock) == ([-1700, -1700, 0], 3)


@pytest.mark.parametrize("code", [0, 1, 5, 70, 75])
def test_any_other_end_is_told_with_its_code_and_last_words(tmp_path: Path, code: int) -> None:
    bot = an_ended_bot(tmp_path, code, f"{CLOCK}\nlast words", 1300)
    assert bot.note_end() == f"the bot ended by itself with exit code {code}: last words"


def test_a_recovery_is_the_bots_own_but_for_bans_and_other_programs() -> None:
    assert Recovery(5.0, 2.0, 1.0, 0.7).own_s == 2.0
    assert Recovery(1.0, 2.0, 0.0, 0.7).own_s == 0.0
    assert Recovery(5.0, 2.0, 1.0, 0.7).told() == [5.0, 2.0, 1.0, 0.7, 2.0]


def test_the_wait_that_was_asked_for_is_read_from_what_was_said_before_the_recovery(tmp_path: Path) -> None:
    said = (
        "WARNING x the exchange asked to stay away, that is waited for wait_s=1.5\n"
        "WARNING x the exchange asks to stay away status=429 wait_s=2\n"
        "INFO x recovered positions=0\n"
        "WARNING x the exchange asks to stay away status=429 wait_s=40\n"
    )
    bot = an_ended_bot(tmp_path, 0, said)
    assert bot.wait_recovered()
    bot.note_end()
    (recovery,) = bot.recoveries
    assert (recovery.told_to_wait_s, recovery.seconds < 5) == (3.5, True)


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (51, 50), (100, 99), (101, 99), (200, 198)])
def test_ninety_nine_percent_is_the_greatest_of_up_to_a_hundred(count: int, expected: float) -> None:
    assert _quantile([float(number) for number in range(count)], 0.99) == expected
    assert _quantile([], 0.99) is None
