"""Reading the JSON twin of a report without trusting its shape: what is absent is absent, never an error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A place in nested mappings, lists, texts and numbers."""

    value: object = None

    def __getitem__(self, key: str) -> Part:
        """Give what stands below a name; an empty part when nothing does."""
        return Part(self.value.get(key)) if isinstance(self.value, Mapping) else Part()

    def __iter__(self) -> Iterator[Part]:
        """Give the items of a list; none for anything else."""
        items = self.value if isinstance(self.value, Sequence) and not isinstance(self.value, str) else ()
        return iter([Part(item) for item in items])

    def __bool__(self) -> bool:
        """Whether anything stands here."""
        return self.value not in (None, "", [], {}, ())

    @property
    def number(self) -> float | None:
        """A finite number, or None."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            return None
        return float(self.value) if math.isfinite(self.value) else None

    @property
    def text(self) -> str:
        """A text; numbers as Python writes them, nothing as the empty text."""
        return "" if self.value is None else str(self.value)

    @property
    def entries(self) -> list[tuple[str, Part]]:
        """Names and parts of a mapping, in its order."""
        return [(str(key), Part(item)) for key, item in self.value.items()] if isinstance(self.value, Mapping) else []

    def first(self, *keys: str) -> Part:
        """Give the first of several names below which something stands."""
        return next((self[key] for key in keys if self[key].value is not None), Part())
