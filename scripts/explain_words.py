"""What each reason code measures, in which unit, and what would change it."""

from __future__ import annotations

from dataclasses import dataclass

NO_SKILL = "no_skill"
NET_RETURN_GATE = "ev_not_positive"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A gate in words: what was measured, how value and limit are written, and on which side of the limit it passes."""

    measures: str
    form: str
    side: str


MEANINGS = {
    "no_bundle": Meaning("hours since the bundle became valid", "{:.1f} h", "at least"),
    "bundle_stale": Meaning("hours since the bundle became valid", "{:.1f} h", "at most"),
    "data_stale": Meaning("age of the newest closed bar", "{:.0f} s", "at most"),
    "nan_feature": Meaning("feature values that are unknown", "{:.0f}", "at most"),
    "outlier": Meaning("distance from the training region", "{:.2f}", "at most"),
    NO_SKILL: Meaning("smaller lower bound of skill and return slope", "{:+.4f}", "above"),
    "proba_below_min": Meaning("probability of the direction", "{:.4f}", "at least"),
    "not_top_class": Meaning("lead over the second class, HOLD raised", "{:+.4f}", "above"),
    "margin_too_small": Meaning("lead over the second class, HOLD raised", "{:+.4f}", "at least"),
    "hold_bias": Meaning("probability of the direction against the opposite one", "{:.4f}", "at least"),
    NET_RETURN_GATE: Meaning("lower bound of the expected net return", "{:+.4%}", "above"),
}
_TOGETHER = Meaning("p-value of the slope test, judged with all bundles in service", "{:.4g}", "at most")
_RECORDED = Meaning("recorded verdict (1 proven, 0 not)", "{:.0f}", "at least")
_UNKNOWN = Meaning("", "{:.6g}", "limit")

ADVICE = {
    "no_bundle": "train it: bnml-trainer --symbol {symbol}",
    "bundle_refused": "the files differ from what was signed: train it again, or return to an earlier version",
    "bundle_stale": "train it again: bnml-trainer --symbol {symbol}",
    "data_unavailable": "no bars came from the market data source: see the log of that cycle",
    "data_stale": "the newest bars are late: see the log of that cycle",
    "data_gap": "too many bars are missing: bnml-data inspect --symbol {symbol}",
    "too_few_bars": "the symbol is too young, or its history was not loaded yet",
    "feature_mismatch": "the bundle knows other features than this program: train it again",
    "nan_feature": "a required value of the newest bar is unknown; wait for a bar with it",
    "model_error": "the bundle could not answer this row: see the log, then train it again",
    "outlier": "the market looks like nothing in training; wait, or train on newer bars",
    NO_SKILL: "more history or a later training may prove skill; without proof there is no entry",
    "proba_below_min": "0.38 to 0.42 is the usual range of model.ensemble.min_buy_proba; lower means more and worse "
    "entries",
    "not_top_class": "another class is likelier: nothing to change",
    "margin_too_small": "the limit is model.ensemble.min_margin",
    "hold_bias": "the limit is model.ensemble.hold_bias",
    NET_RETURN_GATE: "costs eat what the score promises: nothing to change but fees and spread",
    "spread": "the limit is scanner.spread_max_pct with scanner.dynamic_pair_filters",
    "depth": "the limit is scanner.depth_min_usdt with scanner.dynamic_pair_filters",
    "min_score": "the limit is scanner.min_score",
    "min_confidence": "the limit is scanner.min_confidence",
    "top_n": "better symbols took the places; scanner.top_n says how many there are",
    "breaker_drift": "entries of a drifting symbol wait for a newer bundle: bnml-trainer --symbol {symbol}",
    "signal_not_buy": "SELL opens nothing on a spot account",
}


def meaning_of(reason: str, limit: float | None) -> Meaning:
    """Give what a gate measures; `no_skill` speaks of three things, told apart by their limit (0, 1, between)."""
    if reason == NO_SKILL and limit is not None and limit > 0.0:
        return _RECORDED if limit >= 1.0 else _TOGETHER
    return MEANINGS.get(reason, _UNKNOWN)


def advice_of(reason: str, symbol: str) -> str:
    """Give what would change a refusal; empty when nothing is known."""
    return ADVICE.get(reason, "").format(symbol=symbol)


def skill_words(report_lower: float | None, slope_lower: float | None) -> str:
    """Say what the two halves of the skill gate prove.

    >>> skill_words(0.02, -0.1)
    'forecasts volatility; no evidence on direction'
    """
    beats_shares = report_lower is not None and report_lower > 0.0
    earns = slope_lower is not None and slope_lower > 0.0
    if beats_shares and earns:
        return "beats the class shares, and trade return rises with its score"
    if beats_shares:
        return "forecasts volatility; no evidence on direction"
    if earns:
        return "trade return rises with its score, but it does not beat the class shares"
    return "no evidence of any skill"
