"""A cancel-replace that did not go through, with what was done all the same."""

from __future__ import annotations

from collections.abc import Sequence

from bn_ml.venue.errors import CancelReplaceError, VenueError
from bn_ml.venue.orders import VenueOrder


class ReplacementFailed(CancelReplaceError):
    """Names the orders that were cancelled and the one that was placed."""

    def __init__(
        self,
        code: int,
        *,
        cancel: VenueError | None,
        order: VenueError | None,
        cancelled: Sequence[VenueOrder] = (),
        placed: VenueOrder | None = None,
    ) -> None:
        """Keep what was done beside what was refused."""
        super().__init__(code, cancel=cancel, order=order)
        self.cancelled = tuple(cancelled)
        self.placed = placed
