"""Each mutant is one wrong change that still compiles; words for people and log lines are left alone."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from benchmarks.money_modules import ROOT, chosen_modules, money_modules, money_tests
from benchmarks.mutants import mutants_of
from benchmarks.mutation_score import equivalents

SOURCE = '''"""Words at the top."""
import logging

log = logging.getLogger(__name__)
LIMIT = 5


def judge(amount: int, parts: list[int], *, strict: bool = True) -> bool:
    """Words of a function."""
    log.info("judging %s", amount + 1)
    crash_point("judging")
    if amount <= LIMIT and strict:
        raise ValueError(f"at most {LIMIT}, got too few" + "word")
    for part in parts:
        if not part:
            continue
        book(part, amount)
    try:
        store(min(amount, 3))
    except (KeyError, OSError):
        clean()
    with transaction():
        write("name", "two words")
    return amount - 1 == Side.BUY
'''


def changes(source: str = SOURCE) -> list[tuple[str, str]]:
    return [mutant.changed for mutant in mutants_of("a.py", source)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 5", "LIMIT = (6)"),
        ("if amount <= LIMIT and strict:", "if (amount < LIMIT) and strict:"),
        ("if amount <= LIMIT and strict:", "if (amount > LIMIT) and strict:"),
        ("if amount <= LIMIT and strict:", "if (amount <= LIMIT or strict):"),
        ("if amount <= LIMIT and strict:", "if (strict):"),
        ('raise ValueError(f"at most {LIMIT}, got too few" + "word")', "pass"),
        ("if not part:", "if (part):"),
        ("continue", "pass"),
        ("book(part, amount)", "pass"),
        ("book(part, amount)", "(book(amount, part))"),
        ("store(min(amount, 3))", "store((max(amount, 3)))"),
        ("store(min(amount, 3))", "store(min(amount, (2)))"),
        ("except (KeyError, OSError):", "except (OSError,):"),
        ("clean()", "pass"),
        ("with transaction():", "if True:"),
        ('write("name", "two words")', "write('name_wrong', \"two words\")"),
        ("return amount - 1 == Side.BUY", "return (amount + 1) == Side.BUY"),
        ("return amount - 1 == Side.BUY", "return amount - 1 == Side.SELL"),
        ("return amount - 1 == Side.BUY", "return not (amount - 1 == Side.BUY)"),
    ],
)
def test_a_wrong_change_of_each_kind_is_made(before: str, after: str) -> None:
    assert (before, after) in changes()


def test_a_default_is_changed_too() -> None:
    assert any("strict: bool = False" in after for _, after in changes())


def test_each_mutant_compiles_and_differs_in_one_place() -> None:
    found = mutants_of("a.py", SOURCE)
    assert len({mutant.after for mutant in found}) == len(found) > 25
    for mutant in found:
        ast.parse(mutant.after)
        assert mutant.diff().count("\n@@") == 1


def test_what_is_only_told_is_left_alone() -> None:
    before = {text for text, _ in changes()}
    assert not any("log" in text or "crash_point" in text or "Words" in text for text in before)
    assert not any(after.endswith("_wrong')") and "two words" in text for text, after in changes() if "raise" in text)
    assert not any("two words_wrong" in after for _, after in changes())


def test_what_only_decides_whether_something_is_told_is_left_alone() -> None:
    telling = 'try:\n    f()\nexcept KeyError:\n    log.info("x")\nif a > 1:\n    log.info("y")\n'
    assert changes(telling) == [("f()", "pass")]


def test_columns_after_letters_of_several_bytes_are_right() -> None:
    assert ('x = f("ü", 1)', 'x = f("ü", (2))') in changes('x = f("ü", 1)\n')


def test_the_money_modules_exist_and_may_be_named_in_three_ways() -> None:
    assert all((ROOT / name).is_file() for name in (*money_modules(), *money_tests()))
    assert chosen_modules(["gate", "trader.gate", "trader/gate.py"]) == ("trader/gate.py",)
    assert chosen_modules([]) == money_modules()
    with pytest.raises(ValueError, match="no money module: nothing"):
        chosen_modules(["nothing"])


def test_every_equivalent_mutant_has_its_reason_and_is_one_that_is_still_made() -> None:
    listed = equivalents()
    modules = {module for module, _, _ in listed}
    made = Counter(
        (name, *mutant.changed)
        for name in modules
        for mutant in mutants_of(name, (ROOT / name).read_text(encoding="utf-8"))
    )
    assert {key: made[key] for key in listed if made[key] != 1} == {}
