"""Rows of a long table that are written only when they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")
Row = Sequence[str | float | int]


class LazyRows(Sequence[Row], Generic[T]):
    """Items and how to write one as a row; a table that shows a page of them writes that page alone."""

    def __init__(self, items: Sequence[T], write: Callable[[T], Row]) -> None:
        """Keep both; nothing is written yet."""
        self._items = items
        self._write = write

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        """Write one row, or those of a slice."""
        if isinstance(place, slice):
            return [self._write(item) for item in self._items[place]]
        return self._write(self._items[place])
