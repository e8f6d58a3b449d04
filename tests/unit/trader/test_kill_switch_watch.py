"""What the kill switch makes of a running bot, and of a book before and after."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from bn_ml.domain.market import ZERO, Symbol
from bn_ml.domain.orders import IntentRecord, IntentState, Purpose, Side
from bn_ml.processes import ProcessState
from tests.fakes.book_builders import BTC, ETH, a_fill, a_position, an_intent
from trader.kill_switch import (
    FLAT,
    NOT_FLAT,
    NOT_IN_WALLET,
    ONLY_DUST,
    PATIENCE_S,
    Holdings,
    Sign,
    SymbolResult,
    Verdict,
    Watch,
    exit_code,
    symbol_results,
)

EPOCH = 7
START = Sign(ProcessState.RUNNING, "beat 0", 3, (1, 1, 1, 1), is_flat=False)
NOTHING = Holdings((), (), {})


def watch(until_s: float = 60.0) -> Watch:
    return Watch(START, EPOCH, now_s=0.0, until_s=until_s)


def test_a_flat_bot_is_done_whatever_else_is_seen() -> None:
    assert watch().judge(replace(START, is_flat=True, process=ProcessState.STOPPED), 99.0) is Verdict.DONE


@pytest.mark.parametrize("state", [ProcessState.STOPPED, ProcessState.ZOMBIE, ProcessState.GONE])
def test_a_bot_that_cannot_move_is_replaced_at_once(state: ProcessState) -> None:
    assert watch().judge(replace(START, process=state), 0.0) is Verdict.REPLACE


@pytest.mark.parametrize(
    ("at_s", "expected"),
    [(PATIENCE_S - 0.1, Verdict.WAIT), (PATIENCE_S, Verdict.REPLACE), (PATIENCE_S + 0.1, Verdict.REPLACE)],
)
def test_going_round_alone_is_no_acknowledgement(at_s: float, expected: Verdict) -> None:
    watching = watch()
    for tick in range(5):
        assert watching.judge(replace(START, beat=f"beat {tick}"), float(tick)) is Verdict.WAIT
    assert watching.judge(replace(START, beat="beat 9"), at_s) is expected


def test_every_write_renews_the_patience() -> None:
    watching = watch()
    assert watching.judge(replace(START, mark=(2, 1, 1, 1)), 9.0) is Verdict.WAIT
    assert watching.judge(replace(START, mark=(3, 1, 1, 1)), 18.0) is Verdict.WAIT
    assert watching.judge(replace(START, mark=(3, 1, 1, 1)), 27.9) is Verdict.WAIT
    assert watching.judge(replace(START, mark=(3, 1, 1, 1)), 28.0) is Verdict.REPLACE


def test_a_bot_that_understood_is_kept_while_the_exchange_is_away() -> None:
    watching = watch()
    seen = replace(START, epoch_seen=EPOCH)
    for second in range(1, 40):
        sign = replace(seen, beat=f"beat {second}")
        assert watching.judge(sign, float(second), reachable=False) is Verdict.WAIT
    assert watching.judge(replace(seen, beat="beat 39"), 50.0, reachable=False) is Verdict.REPLACE


def test_a_bot_that_never_understood_is_replaced_although_the_exchange_is_away() -> None:
    assert watch().judge(replace(START, beat="beat 1"), PATIENCE_S, reachable=False) is Verdict.REPLACE


@pytest.mark.parametrize(("at_s", "expected"), [(4.9, Verdict.WAIT), (5.0, Verdict.GIVE_UP), (5.1, Verdict.GIVE_UP)])
def test_time_ends_the_watch(at_s: float, expected: Verdict) -> None:
    assert watch(until_s=5.0).judge(START, at_s) is expected


def record(state: IntentState, symbol: Symbol = BTC, client_id: str = "bnml-1") -> IntentRecord:
    return IntentRecord(replace(an_intent(client_id, purpose=Purpose.STOP), symbol=symbol), state)


def test_a_line_counts_cancels_sales_and_what_is_left() -> None:
    before = Holdings([a_position()], [record(IntentState.OPEN)], {BTC: Decimal("0.4995")})
    after = Holdings((), (), {BTC: Decimal("0.0005")})
    sale = replace(a_fill("2", side=Side.SELL), quantity=Decimal("0.499"))
    (line,) = symbol_results(
        before,
        after,
        fills=[sale, a_fill("1"), replace(sale, symbol=ETH, trade_id="3")][:2],
        finished=[record(IntentState.CANCELED), record(IntentState.FILLED, client_id="bnml-2")],
        why={},
    )
    assert line == SymbolResult(BTC, 1, Decimal("0.499"), ZERO, Decimal("0.0005"), "too small to sell")
    assert exit_code([line], after) == ONLY_DUST


def test_what_is_held_is_not_dust_and_not_flat() -> None:
    held = Holdings([a_position()], (), {BTC: Decimal("0.4995")})
    (line,) = symbol_results(held, held, fills=(), finished=(), why={})
    assert line == SymbolResult(BTC, 0, ZERO, Decimal("0.4995"), ZERO, "not sold yet")
    assert exit_code([line], held) == NOT_FLAT


def test_what_the_wallet_does_not_hold_is_flat() -> None:
    held = Holdings([a_position()], (), {})
    lines = symbol_results(held, held, fills=(), finished=(), why={BTC: NOT_IN_WALLET})
    assert exit_code(lines, held) == FLAT


def test_an_unfinished_order_is_not_flat() -> None:
    after = Holdings((), [record(IntentState.UNKNOWN, ETH)], {})
    (line,) = symbol_results(NOTHING, after, fills=(), finished=(), why={})
    assert (line.symbol, line.why) == (ETH, "1 orders unfinished")
    assert exit_code([line], after) == NOT_FLAT


def test_nothing_is_flat() -> None:
    assert symbol_results(NOTHING, NOTHING, fills=(), finished=(), why={}) == ()
    assert exit_code((), NOTHING) == FLAT


def test_the_exit_codes_are_those_users_were_promised() -> None:
    assert (FLAT, ONLY_DUST, NOT_FLAT) == (0, 3, 4)
