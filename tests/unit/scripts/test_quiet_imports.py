"""Imports of a command pass without garbage collections, and leave the collector as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from scripts import cli


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("is_on", [True, False])
def test_the_collector_rests_and_is_then_as_before(is_on: bool) -> None:
    (gc.enable if is_on else gc.disable)()
    with cli.collector_at_rest():
        assert not gc.isenabled()
    assert gc.isenabled() is is_on


def test_it_works_again_after_an_import_that_failed() -> None:
    with pytest.raises(ImportError), cli.collector_at_rest():
        raise ImportError
    assert gc.isenabled()
