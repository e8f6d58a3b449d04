"""One report as one HTML page: no script, nothing fetched, drawn only from its JSON twin. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from evidence.report_charts import distribution_section, equity_section, months_section, rolling_section
from evidence.report_proof import proof_section
from evidence.report_reading import Part
from evidence.report_style import STYLE
from evidence.report_summary import headline_section, limits_section, run_section, verdict_section
from evidence.report_trade_tables import calibration_section, costs_section, funnel_section, trades_section
from evidence.report_words import escape, instant
from evidence.verdict import INVENTED

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SECTIONS = (
    verdict_section,
    run_section,
    headline_section,
    equity_section,
    costs_section,
    months_section,
    distribution_section,
    rolling_section,
    trades_section,
    calibration_section,
    proof_section,
    funnel_section,
    limits_section,
)
_PLACES = (
    ("run", "run card"),
    ("headline", "headline"),
    ("equity", "equity"),
    ("costs", "costs"),
    ("months", "months"),
    ("trades", "trades"),
    ("calibration", "calibration"),
    ("proof", "luck or skill"),
    ("funnel", "why no trade"),
    ("assumptions", "assumptions"),
)


def report_html(data: Mapping[str, object]) -> str:
    """Draw the page of a report's JSON twin; the same twin gives the same bytes."""
    report = Part(data)
    run = report["run"]
    title = f"BN-ML {run['kind'].text} {instant(run['begin'].text)[:10]} to {instant(run['end'].text)[:10]}"
    links = " ".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in _PLACES)
    body = "".join(draw(report) for draw in _SECTIONS)
    mode = run["kind" if run["kind"].text == "backtest" else "mode"].text.upper()
    told = f"{mode}, data source {run['data_source'].text}"
    return page(title, f"{banner(run)}<h1>{escape(title)}</h1><p>{escape(told)}</p><nav>{links}</nav>{body}")


def page(title: str, body: str) -> str:
    """Give a whole page around a body."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"{body}<footer>Times are UTC. Every figure stands in the JSON file beside this page.</footer></body></html>\n"
    )


def banner(run: Part) -> str:
    """Shout when the prices were invented."""
    source = run["data_source"].text
    if not any(word in source.lower() for word in INVENTED):
        return ""
    return f'<p class="banner">Prices are invented (data source {escape(source)}). Not evidence.</p>'
