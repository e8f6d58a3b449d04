"""Where the money went: what prices gave, slippage, fees, dust, and what is left; what kept entries out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from evidence.book import Book
from evidence.costs import break_even, waterfall
from evidence.plain_figures import plain_fields

Row = dict[str, object]


def costs_part(book: Book, references: Mapping[str, Decimal]) -> Row:
    """Give the steps from gross to net and on to the change of equity, and the break-even cost per side.

    `references` are the prices orders asked for by client id; without them slippage stays inside `gross`. `bp` are
    basis points of the money put into closed positions.
    """
    costs = waterfall(book, references)
    paid = float(sum(position.cost_quote for position in book.closed))
    per_bp = 10_000 / paid if paid > 0 else 0.0
    steps: list[tuple[str, Decimal]] = [("gross", costs.gross)]
    if costs.slippage is not None:
        steps.append(("slippage", -costs.slippage))
    steps += [("fees", -costs.fees), ("dust", -costs.dust), ("net of closed trades", costs.net)]
    steps += [("open positions and dust", costs.rest), ("change of equity", costs.change)]
    costs_quote = costs.fees + costs.dust + (costs.slippage or 0)
    return {
        "steps": [{"name": name, "quote": float(amount), "bp": float(amount) * per_bp} for name, amount in steps],
        "slippage_measured": costs.slippage is not None,
        "unvalued_fees": costs.unvalued_fees,
        "invested_quote": paid,
        "gross_bp": float(costs.gross) * per_bp,
        "costs_bp": float(costs_quote) * per_bp,
        "dust_bp": float(costs.dust) * per_bp,
        "net_bp": float(costs.net) * per_bp,
        "break_even": plain_fields(break_even(book, references)),
    }


def funnel_part(funnel: Mapping[str, int]) -> list[Row]:
    """Give each reason code with how often it kept a symbol out and its share."""
    total = sum(funnel.values())
    return [{"reason": reason, "count": count, "share": count / total} for reason, count in funnel.items() if total]
