"""The verdict of a report in plain words: the first rule that applies speaks. Pure; no word of praise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MIN_TRADES = 30
MAX_P_VALUE = 0.05
MIN_DEFLATED_SHARPE = 0.95
MAX_PBO = 0.2
DUST_WORTH_TELLING = 0.1
SHORT_DAYS = 180.0
SHORT_TRADES = 300
INVENTED = ("synthetic", "sandbox", "testnet", "planted")
NO_MONEY = "Do not trade this with money."
KEEP_ON_PAPER = "Keep it on paper."


@dataclass(frozen=True, slots=True)
class VerdictFacts:
    """What the verdict looks at. Returns are fractions of the capital after all costs; None is not known.

    `best_removed` is how many of the best trades were taken away for `return_without_best`. `gross_bp` and `cost_bp`
    are of the money put into an average trade, `dust_bp` what of the costs was too little to be sold. `break_even_bp`
    is the cost per side at which nothing is left. `top_reason` is the reason code that kept most entries out,
    `top_share` its share.
    """

    data_source: str
    days: float
    trades: int
    total_return: float
    random_p: float | None = None
    best_removed: int = 0
    return_without_best: float | None = None
    deflated_sharpe: float | None = None
    pbo: float | None = None
    gross_bp: float | None = None
    cost_bp: float | None = None
    dust_bp: float | None = None
    break_even_bp: float | None = None
    worst_month: float | None = None
    top_reason: str = ""
    top_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a report says first. `code` names the rule, `sentence` gives the reason, `advice` what follows from it."""

    code: str
    sentence: str
    advice: str

    @property
    def text(self) -> str:
        """Sentence and advice in one line."""
        return f"{self.sentence} {self.advice}"


def verdict(facts: VerdictFacts) -> Verdict:
    """Judge a run.

    >>> verdict(VerdictFacts("replay", 92, 369, -0.079, random_p=0.43)).text
    'Lost 7.9 % after costs; no better than random entries (p = 0.43). Do not trade this with money.'
    """
    for rule in _RULES:
        said = rule(facts)
        if said is not None:
            return said
    return _stands(facts)


def _invented(facts: VerdictFacts) -> Verdict | None:
    if not any(word in facts.data_source.lower() for word in INVENTED):
        return None
    return Verdict(
        "not_evidence",
        f"Not evidence: the prices were invented (data source {facts.data_source}).",
        "Nothing here says anything about a real market.",
    )


def _no_trades(facts: VerdictFacts) -> Verdict | None:
    if facts.trades > 0:
        return None
    kept = f"; most often kept out by {facts.top_reason} ({100 * facts.top_share:.0f} %)" if facts.top_reason else ""
    return Verdict(
        "no_trades", f"No trade was closed in {_days(facts.days)}: there is nothing to judge{kept}.", NO_MONEY
    )


def _too_few(facts: VerdictFacts) -> Verdict | None:
    if facts.trades >= MIN_TRADES:
        return None
    trades = "1 trade" if facts.trades == 1 else f"{facts.trades} trades"
    return Verdict(
        "too_few_trades",
        f"{_result(facts)} in {trades}: too few to judge (at least {MIN_TRADES} are needed).",
        NO_MONEY,
    )


def _loss(facts: VerdictFacts) -> Verdict | None:
    if facts.total_return > 0:
        return None
    return Verdict("loss", f"{_result(facts)}{_against_random(facts)}{_where_it_went(facts)}.", NO_MONEY)


def _no_better(facts: VerdictFacts) -> Verdict | None:
    if facts.random_p is None:
        return Verdict(
            "no_control",
            f"{_result(facts)}, but no test against random entries was possible: luck is not ruled out.",
            NO_MONEY,
        )
    if facts.random_p <= MAX_P_VALUE:
        return None
    return Verdict(
        "no_better_than_random",
        f"{_result(facts)}, but no better than random entries of the same count and exits"
        f" (p = {_p_value(facts.random_p)}).",
        NO_MONEY,
    )


