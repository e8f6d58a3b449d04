"""Every reason code of the program by what uses it: when it is given, and what changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.explain_words import ADVICE


@dataclass(frozen=True, slots=True)
class Told:
    """When a code is given and what changes it; dotted words are keys of the configuration."""

    when: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """The codes one part of the program gives, in the order in which they are looked at."""

    title: str
    says: str
    codes: Mapping[str, Told]


HOLDS = Group(
    "Why a symbol holds",
    "Given by data and bundle, in this order; the first that fails is the reason of the HOLD. All of them are in "
    "`bnml-doctor explain SYMBOL` with value and limit.",
    {
        "data_unavailable": Told("no bars or no quote came from the source"),
        "data_stale": Told("the newest closed bar is too late: `data.max_bar_delay_sec`"),
        "too_few_bars": Told("fewer bars than the features need"),
        "data_gap": Told("too many bars are missing among the last 96: `data.max_gap_bars`"),
        "no_bundle": Told("no bundle of the symbol is valid now"),
        "bundle_refused": Told("a signature, digest, size or test vector of the bundle does not hold"),
        "bundle_stale": Told("the bundle is older than `model.max_bundle_age_hours`"),
        "feature_mismatch": Told("the bundle was trained on other features than this program computes"),
        "nan_feature": Told("a required value of the newest bar is unknown"),
        "model_error": Told("the bundle gave no distribution for the row"),
        "outlier": Told("the row lies outside the region the bundle was trained in"),
        "no_skill": Told("the bundle has not proven that it beats the class shares and predicts the return of trades"),
        "proba_below_min": Told("the calibrated probability is below the bundle's threshold"),
        "not_top_class": Told("another class is likelier"),
        "margin_too_small": Told("the lead over the second class is too small"),
        "hold_bias": Told("the lead over the opposite direction is too small"),
        "ev_not_positive": Told("the lower bound of the expected return after costs is not above zero"),
    },
)
SCAN = Group(
    "Why a BUY is no opportunity",
    "Given by the scan; the counts are in the funnel of every cycle.",
    {
        "signal_not_buy": Told("the signal is HOLD or SELL"),
        "breaker_drift": Told("the symbol's bundle drifts: `risk.circuit_breakers.drift_block_enabled`"),
        "spread": Told("the spread is wider than its limit"),
        "depth": Told("too little rests within 1 % of the middle"),
        "min_score": Told("the composite score is below its floor"),
        "min_confidence": Told("the probability is below its floor"),
        "top_n": Told("better symbols took the places"),
    },
)
RISK = Group(
    "Why an entry is refused",
    "Rules of risk; every one is computed before every entry and kept with value and limit, the first that fails is "
    "the reason. A rule also named above is judged again on the newest quote.",
    {
        "control_state": Told("the state is REDUCE_ONLY or HALTED", "`bnml-kill-switch --status` names the cause"),
        "synthetic_data": Told(
            "live, and any part of the decision is not real market data", "nothing: live needs real data"
        ),
        "disk_low": Told("less disk is free than `storage.min_free_disk_mb`", "free space"),
        "symbol_frozen": Told("an order of the symbol is not resolved", "wait: it is asked for at the exchange"),
        "symbol_quarantined": Told("the symbol's data was bad", "wait for good bars; `bnml-data inspect --symbol S`"),
        "symbol_not_trading": Told("the exchange does not trade the symbol", "`universe.exclude`, or wait"),
        "quote_stale": Told("the quote is older than `data.max_quote_age_entry_sec`", "connection and clock"),
        "long_only": Told("a sell without a position", "nothing: this is a spot account"),
        "signal_not_buy": Told("anything but BUY"),
        "min_score": Told("the composite score is below its floor"),
        "min_confidence": Told("the probability is below its floor"),
        "market_regime": Told(
            "the mood of the market is bearish or risk-off with enough confidence, or its score at the floor",
            "wait; `santrade_intelligence`",
        ),
        "already_open": Told("a position or an open order of the symbol exists", "its exit"),
        "symbol_cooldown": Told("the symbol lost within `risk.symbol_cooldown_min`", "wait"),
        "max_open_positions": Told("the book is full, buys on their way included", "`risk.max_open_positions`"),
        "min_capital": Told("equity is below `risk.min_capital_usdt`", "more capital"),
        "spread": Told("the spread is wider than its limit"),
        "depth": Told("too little rests near the middle for the size"),
        "volume": Told("too little is traded in 24 h for the size", "`universe.discovery.min_24h_volume_usdt`"),
        "no_valid_stop": Told("no stop and targets pass the symbol's filters", "another symbol; levels in `risk`"),
        "net_profit": Told(
            "the first target leaves too little after all costs", "`risk.min_net_profit_pct`, `risk.take_profit_1_pct`"
        ),
        "max_exposure": Told("held and in flight, with the entry, over equity", "`risk.max_exposure_pct`"),
        "max_symbol_exposure": Told("the same of the symbol alone", "`risk.max_symbol_exposure_pct`"),
        "max_cluster_exposure": Told("the same of what moves with it", "`risk.max_cluster_exposure_pct`"),
        "max_correlation": Told("a held symbol moves too much like this one", "`risk.max_correlation`"),
        "daily_risk_budget": Told(
            "planned loss opened today, with the entry", "next UTC day; `risk.max_daily_risk_pct`"
        ),
        "weekly_risk_budget": Told("planned loss opened this week", "next week; `risk.max_weekly_risk_pct`"),
        "var_limit": Told("one-day value at risk with the entry", "`risk.max_var_pct`"),
        "order_rate": Told("one more order does not fit into the minute", "`exchange.orders.max_orders_per_min`"),
        "notional_per_day": Told(
            "what was bought today, with the entry", "next UTC day; `exchange.orders.max_notional_per_day_usdt`"
        ),
        "insufficient_balance": Told(
            "free quote beyond the reserves does not pay the entry", "capital, or wait for exits"
        ),
        "max_position_size": Told(
            "the smallest tradable size is larger than a position may be",
            "`risk.max_position_size_usdt`, `risk.max_position_pct_active`",
        ),
        "size_zero": Told("nothing is left to buy: the edge is not positive, or every limit is used", "wait"),
        "min_notional": Told(
            "the size, or what a fee leaves of it at the stop, is below the exchange's minimum",
            "`risk.max_position_size_usdt`",
        ),
    },
)
BREAKERS = Group(
    "Breakers",
    "Each stops all entries while it is tripped and shows value, limit and when it clears.",
    {
        "breaker_daily_loss": Told("the day's loss reached `risk.max_loss_per_day`", "clears at 00:00 UTC"),
        "breaker_weekly_loss": Told("the week's loss reached `risk.max_loss_per_week`", "clears on Monday 00:00 UTC"),
        "breaker_drawdown": Told(
            "equity fell from its peak by `risk.max_drawdown_pct`: HALTED, everything is sold",
            "`bnml-kill-switch --resume --reason TEXT`",
        ),
        "breaker_var": Told("the value at risk of past days reached `risk.max_var_pct`", "calmer days"),
        "breaker_consecutive_losses": Told(
            "losses in a row: `risk.circuit_breakers.max_consecutive_losses`",
            "clears after `risk.circuit_breakers.loss_pause_hours`",
        ),
        "breaker_volatility": Told(
            "the benchmark moves far more than usual: `risk.circuit_breakers.volatility_spike_ratio`", "calmer bars"
        ),
        "breaker_drift": Told(
            "the market as a whole drifts, or the symbol's bundle does: `risk.circuit_breakers.drift_block_enabled`"
        ),
        "breaker_market": Told("the mood of the market forbids entries", "a better mood"),
    },
)
CAUSES = Group(
    "Causes of REDUCE_ONLY and HALTED",
    "The control state tightens by itself for these. Those marked *passes* go by themselves; the others wait for "
    "`bnml-kill-switch --resume --reason TEXT`.",
    {
        "stale_prices": Told("no price for 30 s", "*passes* with prices"),
        "api_ban": Told("the exchange asked to stay away", "*passes* at the end of the ban"),
        "clock": Told("this machine's clock is a second or more off, or nobody knows", "*passes*; synchronise it"),
        "disk": Told("less is free than `storage.min_free_disk_mb`", "*passes* with free space"),
        "rejected_orders": Told("five orders in a row were refused", "read why in the journal"),
        "worker_restarts": Told("a helper used up its restarts", "its error is in the alert"),
        "missing_stop": Told("a position is without a stop", "it is protected or sold; then look why"),
        "order_rate": Told("HALTED: more orders in a minute than allowed", "something is wrong: read the journal"),
        "notional_per_day": Told("HALTED: more bought in a day than allowed", "the next day, after a look"),
        "overfilled": Told("HALTED: the exchange filled more than was ordered", "compare book and account"),
        "unexplained_balance": Told("HALTED: book and account differ", "explain it, then resume"),
        "orphan_order": Told("HALTED: an order of the bot's kind is in no book", "find out whose it is"),
        "books_restored": Told("HALTED: the book came from a backup", "compare, then resume"),
    },
)
EXITS = Group(
    "Why a position was sold",
    "In `trades.extra_json` and in the journal; looked at in this order.",
    {
        "stop_loss": Told("the price reached the stop"),
        "hard_drawdown": Told("the loss reached `risk.max_position_drawdown_pct`"),
        "tp1": Told("the first target: `risk.take_profit_1_fraction` is sold"),
        "tp2": Told("the second target: `risk.take_profit_2_fraction` is sold"),
        "trailing_stop": Told("the price fell to the stop that follows the highest price"),
        "time_stop": Told("held for `risk.max_holding_period`"),
        "sell_signal": Told("a SELL signal, with `risk.sell_signal_exit`"),
        "kill_switch": Told("the kill switch, or a halt that flattens"),
        "below_min_size": Told("what is left is too small to be sold alone"),
        "protection_failed": Told("no stop could be placed"),
        "reconciled": Told("the exchange says it is gone"),
        "symbol_delisted": Told("the symbol is no longer listed"),
    },
)
TRAINING = Group(
    "Why a training is refused",
    "Told by the trainers and kept in `metadata.json`; the bundle in service stays.",
    {
        "too_few_rows": Told("fewer labelled rows than `model.min_train_rows`", "more history: `bnml-data download`"),
        "rare_class": Told("a class is too rare to learn", "more history, or another `model.labeling`"),
        "calibration_failed": Told("probabilities could not be calibrated", "more history"),
        "data_unavailable": Told("no bars came from the source"),
        "bundle_refused": Told("the saved bundle does not reproduce its test vectors", "report it"),
        "no_skill": Told("nothing was proven on rows nothing was fitted on"),
    },
)
GROUPS = (HOLDS, SCAN, RISK, BREAKERS, CAUSES, EXITS, TRAINING)


def reason_codes_md() -> str:
    """Give the reference of all codes as Markdown."""
    lines = [
        "# Reason codes",
        "",
        "Generated; run `python -m scripts.generate_reference` after changing a code or its words.",
        "",
        "Every HOLD, every refusal and every exit carries one of these words: in the log, the journal, the database,",
        "the exports, the API, the dashboard and alerts. What happened to one symbol: `bnml-doctor explain BTC/USDC`.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.title}", "", group.says, "", "| Code | When | What changes it |", "|---|---|---|"]
        lines += [f"| `{code}` | {told.when} | {remedy_of(code, told)} |" for code, told in group.codes.items()]
    return "\n".join(lines) + "\n"


def remedy_of(code: str, told: Told) -> str:
    """Give what changes a refusal, in the doctor's words where the table has none of its own."""
    return told.remedy or ADVICE.get(code, "").format(symbol="S")
