"""Exceptions that nobody caught are kept, counted, told, and hold no secret."""

from __future__ import annotations

import gc
import logging
import sys
import threading

import pytest

from bn_ml.redaction import Redactor
from monitoring.thread_troubles import KEPT, ThreadTroubles, Trouble

SECRET = "s3cr3t-value"


@pytest.fixture
def troubles() -> ThreadTroubles:
    return ThreadTroubles(Redactor([SECRET]).clean)


def die(name: str, error: BaseException) -> None:
    def main() -> None:
        raise error

    thread = threading.Thread(target=main, name=name)
    thread.start()
    thread.join()


def test_a_thread_that_dies_is_named_with_its_error_and_told(troubles: ThreadTroubles) -> None:
    told: list[Trouble] = []
    troubles.tell(told.append)
    with troubles.heard():
        die("backups", ValueError("no room"))
    assert (troubles.count, troubles.last, told) == (
        1,
        (Trouble("backups", "ValueError: no room"),),
        list(troubles.last),
    )


def test_no_secret_is_kept(troubles: ThreadTroubles) -> None:
    with troubles.heard():
        die(f"thread of {SECRET}", ValueError(f"key {SECRET} refused"))
    (kept,) = troubles.last
    assert SECRET not in kept.where + kept.error


def test_it_is_logged_with_its_traceback(troubles: ThreadTroubles, caplog: pytest.LogCaptureFixture) -> None:
    with troubles.heard(), caplog.at_level(logging.ERROR):
        die("prices", ValueError("no room"))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "prices" in record.getMessage()


def test_a_thread_that_ends_itself_on_purpose_is_no_trouble(troubles: ThreadTroubles) -> None:
    with troubles.heard():
        die("prices", SystemExit(0))
    assert troubles.count == 0


def test_what_python_cannot_raise_is_heard_too(troubles: ThreadTroubles) -> None:
    class Careless:
        def __del__(self) -> None:
            raise ValueError("while going")

    with troubles.heard():
        careless = Careless()
        del careless
        gc.collect()
    (kept,) = troubles.last
    assert "ValueError: while going" in kept.error


def test_only_the_newest_are_kept_and_all_are_counted(troubles: ThreadTroubles) -> None:
    with troubles.heard():
        for number in range(KEPT + 3):
            die("prices", ValueError(str(number)))
    assert (troubles.count, len(troubles.last)) == (KEPT + 3, KEPT)
    assert troubles.last[-1].error == f"ValueError: {KEPT + 2}"


def test_a_listener_that_fails_harms_nobody(troubles: ThreadTroubles) -> None:
    def fail(trouble: Trouble) -> None:
        raise RuntimeError(trouble.where)

    troubles.tell(fail)
    with troubles.heard():
        die("prices", ValueError("one"))
        die("prices", ValueError("two"))
    assert troubles.count == 2


def test_the_hooks_before_are_back_afterwards(troubles: ThreadTroubles) -> None:
    before = threading.excepthook, sys.unraisablehook
    with troubles.heard():
        assert threading.excepthook is not before[0]
    assert (threading.excepthook, sys.unraisablehook) == before
