"""The JSON twin of a report: every figure the page shows, as JSON types. Pure; no instant of writing is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from evidence.book import Book
from evidence.headline import headline
from evidence.plain_figures import plain, plain_fields
from evidence.report_costs import costs_part, funnel_part
from evidence.report_curves import equity_part, months_part, rolling_part
from evidence.report_reading import Part
from evidence.report_trades import Excursion, calibration_part, distribution_part, trades_part
from evidence.run_card import RunCard
from evidence.verdict import VerdictFacts, verdict

SCHEMA = "bnml.report/1"
BEST_REMOVED = 3


@dataclass(frozen=True, slots=True)
class Extras:
    """What closed positions alone do not say.

    `references` are the prices orders reckoned with by client id, `excursions` by position id; `no_proof` tells why
    there are no statistics.
    """

    references: Mapping[str, Decimal] = field(default_factory=dict)
    excursions: Mapping[str, Excursion] = field(default_factory=dict)
    no_proof: str = "no bars were at hand"


def report_data(
    book: Book, run: RunCard, proof: Mapping[str, object] | None, extras: Extras | None = None
) -> dict[str, object]:
    """Build the twin. `proof` is what the statistics found, as JSON types, None where they could not be made."""
    more = extras or Extras()
    data: dict[str, object] = {
        "schema": SCHEMA,
        "run": _run_part(book, run),
        "headline": headline(book).as_dict(),
        "equity": equity_part(book.curve),
        "months": months_part(book.curve, book.closed),
        "distribution": distribution_part(book.closed),
        "rolling": rolling_part(book.curve, book.closed),
        "trades": trades_part(book.closed, more.excursions),
        "costs": costs_part(book, more.references),
        "calibration": calibration_part(book.closed),
        "funnel": funnel_part(book.funnel),
        "proof": plain(dict(proof)) if proof is not None else None,
        "no_proof": "" if proof is not None else more.no_proof,
    }
    said = verdict(verdict_facts(data))
    return {"verdict": {"code": said.code, "sentence": said.sentence, "advice": said.advice}, **data}


def verdict_facts(data: Mapping[str, object]) -> VerdictFacts:
    """Read what the verdict looks at out of a twin."""
    report = Part(data)
    proof, costs, run = report["proof"], report["costs"], report["run"]
    control, luck = proof["random_entry"], proof["selection_luck"]
    top = next(iter(report["funnel"]), Part())
    months = [month["return"].number or 0.0 for month in report["months"]]
    break_even = costs["break_even"]["cost_per_side"].number
    return VerdictFacts(
        data_source=run["data_source"].text,
        days=run["days"].number or 0.0,
        trades=int(report["headline"]["trade_count"].number or 0),
        total_return=report["headline"]["total_return"].number or 0.0,
        random_p=control["strict_p_value"].number,
        best_removed=BEST_REMOVED,
        return_without_best=proof["sensitivity"]["without_best_3"].number,
        deflated_sharpe=luck["deflated_sharpe"].number,
        pbo=luck["overfitting"].number,
        gross_bp=costs["gross_bp"].number,
        cost_bp=costs["costs_bp"].number,
        dust_bp=costs["dust_bp"].number,
        break_even_bp=break_even * 10_000 if break_even is not None else None,
        worst_month=min(months, default=None),
        top_reason=top["reason"].text,
        top_share=top["share"].number or 0.0,
    )


def _run_part(book: Book, run: RunCard) -> dict[str, object]:
    return {
        **plain_fields(run),
        "mode": book.mode,
        "data_source": book.data_source,
        "capital": float(book.capital),
        "last_equity": float(book.curve[-1].equity),
        "days": (book.end - book.begin).total_seconds() / 86400,
        "cycles": len(book.curve) - 1,
        "held": [str(position.symbol) for position in book.held],
        "halts": list(book.halts),
    }
