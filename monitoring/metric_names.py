"""The names of the bot's metrics, their types, labels and meanings, in the order they are told."""

from __future__ import annotations

from monitoring.exposition import Family, Kind


def _family(name: str, kind: Kind, meaning: str, *labels: str) -> Family:
    return Family(f"bnml_{name}", kind, meaning, labels)


CATALOGUE: tuple[Family, ...] = (
    _family("scan_rows", "gauge", "Symbols the newest scan looked at"),
    _family("scan_age_seconds", "gauge", "Seconds since the newest scan"),
    _family("scan_signal_count", "gauge", "Symbols of the newest scan by what is shown for them", "signal"),
    _family("scan_top_confidence", "gauge", "Highest confidence of a BUY or SELL in the newest scan, 0 to 1"),
    _family("gate_rejections_total", "counter", "Symbols stopped per reason code, by scan and risk together", "reason"),
    _family("account_total_capital", "gauge", "Worth of the account, in the quote asset"),
    _family("account_active_capital", "gauge", "Part of the capital that may be traded, in the quote asset"),
    _family("account_equity", "gauge", "Equity, in the quote asset"),
    _family("account_drawdown_pct", "gauge", "Loss from the equity peak as a fraction of it"),
    _family("account_exposure_pct", "gauge", "Exposure over equity, a fraction"),
    _family("account_daily_pnl_pct", "gauge", "Change of equity since the UTC day began, a fraction"),
    _family("account_weekly_pnl_pct", "gauge", "Change of equity since the ISO week began, a fraction"),
    _family("account_consecutive_losses", "gauge", "Losing trades in a row"),
    _family("open_positions", "gauge", "Positions held"),
    _family("total_trades", "gauge", "Trades booked since the book was opened"),
    _family("total_cycles", "gauge", "Number of the newest cycle of the book"),
    _family("market_drift_detected", "gauge", "1 while the market as a whole has drifted"),
    _family("market_index", "gauge", "Index of the market's mood, 0 to 100"),
    _family("bot_up", "gauge", "1 while the loop was heard of within the last 180 seconds"),
    _family("bot_heartbeat_age_seconds", "gauge", "Seconds since the loop was last heard of"),
    _family("cycle_duration_seconds", "histogram", "Seconds the stages of a cycle took", "stage"),
    _family("control_state", "gauge", "0 NORMAL, 1 REDUCE_ONLY, 2 HALTED"),
    _family("breaker_active", "gauge", "1 while a breaker stops entries", "breaker"),
    _family("breaker_used_ratio", "gauge", "What a breaker measures over its limit, 1 at the limit", "breaker"),
    _family("orders_total", "counter", "Orders that ended, by side and how", "side", "result"),
    _family("order_latency_seconds", "histogram", "Seconds the exchange took to answer requests that change orders"),
    _family("order_unknown", "gauge", "Orders nobody can account for at present"),
    _family("unprotected_seconds", "gauge", "Seconds since something held is without its stop, 0 when all is covered"),
    _family("slippage_pct", "gauge", "Mean slippage of the newest 20 trades, a fraction, positive is worse than asked"),
    _family("exchange_weight_used_ratio", "gauge", "Request weight used this minute over what this process may use"),
    _family("exchange_errors_total", "counter", "What the exchange did not do, by kind", "kind"),
    _family("quote_age_seconds", "gauge", "Age of the oldest quote of what is held, else of the newest quote known"),
    _family("ws_reconnects_total", "counter", "Times the price stream was connected again"),
    _family("clock_offset_ms", "gauge", "Clock of the exchange minus ours, in milliseconds"),
    _family("alerts_total", "counter", "What became of alerts", "level", "channel", "result"),
    _family("worker_restarts_total", "counter", "Workers started again", "worker"),
    _family("backup_age_seconds", "gauge", "Seconds since the newest verified backup"),
    _family("db_size_bytes", "gauge", "Bytes of the state database with its log"),
    _family("disk_free_bytes", "gauge", "Bytes free on the disk of the state database"),
    _family("data_source", "gauge", "1 for the market data source in use", "source"),
    _family("model_age_seconds", "gauge", "Seconds since a symbol's bundle was trained", "symbol"),
    _family("model_skill", "gauge", "Held-out skill of a symbol's bundle against the class shares", "symbol"),
    _family("model_tradable", "gauge", "1 when a symbol's bundle may trade", "symbol"),
    _family("drift_score", "gauge", "How far a drift test of a symbol stands", "symbol", "test"),
    _family("training_progress", "gauge", "How far the running or last training has come, 0 to 1"),
    _family("training_failures_total", "counter", "Symbols whose training failed"),
    _family("retrain_total", "counter", "Symbols whose training ended, by trigger and result", "trigger", "result"),
)
