"""Swaps parts of real classes for broken ones, for the length of a block."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

PRODUCT = ("trader.", "bn_ml.")


@dataclass(frozen=True, slots=True)
class Bug:
    """A defect by name; `plant` puts it into the product for the length of a block."""

    name: str
    says: str
    plant: Callable[[], AbstractContextManager[None]]

    def planted(self) -> AbstractContextManager[None]:
        """Give the block in which the product has this defect."""
        return self.plant()


@contextmanager
def swapped(owner: Any, name: str, new: Any) -> Iterator[None]:
    """Swap an attribute of a class or module."""
    old = owner.__dict__[name]
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, old)


@contextmanager
def swapped_everywhere(old: Any, new: Any) -> Iterator[None]:
    """Swap a function in every product module that has imported it."""
    with ExitStack() as stack:
        for name, module in sorted(sys.modules.items()):
            if name.startswith(PRODUCT):
                for attribute, value in list(vars(module).items()):
                    if value is old:
                        stack.enter_context(swapped(module, attribute, new))
        yield


@contextmanager
def together(*blocks: AbstractContextManager[None]) -> Iterator[None]:
    """Join swaps."""
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(block)
        yield


def without_rules(*names: str) -> AbstractContextManager[None]:
    """Take rules out of risk."""
    from trader import risk_manager

    before = tuple(rule for rule in risk_manager.RULES_BEFORE_BREAKERS if rule.__name__ not in names)
    after = tuple(rule for rule in risk_manager.RULES_AFTER_BREAKERS if rule.__name__ not in names)
    return together(
        swapped(risk_manager, "RULES_BEFORE_BREAKERS", before),
        swapped(risk_manager, "RULES_AFTER_BREAKERS", after),
    )


def without_gate(*rules: str) -> AbstractContextManager[None]:
    """Take rules, by their codes, out of the gate."""
    from trader import gate

    require, reached = gate._require, gate.Gate._require_clear

    def lenient(rule: str, value: Any, limit: Any) -> None:
        if rule not in rules:
            require(rule, value, limit)

    def clear(self: Any, intent: Any, others: Any, positions: Any) -> None:
        try:
            reached(self, intent, others, positions)
        except gate.LimitReached as error:
            if error.rule not in rules:
                raise

    blocks = [swapped(gate, "_require", lenient), swapped(gate.Gate, "_require_clear", clear)]
    if "insufficient_balance" in rules:
        blocks.append(swapped(gate.Gate, "_require_held", lambda self, intent: None))
    return together(*blocks)
