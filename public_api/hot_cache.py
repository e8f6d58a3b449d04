"""Answers that are sent again while the database stands still and the second has not passed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from public_api.book_watch import Version

MOST_ANSWERS = 128
MOST_BYTES = 512 * 1024

Key = tuple[str, bytes, bool]
"""Path and query as they came, and whether the caller is trusted."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer: its body and type, the tag of its content, and how it may be cached by others."""

    body: bytes
    media_type: str
    tag: str
    cache_control: str


class HotCache:
    """Keeps the newest answers for the database version and the second in which they were made. For one thread.

    Ages are told in whole seconds, so an answer that is younger than that says nothing wrong.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._moment: tuple[Version, int] | None = None
        self._answers: OrderedDict[Key, Kept] = OrderedDict()

    def find(self, key: Key, version: Version | None, second: int) -> Kept | None:
        """Give what was answered to the same question at the same moment."""
        if version is None or self._moment != (version, second):
            return None
        return self._answers.get(key)

    def keep(self, key: Key, version: Version | None, second: int, answer: Kept) -> None:
        """Keep an answer made from the database as it was at `version` or later."""
        if version is None or len(answer.body) > MOST_BYTES:
            return
        if self._moment != (version, second):
            self._moment = (version, second)
            self._answers.clear()
        self._answers[key] = answer
        if len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)


def tag_of(key: Key, version: Version | None, *, is_stale: bool) -> str:
    """Give a weak tag: equal as long as nothing but the age differs, empty when the version is not known.

    >>> tag_of(("/a", b"", True), (1, 2, 3), is_stale=False) == tag_of(("/a", b"", False), (1, 2, 3), is_stale=False)
    False
    """
    if version is None:
        return ""
    return f'W/"{hashlib.blake2b(repr((key, version, is_stale)).encode(), digest_size=12).hexdigest()}"'
