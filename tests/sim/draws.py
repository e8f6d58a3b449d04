"""Seeded draws that are the same on every machine and Python: integers and IEEE additions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
MASK = 2**64 - 1
FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


class Draws:
    """A splitmix64 stream. `Draws(seed, "name", 3)` is a stream of its own, independent of every other one."""

    __slots__ = ("_state",)

    def __init__(self, seed: int, *names: str | int) -> None:
        self._state = seed & MASK
        for name in names:
            state = self.bits()
            for byte in str(name).encode():
                state = ((state ^ byte) * FNV_PRIME) & MASK
            self._state = state ^ FNV_OFFSET

    def bits(self) -> int:
        """Give 64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return mixed ^ (mixed >> 31)

    def share(self) -> float:
        """Give a number in [0, 1)."""
        return (self.bits() >> 11) / 2**53

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.share() < probability

    def between(self, low: int, high: int) -> int:
        """Give a whole number, both ends included."""
        return low + self.bits() % (high - low + 1)

    def one(self, items: Sequence[T]) -> T:
        """Give one of the items; a repeated item is drawn more often."""
        return items[self.bits() % len(items)]

    def bell(self) -> float:
        """Give a number around 0 with deviation 1, never beyond 3.5."""
        return sum(self.share() for _ in range(4)) * 1.7320508 - 3.4641016
