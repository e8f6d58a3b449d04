"""Whose book it is: one book per environment and account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bn_ml.domain.market import iso, require_utc


@dataclass(frozen=True, slots=True)
class BookIdentity:
    """The environment and account a book belongs to, and since when."""

    mode: str
    account: str
    since: datetime

    def __post_init__(self) -> None:
        """Refuse an identity that names nobody."""
        require_utc(self.since)
        if not (self.mode and self.account):
            raise ValueError(f"a book needs a mode and an account, got {self.mode!r} and {self.account!r}")

    @property
    def text(self) -> str:
        """The identity in one line; two books of one account made at different instants differ."""
        return f"{self.mode}|{self.account}|{iso(self.since)}"
