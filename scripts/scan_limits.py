"""What a scan itself measures of the symbols it refuses: value and limit of spread, depth, score, confidence, rank."""

from __future__ import annotations

from bn_ml.domain.signals import GateVerdict, Opportunity, ScanReport
from bn_ml.pair_limits import depth_floor, spread_limit
from bn_ml.settings import Settings


class ScanLimits:
    """Gives the numbers behind the scan's own refusals."""

    def __init__(self, settings: Settings) -> None:
        """Judge by the limits of the scanner's settings."""
        self._scanner = settings.scanner

    def verdict(self, report: ScanReport, item: Opportunity) -> GateVerdict | None:
        """Give reason, value and limit of a refusal, None where nothing was measured."""
        measured = self._measured(report, item)
        if measured is None or item.reason is None:
            return None
        return GateVerdict(item.reason, *measured, passed=False)

    def _measured(self, report: ScanReport, item: Opportunity) -> tuple[float, float] | None:
        scanner, quote = self._scanner, item.quote
        match item.reason:
            case "spread" if quote is not None:
                return float(quote.spread_frac), spread_limit(item.symbol, scanner)
            case "depth" if quote is not None:
                return float(quote.depth_quote), depth_floor(item.symbol, scanner)
            case "min_score":
                return item.score, scanner.min_score
            case "min_confidence":
                return item.signal.confidence, scanner.min_confidence
            case "top_n":
                return float(_place(report, item)), float(scanner.top_n)
            case "breaker_drift":
                return 1.0, 0.0
            case _:
                return None


def _place(report: ScanReport, item: Opportunity) -> int:
    """Give the rank among what passed everything else, 1 for the best."""
    better = [other for other in report.refused if other.reason == "top_n" and _order(other) < _order(item)]
    return len(report.opportunities) + len(better) + 1


def _order(item: Opportunity) -> tuple[float, float, str]:
    return -item.score, -item.signal.probabilities.buy, str(item.symbol)
