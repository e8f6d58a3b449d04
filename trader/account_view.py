"""The account as users read it: the fields of the `account_state` record."""

from __future__ import annotations

from bn_ml.domain.market import ZERO, exact, iso
from trader.accounting import AccountBook
from trader.cycle_report import CycleReport


def account_fields(report: CycleReport, book: AccountBook, win_rate_24h: float) -> dict[str, object]:
    """Give the record of an account at the end of a cycle; amounts in the quote asset, shares as fractions."""
    return {
        **_worth(report, book),
        **_record(book, win_rate_24h),
        **_state(report),
        **_market(report),
    }


def _worth(report: CycleReport, book: AccountBook) -> dict[str, object]:
    account = report.account
    return {
        "at": iso(account.at),
        "total_capital": float(account.equity),
        "active_capital": float(account.equity * exact(report.active_ratio)),
        "equity": float(account.equity),
        "equity_peak": float(account.equity_peak),
        "drawdown_pct": account.drawdown_frac,
        "exposure_pct": account.exposure_frac,
        "daily_pnl_pct": account.period_change_frac(account.day),
        "weekly_pnl_pct": account.period_change_frac(account.week),
        "daily_realized_usdt": float(book.day.realized),
        "weekly_realized_usdt": float(book.week.realized),
        "unrealized_usdt": float(account.unrealized),
        "last_day": book.day.key,
        "last_week": book.week.key,
        "exchange_quote_asset": report.quote_asset,
        "exchange_quote_free": float(account.quote_free),
        "exchange_quote_used": float(account.quote_total - account.quote_free),
        "exchange_synced_at": iso(account.at),
    }


def _record(book: AccountBook, win_rate_24h: float) -> dict[str, object]:
    statistics = book.statistics
    lost = statistics.sum_losses < ZERO
    return {
        "consecutive_losses": statistics.consecutive_losses,
        "win_rate": statistics.win_rate,
        "avg_win": float(statistics.sum_wins / statistics.wins) if statistics.wins else 0.0,
        "avg_loss": float(statistics.sum_losses / statistics.losses) if statistics.losses else 0.0,
        "baseline_win_rate": statistics.win_rate,
        "current_win_rate_24h": win_rate_24h,
        "profit_factor": float(statistics.sum_wins / -statistics.sum_losses) if lost else None,
        "closed_trades": statistics.closed,
        "wins": statistics.wins,
        "losses": statistics.losses,
    }


def _state(report: CycleReport) -> dict[str, object]:
    return {
        "control_state": report.control.state.value,
        "control_reason": report.control.reason,
        "breakers": [
            {
                "name": item.name,
                "value": item.value,
                "limit": item.limit,
                "distance": item.distance,
                "tripped": item.tripped,
                "clears_at": iso(item.clears_at) if item.clears_at else None,
            }
            for item in report.breakers
        ],
    }


def _market(report: CycleReport) -> dict[str, object]:
    scan = report.scan
    mood = scan.mood if scan else None
    return {
        "market_volatility_ratio": scan.volatility_ratio if scan else None,
        "market_drift_detected": scan.drifted if scan else None,
        "market_regime": mood.regime.value if mood else None,
        "market_intelligence_signal": mood.signal if mood else None,
        "market_intelligence_confidence": mood.confidence if mood else None,
        "market_intelligence_score": mood.score if mood else None,
    }
