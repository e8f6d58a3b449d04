"""The answers about the bot, its book and its models."""

from __future__ import annotations

from pydantic import Field, JsonValue

from public_api.schemas_base import Aged, Answer, Listed, Open, Signals


class Health(Aged):
    """Whether the API has its data. The fields after `stale` are told on this machine or with the token."""

    status: str = Field(description="ok, or degraded (with status 503) when the database cannot be read")
    server_time_utc: str | None = Field(default=None, description="the server's clock")
    db_available: bool | None = Field(default=None, description="whether the database can be read")
    scan_age_sec: float | None = Field(default=None, description="seconds since the newest scan")
    heartbeat_age_sec: float | None = Field(default=None, description="seconds since the bot was last heard of")
    model_bundles: int | None = Field(default=None, description="bundles in the models folder")
    control_state: str | None = Field(default=None, description="NORMAL, REDUCE_ONLY or HALTED")


class Heartbeat(Answer):
    """When the bot was last heard of."""

    at: str | None = Field(default=None, description="instant of the last sign of life")
    age_sec: float | None = Field(default=None, description="seconds since then")
    cycle: int | None = Field(default=None, description="number of the last complete cycle")


class LastScan(Answer):
    """The newest scan in brief."""

    at: str | None = Field(default=None, description="instant of the scan")
    age_sec: float | None = Field(default=None, description="seconds since then")
    rows: int = Field(default=0, description="symbols scanned")
    signals: Signals = Field(default=Signals(), description="symbols by what is shown for them")


class SummaryAnswer(Aged):
    """The bot at a glance; figures are null before the first cycle."""

    mode: str | None = Field(default=None, description="paper, live, testnet or replay")
    data_source: str | None = Field(default=None, description="where prices come from")
    synthetic: bool = Field(description="whether prices are invented")
    control_state: str | None = Field(default=None, description="NORMAL, REDUCE_ONLY or HALTED")
    control_reason: str | None = Field(default=None, description="why, when not NORMAL")
    heartbeat: Heartbeat
    quote_asset: str | None = Field(default=None, description="what amounts are counted in")
    total_capital: float | None = None
    active_capital: float | None = None
    equity: float | None = None
    daily_pnl_pct: float | None = None
    weekly_pnl_pct: float | None = None
    drawdown_pct: float | None = None
    exposure_pct: float | None = None
    open_positions: int
    total_trades: int
    total_cycles: int
    last_scan: LastScan
    funnel: dict[str, int] = Field(description="symbols stopped per reason code in the last cycle")
    alerts: int = Field(description="recent alerts that have not ended")


class AccountAnswer(Aged, Open):
    """The account as of the last cycle: every field of `account_state`."""

    total_capital: float | None = None
    active_capital: float | None = None
    equity: float | None = None
    equity_peak: float | None = None
    drawdown_pct: float | None = None
    exposure_pct: float | None = None
    daily_pnl_pct: float | None = None
    weekly_pnl_pct: float | None = None
    unrealized_usdt: float | None = None
    win_rate: float | None = None
    profit_factor: float | None = None
    closed_trades: int | None = None
    control_state: str | None = None
    breakers: list[JsonValue] | None = None


class PositionRow(Open):
    """The last position of a symbol; what depends on the present price is null without one."""

    symbol: str
    side: str | None = None
    size_usdt: float | None = None
    entry_price: float | None = None
    stop_loss: float | None = None
    take_profit_1: float | None = None
    take_profit_2: float | None = None
    opened_at: str | None = None
    status: str | None = None
    current_price: float | None = Field(default=None, description="price of the newest scan")
    price_at: str | None = Field(default=None, description="instant of that price")
    unrealized_usdt: float | None = Field(default=None, description="what is held now over its entry price, no costs")
    unrealized_pct: float | None = Field(default=None, description="present price over entry price, less one")
    stop_distance_pct: float | None = Field(default=None, description="way down to the stop over the present price")
    take_profit_1_distance_pct: float | None = None
    take_profit_2_distance_pct: float | None = None
    age_sec: float | None = Field(default=None, description="seconds since it was opened, to its end if it is closed")
    extra: dict[str, JsonValue] = Field(default={}, description="everything else the book keeps of it")


class PositionsAnswer(Listed):
    """Positions, the newest first."""

    rows: list[PositionRow]


class TradeRow(Open):
    """One trade."""

    id: int
    ts: str
    symbol: str
    side: str
    size_usdt: float | None = None
    price: float | None = None
    mode: str | None = None
    extra: dict[str, JsonValue] = Field(default={}, description="order, fees, slippage, reason, profit")


class TradesAnswer(Listed):
    """Trades, the newest first."""

    rows: list[TradeRow]


class ModelRow(Answer):
    """One bundle in service."""

    model_key: str = Field(description="name of the bundle in files and URLs")
    symbol: str
    version: int | None = None
    trained_at: str | None = None
    age_sec: float | None = Field(default=None, description="seconds since it was trained")
    age_days: float | None = None
    tradable: bool = Field(description="whether it may trade")
    reasons: list[str] = Field(description="why not")
    skill: float | None = Field(default=None, description="held-out skill over the class shares")
    drift: bool | None = Field(default=None, description="whether the drift watch has raised an alarm")
    file_count: int
    size_bytes: int
    size_mb: float


class ModelsAnswer(Aged):
    """All bundles in service."""

    total_bundles: int
    total_files: int
    total_size_bytes: int
    rows: list[ModelRow]


class TrainingAnswer(Aged, Open):
    """How training stands: every field of `training_status`."""

    status: str = Field(default="idle", description="idle, running, completed, failed, stopped, ...")
    phase: str | None = None
    trigger: str | None = None
    current_symbol: str | None = None
    progress_pct: float | None = Field(default=None, description="0 to 100")
    eta_s: float | None = None
    last_error: str | None = None
