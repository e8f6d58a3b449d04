"""Defects the simulator has to find, each planted into the real classes under its name."""

from __future__ import annotations

from tests.sim.bugs_in_books import BOOK_BUGS
from tests.sim.bugs_in_control import CONTROL_BUGS
from tests.sim.bugs_in_orders import ORDER_BUGS
from tests.sim.bugs_in_stops import STOP_BUGS
from tests.sim.planting import Bug

BUGS: dict[str, Bug] = {bug.name: bug for bug in (*ORDER_BUGS, *BOOK_BUGS, *CONTROL_BUGS, *STOP_BUGS)}
