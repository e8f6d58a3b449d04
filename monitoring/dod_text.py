"""The daily check and the summary as Markdown, for people."""

from __future__ import annotations

from collections.abc import Iterator

from bn_ml.domain.market import iso
from monitoring.dod import DayReport
from monitoring.dod_findings import Violation
from monitoring.dod_summary import Item, Summary

SHOWN = 50
_ITEMS = {
    Item.DURATION: "Paper run long enough",
    Item.NO_VIOLATIONS: "No rule violated",
    Item.BACKTEST: "Backtest report",
    Item.DASHBOARD_AND_ALERTS: "Dashboard reachable, test alert delivered",
    Item.DOCUMENTS: "Docker files and incident runbook",
    Item.RESTORE: "A restore was verified",
}


def day_markdown(report: DayReport) -> str:
    """Write one day."""
    return "\n".join(_day_lines(report)) + "\n"


def day_words(report: DayReport) -> str:
    """Say in a few lines what a day came to."""
    figures = report.figures
    lines = [
        f"{report.day.isoformat()} {report.status.value}: {len(report.found)} violations, "
        f"{figures.coverage.cycles} cycles ({figures.coverage.share:.1%} of the day), "
        f"{figures.buys} buys, {figures.sells} sells, realized {figures.realized_quote:.2f}",
        *([f"  incomplete: {report.why}"] if report.why else []),
        *(f"  {item.violation.value}: {item.detail}" for item in report.found[:SHOWN]),
    ]
    return "\n".join(lines)


def summary_markdown(summary: Summary) -> str:
    """Write a paper run."""
    return "\n".join(_summary_lines(summary)) + "\n"


def _day_lines(report: DayReport) -> Iterator[str]:
    figures = report.figures
    yield f"# Daily check {report.day.isoformat()}: {report.status.value}"
    yield ""
    if report.why:
        yield f"Incomplete: {report.why}."
        yield ""
    yield f"{iso(report.window.begin)} to {iso(report.window.end)}, checked {iso(report.checked_at)}."
    yield ""
    yield "| figure | value |"
    yield "|---|---|"
    yield f"| cycles | {figures.coverage.cycles} ({figures.coverage.share:.1%} of {figures.coverage.expected}) |"
    yield f"| trades | {figures.buys} buys, {figures.sells} sells |"
    yield f"| realized | {figures.realized_quote:.2f} |"
    yield f"| winning sells | {_share(figures.winning, figures.sells)} |"
    yield f"| most positions open | {figures.max_open_positions} |"
    yield ""
    yield "| rule | verdict | facts looked at |"
    yield "|---|---|---|"
    broken = {item.violation for item in report.found}
    for rule in Violation:
        yield f"| {rule.value} | {'VIOLATED' if rule in broken else 'kept'} | {report.judged[rule]} |"
    if report.found:
        yield ""
        yield f"## Violations ({len(report.found)})"
        yield ""
    for item in report.found[:SHOWN]:
        yield f"- `{item.violation.value}` {item.detail}"
    if len(report.found) > SHOWN:
        yield f"- and {len(report.found) - SHOWN} more, all in the JSON beside this file"


def _summary_lines(summary: Summary) -> Iterator[str]:
    plain = summary.as_dict()
    yield f"# Paper run: {'done' if summary.is_done else 'not done'}"
    yield ""
    yield f"{summary.begin.isoformat()} to {summary.end.isoformat()} (UTC), written {iso(summary.generated_at)}."
    yield ""
    yield "| figure | value |"
    yield "|---|---|"
    yield f"| days with enough cycles | {summary.days_observed} of {summary.days_target} |"
    yield f"| gaps | {len(summary.gaps)} |"
    yield f"| daily reports | {len(summary.results)} |"
    yield f"| violations | {summary.violations} |"
    yield f"| realized | {plain['realized_pnl_usdt']:.2f} |"
    sells, winning = (sum(getattr(item, name) for item in summary.results) for name in ("sells", "winning"))
    yield f"| winning sells | {_share(winning, sells)} |"
    yield ""
    yield "| checklist | | |"
    yield "|---|---|---|"
    for item in Item:
        shown = summary.checklist[item]
        yield f"| {_ITEMS[item]} | {'yes' if shown.passed else 'NO'} | {shown.detail} |"
    if summary.gaps:
        yield ""
        yield "## Gaps"
        yield ""
        yield from (f"- {gap.day.isoformat()}: {gap.reason}" for gap in summary.gaps)
    yield ""
    yield "## Days"
    yield ""
    yield "| day | verdict | coverage | realized | violations |"
    yield "|---|---|---|---|---|"
    for day in summary.results:
        broken = ", ".join(sorted(set(day.violations))) or "none"
        yield (f"| {day.day.isoformat()} | {day.status} | {day.coverage:.1%} | {day.realized_quote:.2f} | {broken} |")


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "no sells"