def _few_carry(facts: VerdictFacts) -> Verdict | None:
    without = facts.return_without_best
    if without is None or facts.best_removed < 1 or without > 0:
        return None
    best = "its best trade earns" if facts.best_removed == 1 else f"its {facts.best_removed} best trades earn"
    return Verdict(
        "few_trades_carry",
        f"{_result(facts)}, but {best} all of it: without them {_signed(without)} in {facts.trades} trades.",
        NO_MONEY,
    )


def _luck_of_search(facts: VerdictFacts) -> Verdict | None:
    sharpe, pbo = facts.deflated_sharpe, facts.pbo
    weak = (sharpe is not None and sharpe < MIN_DEFLATED_SHARPE) or (pbo is not None and pbo > MAX_PBO)
    if not weak:
        return None
    told = [f"deflated Sharpe {sharpe:.2f}"] if sharpe is not None else []
    told += [f"probability of overfitting {pbo:.2f}"] if pbo is not None else []
    return Verdict(
        "luck_of_search",
        f"{_result(facts)}, but not distinguishable from the luck of a search ({', '.join(told)}).",
        NO_MONEY,
    )


def _short(facts: VerdictFacts) -> Verdict | None:
    if facts.days >= SHORT_DAYS and facts.trades >= SHORT_TRADES:
        return None
    return Verdict(
        "promising_but_short",
        f"{_result(facts)}, better than random entries (p = {_p_value(facts.random_p)}), but {_days(facts.days)} and"
        f" {facts.trades} trades are short ({SHORT_DAYS:.0f} days and {SHORT_TRADES} trades are the least).",
        KEEP_ON_PAPER,
    )


def _stands(facts: VerdictFacts) -> Verdict:
    parts = [f"{_result(facts)}, better than random entries in this period (p = {_p_value(facts.random_p)})"]
    if facts.break_even_bp is not None:
        parts.append(f"breaks even at {facts.break_even_bp:.0f} bp a side")
    if facts.worst_month is not None:
        parts.append(f"worst month {_signed(facts.worst_month)}")
    return Verdict("beats_random", "; ".join(parts) + ".", "A past period promises no other one.")


_RULES: tuple[Callable[[VerdictFacts], Verdict | None], ...] = (
    _invented,
    _no_trades,
    _too_few,
    _loss,
    _no_better,
    _few_carry,
    _luck_of_search,
    _short,
)


def _result(facts: VerdictFacts) -> str:
    percent = 100 * abs(facts.total_return)
    if facts.total_return == 0:
        return "Neither gained nor lost after costs"
    shown = f"{percent:.1f}" if percent >= 0.05 else f"{percent:.2g}"
    return f"{'Gained' if facts.total_return > 0 else 'Lost'} {shown} % after costs"


def _against_random(facts: VerdictFacts) -> str:
    if facts.random_p is None:
        return ""
    if facts.random_p > MAX_P_VALUE:
        return f"; no better than random entries (p = {_p_value(facts.random_p)})"
    return f"; random entries lose more (p = {_p_value(facts.random_p)}), which earns nothing"


def _where_it_went(facts: VerdictFacts) -> str:
    if facts.gross_bp is None or facts.cost_bp is None:
        return ""
    dust = facts.dust_bp or 0.0
    told = f", {dust:.1f} bp of it dust too little to sell" if dust > facts.cost_bp * DUST_WORTH_TELLING else ""
    return f"; before costs {facts.gross_bp:+.1f} bp, costs {facts.cost_bp:.1f} bp a trade{told}"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %"


def _p_value(p_value: float | None) -> str:
    if p_value is None:
        return "unknown"
    return f"{p_value:.2f}" if p_value >= 0.01 else f"{p_value:.1g}"


def _days(days: float) -> str:
    whole = round(days)
    return "1 day" if whole == 1 else f"{whole} days"
