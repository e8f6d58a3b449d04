"""A size never exceeds any limit, whatever the account, the market and the settings are."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bn_ml.domain.account import AccountState, Control, ControlState, Period, TradeStatistics
from bn_ml.domain.market import EPOCH, MarketRules, Quote, Symbol, exact
from bn_ml.domain.signals import Action, MarketMood, MarketRegime, Opportunity, Probabilities, ScanReport, Signal
from bn_ml.settings import Settings
from trader.entry_request import EntryRequest
from trader.ladder import is_sellable
from trader.risk_manager import RiskManager
from trader.sizing import available_quote

BTC, ETH = Symbol("BTC/USDC"), Symbol("ETH/USDC")
SLACK = Decimal("1e-15")
TICKS = (Decimal("0.01"), Decimal("0.00001"), Decimal("1e-8"))


def amounts(low: str, high: str) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(low), Decimal(high), places=4)


@st.composite
def requests(draw: st.DrawFn) -> EntryRequest:
    tick = draw(st.sampled_from(TICKS))
    ask = tick * draw(st.integers(500, 5_000_000))
    equity = draw(amounts("20", "20000"))
    held = min(draw(amounts("0", "5000")), equity)
    free = equity - held
    quote = Quote(BTC, ask, ask, ask, EPOCH, "binance", Decimal(10**9), Decimal(10**12))
    probabilities = Probabilities(0.2, 0.2, 0.6)
    signal = Signal(BTC, Action.BUY, probabilities, EPOCH, data_source="binance")
    state = AccountState(
        at=EPOCH,
        equity=equity,
        quote_free=free,
        quote_total=free,
        exposure=held,
        unrealized=Decimal(0),
        equity_peak=equity,
        day=Period("1970-01-01", equity, planned_loss=draw(amounts("0", "50"))),
        week=Period("1970-W01", equity, planned_loss=draw(amounts("0", "100"))),
        statistics=TradeStatistics(
            closed=draw(st.integers(0, 60)),
            wins=20,
            losses=20,
            sum_wins=draw(amounts("1", "100")),
            sum_losses=Decimal(-50),
            half_size=draw(st.booleans()),
        ),
        symbol_exposure={ETH: held} if held else {},
        reserved_quote=draw(amounts("0", "100")),
    )
    mood = MarketMood(draw(st.sampled_from(MarketRegime)), "NEUTRAL", 0.5, draw(st.floats(-1, 1)), "neutral")
    return EntryRequest(
        opportunity=Opportunity(signal, quote, 9.0, atr_frac=0.003, volatility_frac=draw(st.floats(0.0005, 0.02))),
        quote=quote,
        rules=MarketRules(BTC, tick, draw(st.sampled_from((Decimal("1e-5"), Decimal("0.1"), Decimal(1)))), Decimal(5)),
        account=state,
        control=Control(1, ControlState.NORMAL, "", EPOCH, ""),
        scan=ScanReport(EPOCH, (), (), {(BTC, ETH): draw(st.floats(-1, 1))}, mood),
        now=EPOCH,
        disk_free_mb=1e6,
        positions=(),
        intents=(),
        breakers=(),
        notional_today=draw(amounts("0", "1000")),
        real_money=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None)
@given(requests(), st.sampled_from(("kelly_vol", "vol_target", "fixed")), st.sampled_from(("fixed", "atr")))
def test_size_never_exceeds_any_limit(entry: EntryRequest, method: str, exit_mode: str) -> None:
    config = Settings.from_mapping({"risk": {"method": method, "exit_mode": exit_mode}})
    decision = RiskManager(config).judge(entry)
    risk, account = config.risk, entry.account
    size, base = decision.size_quote, account.equity
    assert decision.quantity % entry.rules.step == 0
    assert 0 <= size <= exact(risk.max_position_size_usdt)
    if not decision.approved:
        return
    assert size <= base * exact(risk.capital_active_ratio) * exact(risk.max_position_pct_active) * (1 + SLACK)
    assert account.exposure + size <= base * exact(risk.max_exposure_pct) * (1 + SLACK)
    assert size <= base * exact(risk.max_symbol_exposure_pct) * (1 + SLACK)
    assert decision.planned_loss_quote <= base * exact(risk.risk_per_trade_pct) * (1 + SLACK)
    assert account.day.planned_loss + decision.planned_loss_quote <= base * exact(risk.max_daily_risk_pct) * (1 + SLACK)
    assert account.week.planned_loss + decision.planned_loss_quote <= base * exact(risk.max_weekly_risk_pct) * (
        1 + SLACK
    )
    assert decision.reserved_quote <= available_quote(account, risk, real_money=entry.real_money) * (1 + SLACK)
    assert entry.notional_today + decision.reserved_quote <= 1000 * (1 + SLACK)
    assert decision.quantity * entry.quote.ask <= size
    assert decision.stop < entry.quote.bid < decision.target_1 < decision.target_2
    kept = entry.rules.quantity_down(decision.quantity * (1 - exact(risk.fees_pct)))
    assert is_sellable(kept, decision.stop, entry.rules)
    if entry.real_money:
        assert size <= exact(risk.max_live_capital_usdt)


@settings(max_examples=60, deadline=None)
@given(requests(), amounts("0", "1000"))
def test_less_free_quote_never_gives_a_larger_size(entry: EntryRequest, missing: Decimal) -> None:
    risk = RiskManager(Settings())
    poorer = replace(entry.account, quote_free=max(entry.account.quote_free - missing, Decimal(0)))
    less = risk.judge(replace(entry, account=replace(poorer, quote_total=poorer.quote_free)))
    assert less.size_quote <= risk.judge(entry).size_quote
