"""Two runs side by side: what differs in what they are, in their figures, and trade by trade with its cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from bn_ml.domain.market import iso
from bn_ml.domain.positions import Position
from evidence.headline import headline
from evidence.matching import EQUAL, Matching, Pair, causes, matched
from evidence.plain_figures import plain
from evidence.report_curves import equity_part
from evidence.report_sources import Source
from evidence.report_trades import exit_price
from evidence.run_card import RunCard
from evidence.witness import Cause, Witness
from trader.performance import EquityPoint, trade_return

SCHEMA = "bnml.comparison/1"
Row = dict[str, object]
_CARD: tuple[tuple[str, Callable[[Source], object]], ...] = (
    ("kind", lambda source: source.run.kind),
    ("mode", lambda source: source.book.mode),
    ("data source", lambda source: source.book.data_source),
    ("from", lambda source: iso(source.book.begin)),
    ("to", lambda source: iso(source.book.end)),
    ("quote asset", lambda source: source.book.quote_asset),
    ("capital", lambda source: float(source.book.capital)),
    ("symbols", lambda source: ", ".join(source.run.symbols)),
    ("models", lambda source: source.run.models),
    ("fee a side", lambda source: source.run.fees_frac),
    ("slippage a side", lambda source: source.run.slippage_frac),
    ("seed", lambda source: source.run.seed),
    ("configuration", lambda source: source.run.config_sha256),
    ("data", lambda source: source.run.data_sha256),
)


def compare(first: Source, second: Source) -> Row:
    """Build the JSON of a comparison. Trades are compared within the period both runs cover.

    A difference is always `a` less `b`.
    """
    common = _common(first, second)
    trades = _trades(first, second, common) if common else _no_trades()
    return {
        "schema": SCHEMA,
        "a": _side(first),
        "b": _side(second),
        "differs": _differs(first, second),
        "headline": _headline(first, second),
        "common": [iso(at) for at in common] if common else None,
        **trades,
        "sentence": _sentence(first, second, trades),
    }


def _side(source: Source) -> Row:
    curve = source.book.curve
    start = curve[0].equity
    relative = [EquityPoint(point.at, point.equity / start) for point in curve] if start > 0 else list(curve)
    return {"path": source.path.name, "run": _card(source.run), "equity": equity_part(relative)}


def _card(run: RunCard) -> Row:
    return {"kind": run.kind, "begin": iso(run.begin), "end": iso(run.end), "models": run.models}


def _differs(first: Source, second: Source) -> list[Row]:
    return [
        {"what": what, "a": plain(read(first)), "b": plain(read(second))}
        for what, read in _CARD
        if read(first) != read(second)
    ]


def _headline(first: Source, second: Source) -> list[Row]:
    a, b = headline(first.book).as_dict(), headline(second.book).as_dict()
    return [
        {"figure": name, "a": a[name], "b": b[name], "difference": _difference(a[name], b[name])}
        for name in a
        if name != "notes"
    ]


def _difference(a: object, b: object) -> float | None:
    return float(a) - float(b) if isinstance(a, int | float) and isinstance(b, int | float) else None


def _common(first: Source, second: Source) -> tuple[datetime, datetime] | None:
    begin = max(first.book.begin, second.book.begin)
    end = min(first.book.end, second.book.end)
    return (begin, end) if begin < end else None


def _no_trades() -> Row:
    counts = dict.fromkeys(("paired", "equal", "differ", "only_a", "only_b"), 0)
    return {"counts": counts, "causes": [], "divergences": []}


def _trades(first: Source, second: Source, common: tuple[datetime, datetime]) -> Row:
    found = matched(_entered(first, common), _entered(second, common))
    rows = [*_differing(found.pairs)]
    if found.only_first:
        witness = Witness(second.path, second.book)
        rows += [
            _alone(position, "a", witness.why_not(position.symbol, position.opened_at)) for position in found.only_first
        ]
    if found.only_second:
        witness = Witness(first.path, first.book)
        rows += [
            _alone(position, "b", witness.why_not(position.symbol, position.opened_at))
            for position in found.only_second
        ]
    rows.sort(key=lambda row: (str(row["opened_at"]), str(row["symbol"]), str(row["where"])))
    return {"counts": _counts(found, rows), "causes": _by_cause(rows), "divergences": rows}


def _entered(source: Source, common: tuple[datetime, datetime]) -> list[Position]:
    begin, end = common
    known = (*source.book.closed, *source.book.held)
    inside = [position for position in known if begin <= position.opened_at <= end]
    return sorted(inside, key=lambda position: (position.opened_at, str(position.symbol)))


def _counts(found: Matching, rows: Sequence[Row]) -> Row:
    differ = sum(row["where"] == "both" for row in rows)
    return {
        "paired": len(found.pairs),
        "equal": len(found.pairs) - differ,
        "differ": differ,
        "only_a": len(found.only_first),
        "only_b": len(found.only_second),
    }


def _differing(pairs: Iterable[Pair]) -> list[Row]:
    rows = []
    for pair in pairs:
        why = causes(pair)
        if why:
            a, b = pair.first, pair.second
            rows.append(
                {
                    **_row(a, "both", why[0], ", ".join(why)),
                    "a": _figures(a),
                    "b": _figures(b),
                    "entry_price_frac": _relative(a.entry_price, b.entry_price),
                    "size_frac": _relative(a.initial_quantity, b.initial_quantity),
                    "exit_price_frac": _relative_prices(exit_price(a), exit_price(b)),
                    "net_difference": float(a.realized_quote - b.realized_quote),
                }
            )
    return rows


def _alone(position: Position, where: str, cause: Cause) -> Row:
    net = float(position.realized_quote)
    return {
        **_row(position, where, cause.code, cause.detail),
        where: _figures(position),
        "net_difference": net if where == "a" else -net,
    }


def _row(position: Position, where: str, cause: str, detail: str) -> Row:
    return {
        "opened_at": iso(position.opened_at),
        "symbol": str(position.symbol),
        "where": where,
        "cause": cause,
        "detail": detail,
    }


def _figures(position: Position) -> Row:
    return {
        "opened_at": iso(position.opened_at),
        "closed_at": iso(position.closed_at) if position.closed_at else None,
        "entry_price": float(position.entry_price),
        "exit_price": exit_price(position),
        "quantity": float(position.initial_quantity),
        "reason": position.close_reason.value if position.close_reason else None,
        "net_quote": float(position.realized_quote),
        "return": trade_return(position),
    }


def _relative(a: Decimal, b: Decimal) -> float | None:
    return _relative_prices(float(a), float(b))


def _relative_prices(a: float | None, b: float | None) -> float | None:
    """Give how much the first is above the second, 0 where they differ by rounding only."""
    if a is None or not b:
        return None
    return 0.0 if abs(a / b - 1) < EQUAL else a / b - 1


def _by_cause(rows: Sequence[Row]) -> list[Row]:
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        groups[str(row["where"]), str(row["cause"])].append(float(str(row["net_difference"])))
    found: list[Row] = [
        {"where": where, "cause": cause, "trades": len(values), "net_difference": sum(values)}
        for (where, cause), values in groups.items()
    ]
    return sorted(
        found, key=lambda row: (-abs(float(str(row["net_difference"]))), str(row["where"]), str(row["cause"]))
    )


def _sentence(first: Source, second: Source, trades: Row) -> str:
    a, b = headline(first.book).total_return, headline(second.book).total_return
    lead = f"A returned {100 * a:+.2f} %, B {100 * b:+.2f} %"
    counts = trades["counts"]
    if not isinstance(counts, dict) or not any(counts.values()):
        return f"{lead}; there are no trades to compare in a common period."
    if counts["paired"] == counts["equal"] and not counts["only_a"] and not counts["only_b"]:
        return f"{lead}; all {counts['equal']} trades are equal."
    return (
        f"{lead}; of the common period {counts['equal']} trades are equal, {counts['differ']} differ, "
        f"{counts['only_a']} are only in A and {counts['only_b']} only in B."
    )
