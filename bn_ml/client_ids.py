"""Client order ids: `<prefix>-<instance>-<number><check>` in base 36, at most 36 characters of `[a-zA-Z0-9-_]`."""

from __future__ import annotations

import hashlib
import re

from bn_ml.errors import StateError

PREFIX = "bnml"
INSTANCE_LENGTH = 6
MAX_LENGTH = 36
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ALPHABET = _DIGITS + "-_"
_PREFIX = re.compile(r"[A-Za-z0-9_-]+")
_SHAPE = re.compile(r"(?P<body>[A-Za-z0-9_-]+-[0-9a-z]+-[0-9a-z]+)(?P<check>[0-9a-z])")


def instance_of(identity: str) -> str:
    """Give the six characters that tell one book's ids from another's; the same identity gives the same ones."""
    number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big")
    return base36(number)[-INSTANCE_LENGTH:].rjust(INSTANCE_LENGTH, "0")


def make_client_id(prefix: str, instance: str, number: int) -> str:
    """Give the id of a positive sequence number; raises `StateError` when it would not be a legal id.

    >>> make_client_id("bnml", "000000", 37)
    'bnml-000000-11d'
    """
    body = f"{prefix}-{instance}-{base36(number)}"
    if len(body) >= MAX_LENGTH or not _PREFIX.fullmatch(prefix):
        raise StateError(f"client id needs at most {MAX_LENGTH} characters of [a-zA-Z0-9-_], got {body!r} and a check")
    return body + _check(body)


def is_client_id(text: str, prefix: str = PREFIX) -> bool:
    """Whether a text is an id this program made: starts with the prefix and carries the right check character."""
    match = _SHAPE.fullmatch(text)
    return match is not None and text.startswith(prefix) and _check(match["body"]) == match["check"]


def base36(number: int) -> str:
    """Write a whole number >= 0 in base 36.

    >>> base36(37)
    '11'
    """
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"


def _check(body: str) -> str:
    # 37 is prime and longer than any body: a wrong character or a swap of neighbours changes the sum modulo 37.
    total = sum((place + 1) * _ALPHABET.index(character) for place, character in enumerate(reversed(body.lower())))
    return _DIGITS[total % 37 % 36]
