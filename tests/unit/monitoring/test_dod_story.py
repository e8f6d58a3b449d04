"""The order in which a day is lived through, and what is held after each step."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from bn_ml.domain.market import from_ms
from bn_ml.settings import Settings
from monitoring.dod import judged
from monitoring.dod_findings import Violation
from monitoring.dod_rows import BookPosition, Payload, Rows, ToldRow
from monitoring.dod_story import StepKind, Story, timeline
from tests.fakes.dod_days import DAY, MINUTE_MS, WINDOW, HandWritten, units

AFTER = WINDOW.end + timedelta(hours=1)
AT = WINDOW.begin_ms + 30 * MINUTE_MS


def fact(number: int, at_ms: int, kind: str, **payload: str) -> ToldRow:
    return ToldRow(number, at_ms, 1, kind, Payload(**payload))


def bare(rows: Rows) -> bool:
    report = judged(rows, DAY, Settings.from_mapping({"base_quote": "USDC"}), now=AFTER)
    return Violation.NO_STOP in {item.violation for item in report.found}


def a_day(*, covered: float = 0.0) -> Rows:
    day = HandWritten()
    day.buys("A/USDC", 30, size=10.0, covered=covered)
    return day.rows()


def closed(position_id: str, at_ms: int) -> BookPosition:
    return BookPosition(position_id, "A/USDC", from_ms(AT), Decimal(0), Decimal(10), closed_at=from_ms(at_ms))


def test_what_the_journal_does_not_tell_takes_its_place_by_its_own_time() -> None:
    rows = a_day(covered=1.0)
    told = (fact(7, AT, "OrderSent", client_id="e0"),)

    kinds = [(step.kind, step.intent.client_id if step.intent else "") for step in timeline(replace(rows, told=told))]

    assert kinds == [
        (StepKind.SENT, "e0"),
        (StepKind.SENT, "se0"),
        (StepKind.FILLED, "e0"),
        (StepKind.ENDED, "e0"),
    ]


def test_a_trade_learned_of_late_is_known_from_then_on() -> None:
    rows = a_day()
    told = (
        fact(1, AT, "OrderSent", client_id="e0"),
        fact(2, AT + MINUTE_MS, "CycleStarted"),
        fact(3, AT, "OrderFilled", symbol="A/USDC", trade_id="te0", client_id="e0"),
        fact(4, AT + MINUTE_MS, "OrderFinished", client_id="e0"),
    )

    assert [step.at_ms - AT for step in timeline(replace(rows, told=told))] == [0, *[MINUTE_MS] * 3]


def test_a_position_with_an_order_nobody_can_account_for_is_in_doubt_until_it_is_settled() -> None:
    rows = a_day(covered=1.0)
    stop = replace(rows.intents[1], state="UNKNOWN", qty=1)
    doubt = fact(9, AT, "OrderOutcomeUnknown", client_id="se0")
    sent = (fact(1, AT, "OrderSent", client_id="e0"), fact(8, AT, "OrderSent", client_id="se0"))
    unclear = replace(rows, intents=(rows.intents[0], stop), told=(*sent, doubt))

    assert not bare(unclear)
    ended = replace(stop, state="CANCELED", resolved_ms=AT + MINUTE_MS)
    settled = fact(10, AT + MINUTE_MS, "OrderFinished", client_id="se0")
    assert bare(replace(unclear, intents=(rows.intents[0], ended), told=(*sent, doubt, settled)))


def test_what_was_written_off_or_went_missing_needs_no_stop_any_more() -> None:
    rows = a_day()
    assert bare(rows)
    assert not bare(replace(rows, positions=(closed("e0", AT + 1000),)))
    assert bare(replace(rows, positions=(closed("e0", AT + 9000),)))

    gone = fact(1, AT + 1000, "PositionReconciled", position_id="e0", missing="10")
    assert not bare(replace(rows, told=(gone,)))


def test_what_comes_after_the_end_of_a_position_is_dust() -> None:
    rows = a_day(covered=1.0)
    story = Story(replace(rows, positions=(closed("e0", AT),)))
    late = replace(rows.fills[0], id=5, trade_id="late", at_ms=AT + MINUTE_MS)
    for step in timeline(replace(story.rows, fills=(*rows.fills, late))):
        story.take_in(step.at_ms)
        story.apply(step)

    assert story.holdings == {}
    assert story.cash["A"] == units(20.0)
    assert story.cash["USDC"] == units(980.0)


def test_the_lot_of_a_symbol_is_what_divides_all_its_orders_once_its_plans_are_gone() -> None:
    rows = a_day(covered=0.995)
    assert bare(rows)
    # Without the plan 10 and 9.95 are lots of 0.05; what is held beyond whole lots needs no stop.
    held = replace(rows, plans={}, fills=(replace(rows.fills[0], fee=units(0.03), fee_asset="A"),))
    short = replace(held, intents=(rows.intents[0], replace(rows.intents[1], qty=units(9.95))))

    assert not bare(short)
