"""Logs are rotated, in UTC, free of secrets, and go somewhere even when their folder cannot be written."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bn_ml.redaction import Redactor
from bn_ml.settings import MonitoringSettings
from monitoring.logger import JsonLines, SteadyFile, add_log_file, configure_logging

SECRET = "s3cr3t/with+signs"
log = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    """Hand the root logger over without handlers and put everything back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def fail_with(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as error:
        raise RuntimeError("while sending") from error


def test_a_line_names_time_in_utc_level_logger_and_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = configure_logging(MonitoringSettings(logs_dir=tmp_path), "INFO")
    log.info("bought symbol=%s", "BTC/USDC")
    log.debug("not shown")
    (line,) = lines(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO tests\.logs bought symbol=BTC/USDC", line)


def test_the_time_is_utc_whatever_the_machine_says() -> None:
    record = logging.makeLogRecord({"msg": "x", "created": 1_700_000_000.0})
    assert json.loads(JsonLines().format(record))["ts"] == "2023-11-14T22:13:20Z"


def test_json_lines_hold_one_object_each(tmp_path: Path) -> None:
    path = configure_logging(MonitoringSettings(logs_dir=tmp_path, log_format="json"), "INFO")
    log.warning("two\nlines with “quotes”")
    (line,) = lines(path)
    told = json.loads(line)
    assert {name: told[name] for name in ("level", "logger", "message")} == {
        "level": "WARNING",
        "logger": "tests.logs",
        "message": "two\nlines with “quotes”",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_secret_is_written_nowhere(log_format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = MonitoringSettings.model_validate({"logs_dir": str(tmp_path), "log_format": log_format})
    path = configure_logging(settings, "INFO", secrets=[SECRET])
    log.info("key is %s", SECRET)
    log.info("encoded s3cr3t%2Fwith%2Bsigns")
    try:
        fail_with(f"refused {SECRET}")
    except RuntimeError:
        log.exception("sending failed with %s", SECRET)
    written = path.read_text(encoding="utf-8") + capsys.readouterr().err
    assert "s3cr3t" not in written
    assert "***" in written


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_cleaned_exception_keeps_its_traceback(log_format: str, tmp_path: Path) -> None:
    settings = MonitoringSettings.model_validate({"logs_dir": str(tmp_path), "log_format": log_format})
    path = configure_logging(settings, "INFO", secrets=[SECRET])
    try:
        fail_with(f"refused {SECRET}")
    except RuntimeError:
        log.exception("sending failed")
    written = path.read_text(encoding="utf-8")
    told = json.loads(written)["traceback"] if log_format == "json" else written
    assert "ValueError: refused ***" in told
    assert "RuntimeError: while sending" in told
    assert "in fail_with" in told


def test_an_exception_formatted_without_a_filter_has_its_traceback_too() -> None:
    try:
        fail_with("x")
    except RuntimeError as error:
        record = logging.makeLogRecord({"msg": "m", "exc_info": (type(error), error, error.__traceback__)})
    assert "RuntimeError: while sending" in json.loads(JsonLines().format(record))["traceback"]


def test_files_are_rotated_at_their_size_and_old_ones_go(tmp_path: Path) -> None:
    settings = MonitoringSettings(logs_dir=tmp_path, log_max_mb=1, log_backups=2)
    path = configure_logging(settings, "INFO")
    for _ in range(45):
        log.info("x" * 100_000)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bnml.log", "bnml.log.1", "bnml.log.2"]
    assert all(item.stat().st_size <= 1_000_000 for item in tmp_path.iterdir())
    assert path == tmp_path / "bnml.log"


def test_an_unusable_folder_is_replaced_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BNML_FALLBACK_LOGS_DIR", str(tmp_path / "fallback"))
    path = configure_logging(MonitoringSettings(logs_dir=tmp_path / "file" / "logs"), "INFO")
    assert path == tmp_path / "fallback" / "bnml.log"
    assert "WARNING monitoring.logger log folder unusable" in lines(path)[0]


def test_logs_go_to_a_folder_of_their_own_when_the_fallback_is_unusable_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BNML_FALLBACK_LOGS_DIR", str(tmp_path / "file" / "fallback"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = configure_logging(MonitoringSettings(logs_dir=tmp_path / "file" / "logs"), "INFO")
    assert path.parent.name.startswith("bn_ml_logs_")
    assert "unusable" in path.read_text(encoding="utf-8")


def test_one_word_of_a_million_letters_is_cleaned_at_once() -> None:
    word = "x" * 1_000_000
    assert Redactor([SECRET]).clean(f"{word} https://user:pw@host {word}") == f"{word} https://user:***@host {word}"


def test_configuring_twice_writes_every_line_once(tmp_path: Path) -> None:
    for _ in range(2):
        path = configure_logging(MonitoringSettings(logs_dir=tmp_path), "INFO")
    log.info("once")
    assert len(lines(path)) == 1


def test_http_libraries_stay_quiet(tmp_path: Path) -> None:
    path = configure_logging(MonitoringSettings(logs_dir=tmp_path), "DEBUG")
    logging.getLogger("urllib3.connectionpool").info("GET /api?signature=abc")
    assert not any("urllib3" in line for line in lines(path))


def test_a_full_disk_costs_lines_is_told_once_and_raised_to_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bnml.log").symlink_to("/dev/full")
    configure_logging(MonitoringSettings(logs_dir=tmp_path), "INFO", secrets=[SECRET])
    for number in range(20):
        log.info("line %s of %s", number, SECRET)
    said = capsys.readouterr().err
    assert said.count("the log file bnml.log cannot be written: No space left on device") == 1
    assert said.count("INFO tests.logs line") == 20
    assert "Traceback" not in said
    assert "s3cr3t" not in said


def test_a_disk_with_room_again_is_written_to_and_a_new_trouble_is_told_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configure_logging(MonitoringSettings(logs_dir=tmp_path), "INFO")
    (handler,) = (item for item in logging.getLogger().handlers if isinstance(item, SteadyFile))
    good = handler.stream
    for _ in range(2):
        handler.stream = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115 - the handler closes it
        log.info("lost")
        with suppress(OSError):
            handler.stream.close()
        handler.stream = good
        log.info("kept")
    assert [line.rpartition(" ")[2] for line in lines(path)] == ["kept", "kept"]
    assert capsys.readouterr().err.count("cannot be written") == 2


def test_a_further_file_takes_the_place_of_an_earlier_one_and_holds_no_secret(tmp_path: Path) -> None:
    settings = MonitoringSettings(logs_dir=tmp_path)
    for name in ("one.log", "trainer.log"):
        path = add_log_file(settings, secrets=[SECRET], file_name=name)
    log.warning("trained with %s", SECRET)
    (line,) = lines(path)
    assert line.endswith("WARNING tests.logs trained with ***")
    assert lines(tmp_path / "one.log") == []
