"""What an audit found: guilty column and row, what was compared, and whether enough was tested to call it clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bn_ml.domain.market import from_ms, iso


@dataclass(frozen=True, slots=True)
class Finding:
    """One proof of a leak: the column (empty when no column is guilty), the row's instant (ms) and what is wrong."""

    check: str
    message: str
    column: str = ""
    row_ms: int | None = None

    def text(self) -> str:
        """Give the finding in one line."""
        where = [self.column] if self.column else []
        if self.row_ms is not None:
            where.append(f"row {iso(from_ms(self.row_ms))}")
        return f"{self.check}: {' at '.join(where) + ': ' if where else ''}{self.message}"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: how many items it tested of those asked for, what it found, and a figure worth showing."""

    name: str
    tested: int
    asked: int
    findings: tuple[Finding, ...] = ()
    note: str = ""

    @property
    def clean(self) -> bool:
        """Whether enough was tested and nothing was found; too little tested is not clean."""
        return not self.findings and self.tested >= self.asked > 0

    @property
    def verdict(self) -> str:
        """The result in one word."""
        return "FAIL" if self.findings else "ok" if self.clean else "inconclusive"

    def as_dict(self) -> dict[str, object]:
        """Give the shape users see."""
        return {
            "check": self.name,
            "verdict": self.verdict,
            "tested": self.tested,
            "asked": self.asked,
            "note": self.note,
            "findings": [
                {
                    "column": finding.column or None,
                    "row": None if finding.row_ms is None else iso(from_ms(finding.row_ms)),
                    "message": finding.message,
                }
                for finding in self.findings
            ],
        }


@dataclass(slots=True)
class Notes:
    """Gathers findings of one check, at most `most` per column, so that one bad column cannot hide another."""

    check: str
    most: int = 3
    found: list[Finding] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, message: str, *, column: str = "", row_ms: int | None = None) -> None:
        """Take a finding down."""
        seen = self._counts.get(column, 0)
        self._counts[column] = seen + 1
        if seen < self.most:
            self.found.append(Finding(self.check, message, column, row_ms))

    def close(self, tested: int, asked: int, note: str = "") -> Check:
        """Give the finished check."""
        return Check(self.check, tested, asked, tuple(self.found), note)


def is_clean(checks: Sequence[Check]) -> bool:
    """Tell whether every check is clean."""
    return bool(checks) and all(check.clean for check in checks)
