"""The end of a log file: bounded, in both forms, by level, whatever lies there."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bn_ml.settings import MonitoringSettings
from monitoring.log_tail import LONGEST_TEXT, MOST_LINES, at_least, parsed, read_tail
from monitoring.logger import add_log_file


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_the_bot_logs_is_read_back_newest_first(tmp_path: Path, form: str) -> None:
    settings = MonitoringSettings.model_validate({"logs_dir": tmp_path, "log_format": form})
    path = add_log_file(settings, secrets=("topsecret",), file_name="bnml.log")
    logger = logging.getLogger("trader.engine")
    logger.setLevel("INFO")
    logger.info("funnel scanned=%d", 7)
    logger.warning("key topsecret was refused")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logger.exception("cycle failed")
    error, warning, info = read_tail(path).lines
    assert (info.level, info.logger, info.text) == ("INFO", "trader.engine", "funnel scanned=7")
    assert info.at.endswith("Z")
    assert "topsecret" not in warning.text
    assert error.level == "ERROR"
    assert error.text.startswith("cycle failed\n")
    assert "ZeroDivisionError" in error.text


def test_levels_are_a_floor() -> None:
    text = "\n".join(f"2026-03-02T10:15:02Z {level} a.b it" for level in ("DEBUG", "INFO", "WARNING", "CRITICAL"))
    lines = parsed(text)
    assert [line.level for line in at_least(lines, "WARNING")] == ["WARNING", "CRITICAL"]
    assert len(at_least(lines, "LOUD")) == 4


def test_a_huge_log_is_read_from_its_end_only(tmp_path: Path) -> None:
    path = tmp_path / "bnml.log"
    path.write_text("".join(f"2026-03-02T10:15:02Z INFO a.b number {place}\n" for place in range(50_000)))
    tail = read_tail(path, most_bytes=10_000)
    assert tail.is_cut
    assert tail.size_bytes == path.stat().st_size
    assert tail.lines[0].text == "number 49999"
    assert sum(len(line.text) for line in tail.lines) < 10_000
    assert len(read_tail(path).lines) <= MOST_LINES


def test_a_log_that_is_absent_or_no_file_is_a_problem_without_a_path(tmp_path: Path) -> None:
    assert read_tail(tmp_path / "bnml.log").problem == "no log yet"
    folder = read_tail(tmp_path)
    assert folder.problem
    assert str(tmp_path) not in folder.problem


def test_lines_that_are_no_records_belong_to_the_record_before() -> None:
    (line,) = parsed("rest of a line\n2026-03-02T10:15:02Z ERROR a.b broke\n  File x\n{not json}\n\n")
    assert line.text == "broke\n  File x\n{not json}"


@pytest.mark.parametrize("odd", ["", "\n\n", '{"level": "LOUD"}', "[1]", "{}", "\ufffd\ufffd"])
def test_a_log_of_nothing_readable_has_no_records(odd: str) -> None:
    assert parsed(odd) == ()


def test_a_record_is_never_longer_than_it_can_be_shown() -> None:
    (line,) = parsed("2026-03-02T10:15:02Z ERROR a.b broke\n" + "x" * 100_000 + "\n" + "y" * 100_000)
    assert len(line.text) == LONGEST_TEXT


def test_bytes_that_are_no_text_do_not_stop_reading(tmp_path: Path) -> None:
    path = tmp_path / "bnml.log"
    path.write_bytes(b"2026-03-02T10:15:02Z INFO a.b \xff\xfe odd\n")
    assert "odd" in read_tail(path).lines[0].text
