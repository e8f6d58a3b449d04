"""Whatever a command raises becomes an exit code and a clear line, never a traceback."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping

import pytest

from bn_ml.errors import BnMlError, ConfigError, LockHeld, MarketDataError, StateError, Transient
from scripts import cli


def raising(error: BaseException) -> cli.Command:
    def command(arguments: argparse.Namespace) -> int:
        raise error

    return command


def outcome(error: BaseException, *argv: str) -> int:
    return cli.run(raising(error), cli.parser("bnml-test", "Tests."), argv)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(["risk.fees_pct: too high", "unknown key x"]), cli.USAGE),
        (LockHeld("held by process 7"), cli.LOCKED),
        (Transient("the exchange is away"), cli.UNREACHABLE),
        (StateError("the book is torn"), cli.FAILED),
        (MarketDataError("AAA/USDC: no bars"), cli.FAILED),
        (BnMlError("something"), cli.FAILED),
        (OSError(28, "No space left on device"), cli.FAILED),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), cli.FAILED),
        (ZeroDivisionError("division by zero"), cli.FAILED),
        (KeyboardInterrupt(), cli.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_an_error_gives_its_exit_code_and_no_traceback(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(error) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip()
    assert "Traceback" not in said.err


def test_every_problem_of_a_configuration_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    outcome(ConfigError(["risk.fees_pct: too high", "unknown key x"]))
    assert capsys.readouterr().err == "configuration refused:\n  risk.fees_pct: too high\n  unknown key x\n"


def test_a_missing_package_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    outcome(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert "torch" in (said := capsys.readouterr().err)
    assert "pip install" in said


def test_an_unexpected_error_has_an_id_by_which_the_log_shows_its_traceback(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "bnml"):
        outcome(ZeroDivisionError("division by zero"))
    error_id = capsys.readouterr().err.split()[2].rstrip(":")
    (record,) = caplog.records
    assert len(error_id) == 8
    assert error_id in record.getMessage()
    assert record.exc_info


def test_the_same_error_has_the_same_id(capsys: pytest.CaptureFixture[str]) -> None:
    outcome(ZeroDivisionError("a"))
    outcome(ZeroDivisionError("a"))
    outcome(ZeroDivisionError("b"))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == second != third


def test_debugging_logs_the_traceback_where_everybody_sees_it(caplog: pytest.LogCaptureFixture) -> None:
    assert outcome(ZeroDivisionError("x"), "--log-level", "DEBUG") == cli.FAILED
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_command_gets_its_arguments_and_gives_its_code() -> None:
    seen: list[argparse.Namespace] = []

    def command(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return cli.TRADING_HALTED

    assert cli.run(command, cli.parser("bnml-test", "Tests."), ["--json", "--config", "x.yaml"]) == cli.TRADING_HALTED
    assert seen[0].json
    assert str(seen[0].config) == "x.yaml"


@pytest.mark.parametrize("argv", [["--nonsense"], ["--log-level", "LOUD"]])
def test_wrong_arguments_end_with_the_usage_code(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(raising(AssertionError()), cli.parser("bnml-test", "Tests."), argv)
    assert ended.value.code == cli.USAGE
    assert "usage: bnml-test" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_end_with_0(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(raising(AssertionError()), cli.parser("bnml-test", "Tests."), [flag])
    assert not ended.value.code
    assert capsys.readouterr().out.startswith(("usage: bnml-test", "bnml-test "))


@pytest.mark.parametrize("figures", [{"b": 1, "a": [None, True]}, {}])
def test_json_goes_to_stdout_as_one_object(figures: Mapping[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    cli.show(figures, as_json=True, text="for people")
    said = capsys.readouterr()
    assert json.loads(said.out) == figures
    assert said.err == ""
    cli.show(figures, as_json=False, text="for people")
    assert capsys.readouterr().out == "for people\n"
