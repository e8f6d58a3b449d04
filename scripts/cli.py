"""What every command shares: common flags, exit codes, and errors told in one line instead of a traceback.

Only the standard library is imported here, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

DONE, FAILED, USAGE, PREFLIGHT, UNREACHABLE, TRADING_HALTED = 0, 1, 2, 3, 4, 5
STALLED, LOCKED, INTERRUPTED = 70, 75, 130

log = logging.getLogger("bnml")

Command = Callable[[argparse.Namespace], int]


def parser(name: str, purpose: str) -> argparse.ArgumentParser:
    """Give a parser with the flags every command has."""
    made = argparse.ArgumentParser(prog=name, description=purpose)
    made.add_argument("--version", action=_Version)
    made.add_argument("--config", type=Path, metavar="PATH", help="configuration file (default configs/bot.yaml)")
    made.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    made.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), help="how much is logged")
    return made


def run(command: Command, made: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse, run the command and turn what it raises into an exit code and one clear message."""
    arguments = made.parse_args(argv)
    try:
        return command(arguments)
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    except ModuleNotFoundError as error:
        return complain(f"package {error.name} is missing; install with: pip install -e .", FAILED)
    except Exception as error:
        return _explain(error, debug=arguments.log_level == "DEBUG")


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let imports pass without garbage collections: they make many objects and hardly any garbage."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def complain(message: str, code: int) -> int:
    """Say what is wrong on stderr and give the exit code back."""
    print(message, file=sys.stderr)
    return code


def show(result: Mapping[str, object], *, as_json: bool, text: str) -> None:
    """Print a result on stdout, as JSON or as text."""
    print(json.dumps(result, default=str, sort_keys=True) if as_json else text)


def _explain(error: Exception, *, debug: bool) -> int:
    from bn_ml.errors import BnMlError, ConfigError, LockHeld, Transient

    error_id = f"{zlib.crc32(repr(error).encode()):08x}"
    if debug:
        log.exception("error id=%s", error_id)
    else:
        log.debug("error id=%s", error_id, exc_info=error)
    if isinstance(error, ConfigError):
        return complain("configuration refused:\n  " + "\n  ".join(error.problems), USAGE)
    if isinstance(error, LockHeld):
        return complain(str(error), LOCKED)
    if isinstance(error, Transient):
        return complain(str(error), UNREACHABLE)
    if isinstance(error, BnMlError | OSError):
        return complain(str(error), FAILED)
    return complain(f"unexpected error {error_id}: {type(error).__name__}: {error} (see the log)", FAILED)


class _Version(argparse.Action):
    """Prints the installed version; reads it only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, made: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = version("bn-ml-trading-bot")
        except PackageNotFoundError:
            text = "unknown (not installed; pip install -e .)"
        print(f"{made.prog} {text}")
        made.exit(0)
