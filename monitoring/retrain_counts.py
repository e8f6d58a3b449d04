"""How many trainings ended in which way, told from the growing counters of the `training_status` record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from monitoring.plain_values import mapping, number

_RESULTS = {
    "symbols_trained": "trained",
    "symbols_kept_champion": "kept_champion",
    "symbols_errors": "failed",
    "symbols_skipped_up_to_date": "up_to_date",
}


class RetrainCounts:
    """Follows the record; what it held at the first look was counted by an earlier process."""

    def __init__(self) -> None:
        """Begin before any look."""
        self._seen: Mapping[str, object] | None = None

    def take(self, content: object) -> Iterator[tuple[str, str, int]]:
        """Give trigger, result and number of what ended since the last look."""
        status = mapping(content)
        before, self._seen = self._seen, status
        if before is None:
            return
        same_run = before.get("started_at") == status.get("started_at")
        known = before if same_run else {}
        trigger = str(status.get("trigger") or "")
        for name, result in _RESULTS.items():
            more = _whole(status.get(name)) - _whole(known.get(name))
            if more > 0:
                yield trigger, result, more
        fails = status.get("status") == "failed" and known.get("status") != "failed"
        if fails and not _whole(status.get("symbols_errors")):
            yield trigger, "failed", 1


def _whole(value: object) -> int:
    count = number(value)
    return int(count) if math.isfinite(count) else 0
