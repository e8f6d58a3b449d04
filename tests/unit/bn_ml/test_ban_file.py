"""A ban outlives the process, in the machine's time, and never for longer than a venue bans."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bn_ml.ban_file import Ban, BanFile, TranslatedBans
from bn_ml.clock import SimulatedClock
from bn_ml.domain.market import from_ms, iso
from bn_ml.errors import StateError
from bn_ml.weight import LONGEST_BAN

NOW = from_ms(1_700_000_000_000)
HOUR = timedelta(hours=1)


def at(instant_ms: int) -> SimulatedClock:
    return SimulatedClock(NOW + timedelta(milliseconds=instant_ms))


def test_a_ban_is_kept_for_its_owner_alone_and_read_back(tmp_path: Path) -> None:
    file = BanFile(tmp_path / "state" / "ban.txt")
    assert file.recall() is None
    ban = Ban(NOW + HOUR, NOW)
    file.remember(ban)
    assert file.recall() == ban
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["ban.txt"]
    assert (tmp_path / "state" / "ban.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"soon", b"2023-13-01T00:00:00Z", b"\xff\xfe", b"2023-06-01"])
def test_a_file_that_cannot_be_read_is_no_ban(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ban.txt").write_bytes(content)
    assert TranslatedBans(BanFile(tmp_path / "ban.txt"), at(0), at(0)).recall() is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        BanFile(tmp_path / "occupied" / "ban.txt").remember(Ban(NOW, NOW))


@pytest.mark.parametrize(
    ("ends_in", "holds"),
    [
        (timedelta(milliseconds=-1), False),
        (timedelta(0), False),
        (timedelta(milliseconds=1), True),
        (LONGEST_BAN, True),
        (LONGEST_BAN + timedelta(milliseconds=1), False),
    ],
)
def test_a_ban_holds_until_its_end_and_at_most_three_days(tmp_path: Path, ends_in: timedelta, holds: bool) -> None:
    file = BanFile(tmp_path / "ban.txt")
    file.remember(Ban(NOW + ends_in, NOW))
    bans = TranslatedBans(file, at(0), at(0))
    assert bans.ends_at == (NOW + ends_in if holds else None)
    assert bans.recall() == bans.ends_at


def test_the_file_tells_the_time_of_the_machine_and_answers_in_that_of_the_venue(tmp_path: Path) -> None:
    path = tmp_path / "ban.txt"
    ahead = SimulatedClock(NOW + HOUR)
    TranslatedBans(BanFile(path), at(0), ahead, speed=12).remember(NOW + HOUR + timedelta(seconds=120))
    assert path.read_text() == f"{iso(NOW + timedelta(seconds=10))} {iso(NOW)}"
    restarted = TranslatedBans(BanFile(path), at(4000), at(4000), speed=12)
    assert restarted.ends_at == NOW + timedelta(seconds=10)
    assert restarted.recall() == NOW + timedelta(seconds=4 + 6 * 12)


def test_a_clock_that_was_set_back_waits_for_the_whole_ban_once_and_no_longer(tmp_path: Path) -> None:
    file, machine = BanFile(tmp_path / "ban.txt"), at(0)
    TranslatedBans(file, machine, machine).remember(NOW + timedelta(seconds=30))
    behind = SimulatedClock(NOW - HOUR)
    bans = TranslatedBans(file, behind, behind)
    assert bans.ends_at == NOW - HOUR + timedelta(seconds=30)
    behind.sleep_until(NOW - HOUR + timedelta(seconds=20))
    assert bans.recall() == NOW - HOUR + timedelta(seconds=30)
    behind.sleep_until(NOW - HOUR + timedelta(seconds=30))
    assert bans.recall() is None


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, int(LONGEST_BAN.total_seconds()) * 1000), st.integers(-(10**9), 10**9), st.sampled_from([1.0, 12.0])
)
def test_what_was_remembered_is_recalled_by_the_same_clocks(
    tmp_path: Path, length_ms: int, offset_ms: int, speed: float
) -> None:
    bans = TranslatedBans(BanFile(tmp_path / "ban.txt"), at(0), at(offset_ms), speed=speed)
    until = NOW + timedelta(milliseconds=offset_ms + length_ms)
    bans.remember(until)
    recalled = bans.recall()
    if length_ms > speed:
        assert recalled is not None
        assert abs(recalled - until) <= timedelta(milliseconds=2 * speed)
