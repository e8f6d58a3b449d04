"""The acceptance list: complete, and every mistake in it is found."""

from __future__ import annotations

import pytest

from benchmarks.acceptance import DOCUMENT, NUMBERS, OPEN, Row, findings, rows

FOUND = rows(DOCUMENT.read_text(encoding="utf-8"))


def test_the_list_holds_together() -> None:
    assert findings(FOUND) == []


def test_every_number_stands_in_order() -> None:
    assert tuple(row.number for row in FOUND) == NUMBERS
    assert len(NUMBERS) == 97


@pytest.mark.parametrize(
    ("proof", "mark", "said"),
    [
        ("nothing at all", "x", "ticked, but it names no proof"),
        ("`make test`; open: half of it", "x", "ticked, but it names no proof or says what is open"),
        ("`make test`", OPEN, "no reason is given"),
        ("`make never-built`", "x", "make never-built does not exist"),
        ("`tests/unit/test_of_nothing.py`", "x", "tests/unit/test_of_nothing.py does not exist"),
        ("`tests/unit/bn_ml/test_env.py::test_of_nothing`", "x", "has no test_of_nothing"),
        ("`make test`", "?", "is neither"),
    ],
)
def test_a_row_that_proves_nothing_is_named(proof: str, mark: str, said: str) -> None:
    changed = [Row(mark, row.number, proof) if row.number == "S-050" else row for row in FOUND]
    new = set(findings(changed)) - set(findings(FOUND))
    assert new
    assert all(problem.startswith("S-050: ") for problem in new)
    assert any(said in problem for problem in new)


def test_a_missing_a_foreign_and_a_doubled_number_are_named() -> None:
    new = set(findings([*FOUND[1:], FOUND[5], Row(OPEN, "S-999", "open: unknown")])) - set(findings(FOUND))
    assert new == {"S-001: missing", "S-999: unknown", f"{FOUND[5].number}: more than once"}
