"""The opportunities panel: heat over time, the ranked book, the matrix, a watchlist, and one symbol in depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import streamlit as st

from bn_ml.domain.market import to_ms
from monitoring.ages import ago
from monitoring.charts_opportunities import bars_chart, heat_chart, matrix_chart, ribbon_chart
from monitoring.desk import Desk
from monitoring.desk_bundles import bundles_on_disk
from monitoring.panels import parts
from monitoring.symbol_story import LEAST_HEAT, Story, read_said, read_story, scan_stamp, span_of
from monitoring.views_opportunities import (
    BookLine,
    Decision,
    Scan,
    base_rates,
    buy_limit,
    decisions_of,
    heat_of,
    rates_of,
    ribbon_of,
    scan_of,
    watchlist,
)
from monitoring.wording import UNKNOWN, age, known, percent, price, signed_percent

TITLE = "Opportunities"
QUESTION = "What does it see?"

BOOK_COLUMNS = (
    "#",
    "symbol",
    "shown",
    "p BUY",
    "usual",
    "above usual",
    "EV net",
    "score of 10",
    "spread",
    "price",
    "BTC corr.",
    "bundle",
    "data",
    "stopped by",
)


def draw(desk: Desk) -> None:
    """Draw the panel; raises `StateError`."""
    rates = {**rates_of(bundles_on_disk(desk)), **base_rates(desk.book.metrics())}
    scan = scan_of(desk.book.kv("latest_scan"), rates, desk.market_now)
    if not scan.lines:
        parts.empty("No scan yet.", "The first one ends within a minute of the start; log: artifacts/logs/bnml.log.")
        return
    _glance(desk, scan)
    chosen = watchlist(scan, desk.filters.symbols, desk.look.watchlist)
    lines = [line for line in chosen if not desk.filters.actions or line.action in desk.filters.actions]
    if lines:
        _heat(desk, [line.symbol for line in lines], rates)
        _book(lines)
        parts.heading("Signal matrix", "probabilities 0 to 1, scores 0 to 10; the darker, the higher")
        parts.chart("opportunities-matrix", matrix_chart(lines, dark=desk.look.dark), _matrix_words(lines))
        _watchlist(lines)
    else:
        parts.empty(f"None of the {len(scan.lines)} symbols passes the filters.", "Clear the filters in the sidebar.")
    _one_symbol(desk, scan)


def _glance(desk: Desk, scan: Scan) -> None:
    counts, limit = scan.counts, desk.settings.monitoring.dashboard.scan_stale_sec
    stale = f"STALE: older than {age(limit)}" if scan.age_s > limit else f"stale after {age(limit)}"
    entries = sum(line.is_open_to_entry for line in scan.lines)
    parts.tiles(
        (
            parts.Tile("Scan", ago(scan.age_s), f"{desk.look.clock(scan.at) if scan.at else ''} {stale}"),
            parts.Tile("BUY", str(counts["BUY"]), f"{entries} stopped by nothing, on to the risk rules"),
            parts.Tile("HOLD", str(counts["HOLD"]), f"of {len(scan.lines)} symbols"),
            parts.Tile("SELL", str(counts["SELL"]), "shown, never sold short"),
            parts.Tile("Data", scan.data_source or UNKNOWN, "where prices come from"),
        )
    )


def _heat(desk: Desk, symbols: Sequence[str], rates: Mapping[str, float]) -> None:
    span = span_of(desk, LEAST_HEAT)
    said = read_said(desk, symbols, span)
    heat = desk.shaped(
        "heat",
        lambda: heat_of(said, rates, since_ms=span.since_ms, until_ms=span.until_ms),
        changes_with=(scan_stamp(desk), span, tuple(symbols), tuple(rates.items())),
    )
    parts.heading("BUY above its usual rate", "symbol x time; blue above, orange below, empty where no bundle answered")
    if not any(math.isfinite(value) for row in heat.values for value in row):
        answered = any(record.version is not None for records in said.values() for record in records)
        why = (
            "The usual BUY rate of these bundles is unknown." if answered else "No bundle has answered in this period."
        )
        parts.empty(why, "Choose a longer period, or see panel Models for the bundles.")
        return
    words = (
        f"{len(heat.symbols)} symbols in steps of {age(heat.step_ms / 1000)}; the farthest from usual is "
        f"{heat.reach:.3f}. Alarming: every row of one colour for days."
    )
    parts.chart("opportunities-heat", heat_chart(heat, desk.look.axis, dark=desk.look.dark), words)


def _book(lines: Sequence[BookLine]) -> None:
    parts.heading("Ranked book", "those stopped by nothing first, then by score")
    parts.table("opportunities-book", BOOK_COLUMNS, [_book_row(line) for line in lines])


def _book_row(line: BookLine) -> tuple[str | float | int, ...]:
    return (
        line.rank,
        line.symbol,
        line.action,
        _share(line.buy) if line.is_known else UNKNOWN,
        _share(line.base_rate),
        _points(line.edge),
        signed_percent(line.expected_frac),
        _score(line.score),
        percent(line.spread_frac, 3),
        price(line.price),
        _share(line.correlation_btc),
        f"v{line.bundle_version}" if line.is_known else "none",
        line.data_source or UNKNOWN,
        line.reason or "nothing",
    )


def _matrix_words(lines: Sequence[BookLine]) -> str:
    first = lines[0]
    return (
        f"{len(lines)} symbols. First: {first.symbol} {first.action}, p BUY "
        f"{_share(first.buy) if first.is_known else 'unknown'}, score {_score(first.score)} of 10."
    )


def _watchlist(lines: Sequence[BookLine]) -> None:
    parts.heading("Watchlist", f"{len(lines)} symbols; its size is set in the sidebar")
    parts.tiles(
        tuple(
            parts.Tile(
                f"{line.symbol} {line.action}",
                price(line.price),
                f"p {_share(line.buy) if line.is_known else UNKNOWN}, usual {_share(line.base_rate)}, "
                f"{line.reason or 'stopped by nothing'}",
                None if not known(line.edge) else line.edge >= 0,
            )
            for line in lines
        )
    )


def _one_symbol(desk: Desk, scan: Scan) -> None:
    names = sorted(line.symbol for line in scan.lines)
    wanted = desk.filters.symbols[0] if desk.filters.symbols else scan.lines[0].symbol
    start = names.index(wanted) if wanted in names else 0
    symbol = str(st.selectbox("One symbol in depth", names, index=start, key="drill", bind="query-params"))
    line = next(line for line in scan.lines if line.symbol == symbol)
    story = read_story(desk, symbol)
    decisions = decisions_of(story.said)
    parts.heading(symbol, f"{line.action}, {line.reason or 'stopped by nothing'}")
    _bars(desk, symbol, story)
    _ribbon(desk, story, line, buy_limit(decisions))
    _gates(desk, decisions)
    _decisions(desk, decisions, story)


def _bars(desk: Desk, symbol: str, story: Story) -> None:
    candles, marks = story.candles, story.marks
    if not candles.times and not marks:
        parts.empty(
            f"No chart: {candles.problem}, and we did not trade it.",
            f"Store bars: bnml-data download --symbol {symbol} --days 30",
        )
        return
    told = f"{len(candles.times)} candles of {age(candles.step_ms / 1000)} from {candles.source}"
    words = f"{told if candles.times else candles.problem}; {len(marks)} fills of ours (triangles)."
    parts.chart("opportunities-bars", bars_chart(candles, marks, desk.look.axis, dark=desk.look.dark), words)


def _ribbon(desk: Desk, story: Story, line: BookLine, limit: float) -> None:
    ribbon = ribbon_of(story.said)
    if not any(map(math.isfinite, ribbon.buy)):
        parts.empty(
            "No probabilities in this period.", "They are kept at the close of each 15 min bar once a bundle answers."
        )
        return
    words = (
        f"{len(story.said)} bars. Now p BUY {_share(ribbon.buy[-1])}, usual {_share(line.base_rate)}, "
        f"limit {_share(limit)}. Alarming: a flat band for days."
    )
    figure = ribbon_chart(ribbon, line.base_rate, limit, desk.look.axis, dark=desk.look.dark)
    parts.chart("opportunities-ribbon", figure, words)


def _gates(desk: Desk, decisions: Sequence[Decision]) -> None:
    newest = next((decision for decision in decisions if decision.gates), None)
    if newest is None:
        parts.empty("No gate was measured in this period.", "Without a bundle nothing is measured: see panel Models.")
        return
    passed = sum(gate.passed for gate in newest.gates)
    parts.heading(
        "Gates", f"bar closed {desk.look.moment(newest.at)}: {passed} of {len(newest.gates)} passed, in their order"
    )
    rows = [(gate.reason, gate.value_text, gate.limit_text, gate.verdict) for gate in newest.gates]
    parts.table("opportunities-gates", ("gate", "measured", "limit", "verdict"), rows)


def _decisions(desk: Desk, decisions: Sequence[Decision], story: Story) -> None:
    if not decisions:
        return
    parts.heading(
        "Last decisions", "newest first; later scans of the same bar are named when they came to something else"
    )
    later: dict[int, str] = {}
    for refusal in story.refusals:
        later[refusal.close_ms] = refusal.reason or "nothing"
    rows = [
        (
            desk.look.moment(decision.at),
            decision.action,
            _share(decision.buy) if decision.version is not None else UNKNOWN,
            _share(decision.sell) if decision.version is not None else UNKNOWN,
            decision.reason or "nothing",
            ", ".join(gate.reason for gate in decision.gates if not gate.passed) or UNKNOWN,
            later.get(to_ms(decision.at), UNKNOWN),
            f"v{decision.version}" if decision.version is not None else "none",
            decision.data_source,
        )
        for decision in decisions
    ]
    columns = ("bar closed", "shown", "p BUY", "p SELL", "stopped by", "gates failed", "later scans", "bundle", "data")
    parts.table("opportunities-decisions", columns, rows)


def _share(value: float) -> str:
    return f"{value:.3f}" if known(value) else UNKNOWN


def _points(value: float) -> str:
    return f"{value:+.3f}" if known(value) else UNKNOWN


def _score(value: float) -> str:
    return f"{value:.1f}" if known(value) else UNKNOWN
