"""Parameters that many routes share, with the ranges that are told when one is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated

from fastapi import Query

from bn_ml.domain.market import Symbol, from_iso
from public_api.refusals import Refusal

MOST_ROWS = 500
FARTHEST_OFFSET = 1_000_000_000
SYMBOL_PATTERN = r"^[A-Za-z0-9]{2,15}[/_][A-Za-z0-9]{2,6}$"
KEY_PATTERN = r"^[A-Z0-9]{2,15}_[A-Z0-9]{2,6}$"
_EARLIEST, _LATEST = 2000, 2199
ALLOWED = {
    "limit": f"1-{MOST_ROWS}",
    "offset": f"0-{FARTHEST_OFFSET}",
    "symbol": "a name such as BTC/USDC or BTC_USDC",
    "mode": "a name such as paper or live",
    "from": "ISO 8601 instant such as 2026-03-02T10:15:00Z",
    "to": "ISO 8601 instant such as 2026-03-02T10:15:00Z",
    "model_key": "a name such as BTC_USDC",
}
"""What is said to be allowed of a parameter whose own rule does not say it in words."""

Limit = Annotated[int | None, Query(ge=1, le=MOST_ROWS, description="most rows, 1-500; `public_api.default_limit`")]
Offset = Annotated[int, Query(ge=0, le=FARTHEST_OFFSET, description="rows left out before the first")]
SymbolName = Annotated[
    str | None, Query(pattern=SYMBOL_PATTERN, max_length=22, description="one symbol, BTC/USDC or BTC_USDC")
]
Since = Annotated[
    str | None, Query(alias="from", max_length=40, description="ISO 8601 instant, inclusive; without offset UTC")
]
Until = Annotated[
    str | None, Query(alias="to", max_length=40, description="ISO 8601 instant, exclusive; without offset UTC")
]


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a list."""

    limit: int
    offset: int = 0

    def next_offset(self, total: int) -> int | None:
        """Give where the next page begins, None after the last."""
        end = self.offset + self.limit
        return end if end < total else None


def symbol_of(text: str | None) -> Symbol | None:
    """Give the symbol of a checked parameter."""
    return None if text is None else Symbol(text.replace("_", "/"))


def span_of(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Give the instants of `from` and `to`; raises `Refusal` (422) for one that cannot be read or an empty span."""
    first, last = _instant("from", since), _instant("to", until)
    if first is not None and last is not None and first >= last:
        raise Refusal(422, "from: must be earlier than to")
    return first, last


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        # A plus sign that was not escaped arrives as a blank.
        instant = from_iso(text.strip().replace(" ", "+") if "T" in text else text.strip())
    except ValueError:
        raise Refusal(422, f"{name}: allowed: {ALLOWED[name]}") from None
    if not _EARLIEST <= instant.year <= _LATEST:
        raise Refusal(422, f"{name}: allowed: years {_EARLIEST}-{_LATEST}")
    return instant.astimezone(timezone.utc)
