"""The cycle feed: the last cycles with counts, refusals, errors and durations."""

from __future__ import annotations

from monitoring.desk import Desk
from monitoring.panels.parts import Tile, chart, empty, heading, table, tiles
from monitoring.views_cycles import CycleLine, duration_figure, lines_of, pace_of
from monitoring.wording import age, money

TITLE = "Cycle feed"
QUESTION = "What just happened?"
MOST_SHOWN = 400
COLUMNS = (
    "cycle",
    "at",
    "scanned",
    "candidates",
    "bought",
    "sold",
    "held",
    "equity",
    "day",
    "state",
    "most refused",
    "seconds",
    "errors",
)


def draw(desk: Desk) -> None:
    """Draw the panel."""
    cycles = desk.cycles()[:MOST_SHOWN]
    if not cycles:
        known = len(desk.book.cycles())
        hint = (
            f"{known} cycles lie outside the chosen period or days." if known else "The first one is shown as it ends."
        )
        empty("No cycle to show.", hint)
        return
    lines = lines_of(cycles)
    pace = pace_of(lines)
    tiles(
        (
            Tile("Cycles shown", f"{pace.cycles}", f"period {desk.look.timeframe}"),
            Tile("Middle cycle", f"{pace.middle:.2f} s", "half are shorter"),
            Tile(
                "Slow cycle",
                f"{pace.slow:.2f} s",
                f"19 of 20 are shorter; one every {age(desk.settings.scanner.scan_interval_sec)}",
            ),
            Tile("With errors", f"{pace.with_errors}", "", False if pace.with_errors else None),
        )
    )
    chart("durations", duration_figure(cycles, desk.look), "Seconds of each stage of the last cycles, newest right.")
    heading("Cycles", "newest first")
    table("cycles", COLUMNS, [_row(line, desk) for line in lines])


def _row(line: CycleLine, desk: Desk) -> tuple[str, ...]:
    return (
        str(line.number),
        desk.look.moment(line.at),
        str(line.scanned),
        str(line.opportunities),
        str(line.opened),
        str(line.closed),
        str(line.held),
        money(line.equity),
        line.day,
        line.control,
        line.top_refusal,
        f"{line.seconds:.2f}" if line.seconds == line.seconds else "-",
        "; ".join(line.errors),
    )
