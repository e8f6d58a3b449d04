"""When an answer to an order counts as accepted, as refused, and when its outcome is unknown."""

from __future__ import annotations

import json

import pytest

from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer
from bn_ml.order_answers import NotKnown, VenueRefusal, canceled, placed, read, replaced, venue_refusal
from tests.fakes.recorded_answers import recorded

UNKNOWN_CODES = {-1000, -1001, -1002, -1006, -1007, -1008, -1014, -1022, -1222, -1223, -2011, -2013, -2026, -2039}


def error(code: int, text: str = "Filter failure: LOT_SIZE", status: int = 400, **more: object) -> HttpAnswer:
    return HttpAnswer(status, json.dumps({"code": code, "msg": text, **more}))


def test_every_recorded_error_is_judged_as_the_list_says() -> None:
    seen = set()
    for entry in recorded("errors/error_catalogue.json"):
        answer = HttpAnswer(entry["http"], json.dumps(entry["body"]), {"retry-after": "7"})
        code, text = entry["body"]["code"], entry["body"]["msg"]
        seen.add(code)
        unknown = code in UNKNOWN_CODES or text == "Duplicate order sent."
        with pytest.raises(OutcomeUnknown if unknown else Refused) as caught:
            placed(answer)
        if not unknown:
            assert (caught.value.code, text in str(caught.value)) == (code, True)
    assert len(seen) > 30


def test_a_page_of_html_leaves_the_outcome_unknown() -> None:
    for entry in recorded("errors/http_non_json_bodies.json"):
        answer = HttpAnswer(entry["http"], entry["body"])
        for judge in (placed, canceled, replaced):
            with pytest.raises(OutcomeUnknown):
                judge(answer)
        with pytest.raises(Transient):
            read(answer)


@pytest.mark.parametrize("code", [-1013, -1021, -1100, -1130, -1131, -1158, -1199, -2010, -2014, -2015])
@pytest.mark.parametrize("status", [400, 401])
def test_a_listed_code_is_a_refusal(code: int, status: int) -> None:
    with pytest.raises(Refused) as caught:
        placed(error(code, "no", status))
    assert (caught.value.code, str(caught.value)) == (code, "no")


@pytest.mark.parametrize(
    "code", [-1099, -1200, -1012, -1014, -2009, -2011, -2012, -2016, -1006, -1007, 0, 1013, -10130]
)
def test_a_code_beside_the_list_is_no_refusal(code: int) -> None:
    with pytest.raises(OutcomeUnknown):
        placed(error(code))


@pytest.mark.parametrize(
    "status", [201, 202, 204, 301, 307, 402, 403, 404, 408, 409, 410, 451, 500, 502, 503, 504, 520]
)
def test_a_listed_code_under_another_status_is_no_refusal(status: int) -> None:
    with pytest.raises(OutcomeUnknown):
        placed(error(-1013, status=status))


@pytest.mark.parametrize("text", ["Duplicate order sent.", "duplicate order", "Duplicate listClientOrderId sent."])
def test_a_duplicate_proves_that_an_order_of_ours_is_open(text: str) -> None:
    with pytest.raises(OutcomeUnknown):
        placed(error(-2010, text))


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("body", ['{"code":-1015,"msg":"Too many new orders"}', "<html>", "", '{"code":-1003,"m'])
def test_a_request_turned_away_for_its_rate_was_not_carried_out(status: int, body: str) -> None:
    for judge in (placed, canceled, replaced):
        with pytest.raises(Refused, match=f"status {status}"):
            judge(HttpAnswer(status, body))
    with pytest.raises(Unreachable):
        read(HttpAnswer(status, body))


BROKEN = [
    "",
    " ",
    "null garbage",
    '{"symbol":"BTC',
    '{"code":-1013,"msg":"x"',
    '{"code":-1013,"msg":"x"}{}',
    '{"code":-1013,"code":-1013,"msg":"x"}',
    '{"a":NaN}',
    '{"a":-Infinity}',
    "[" * 100_000,
    "1" * 5000,
]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_body_proves_nothing(status: int, body: str) -> None:
    for judge in (placed, canceled, replaced):
        with pytest.raises(OutcomeUnknown):
            judge(HttpAnswer(status, body))
    with pytest.raises(Transient):
        read(HttpAnswer(status, body))


@pytest.mark.parametrize(
    "body",
    [
        '{"code":"-1013","msg":"x"}',
        '{"code":-1013.0,"msg":"x"}',
        '{"code":true,"msg":"x"}',
        '{"code":-1013}',
        '{"code":-1013,"msg":""}',
        '{"code":-1013,"msg":7}',
        '{"msg":"Filter failure: LOT_SIZE"}',
        '[{"code":-1013,"msg":"x"}]',
        '"-1013"',
    ],
)
def test_an_error_not_written_as_the_venue_writes_it_is_no_refusal(body: str) -> None:
    assert venue_refusal(HttpAnswer(400, body)) is None
    with pytest.raises(OutcomeUnknown):
        placed(HttpAnswer(400, body))


def test_a_cancel_of_an_order_that_is_not_open_finds_nothing() -> None:
    assert canceled(error(-2011, "Unknown order sent.")) is None


def test_a_cancel_turned_down_leaves_the_order_as_it_was() -> None:
    with pytest.raises(Refused, match="restrictions"):
        canceled(error(-2011, "Order was not canceled due to cancel restrictions."))
    with pytest.raises(Refused):
        canceled(error(-2015, "Invalid API-key, IP, or permissions for action.", 401))


@pytest.mark.parametrize("answer", [error(-2011, "Unknown order sent.", 500), error(-2013, "Order does not exist.")])
def test_a_cancel_answered_otherwise_is_unclear(answer: HttpAnswer) -> None:
    with pytest.raises(OutcomeUnknown):
        canceled(answer)


HALF = "errors/cancel_an_existing_order_and_send_a_new_order__response_when_c_6e1b46.json"
NEITHER = "errors/cancel_an_existing_order_and_send_a_new_order__response_when_b_a1be5a.json"
NOT_TRIED = "errors/cancel_an_existing_order_and_send_a_new_order__response_when_c_72898f.json"


def test_a_half_done_replacement_gives_the_cancel_and_why_the_new_order_failed() -> None:
    body = recorded(HALF)
    ended, refusal = replaced(HttpAnswer(409, json.dumps(body)))
    assert ended == body["data"]["cancelResponse"]
    assert refusal == VenueRefusal(-2010, "Order would immediately match and take.")


def test_a_half_done_replacement_turned_down_for_its_rate_is_certain() -> None:
    body = recorded("ws_api/cancel_and_replace_order__response_7.json")["error"]
    _, refusal = replaced(HttpAnswer(409, json.dumps(body)))
    assert isinstance(refusal, VenueRefusal)
    assert refusal.code == -1015


@pytest.mark.parametrize(("name", "code"), [(NEITHER, -2010), (NOT_TRIED, -2011)])
def test_a_replacement_that_did_nothing_is_refused(name: str, code: int) -> None:
    with pytest.raises(Refused) as caught:
        replaced(HttpAnswer(400, json.dumps(recorded(name))))
    assert caught.value.code == code


def test_a_new_order_that_outlived_a_failed_cancel_is_unclear() -> None:
    body = recorded("ws_api/cancel_and_replace_order__response_4.json")["error"]
    assert (body["data"]["cancelResult"], body["data"]["newOrderResult"]) == ("FAILURE", "SUCCESS")
    with pytest.raises(OutcomeUnknown):
        replaced(HttpAnswer(409, json.dumps(body)))


def half_done(status: int = 409, code: int = -2021, **changes: object) -> HttpAnswer:
    data: dict[str, object] = {
        "cancelResult": "SUCCESS",
        "newOrderResult": "FAILURE",
        "cancelResponse": {"symbol": "BTCUSDC"},
        "newOrderResponse": {"code": -2010, "msg": "Order would trigger immediately."},
        **changes,
    }
    return error(code, "Order cancel-replace partially failed.", status, data=data)


@pytest.mark.parametrize(
    "answer",
    [
        half_done(400),
        half_done(500),
        half_done(200),
        half_done(code=-2022),
        half_done(newOrderResult="SUCCESS"),
        half_done(cancelResult="FAILURE"),
        half_done(newOrderResult="NOT_ATTEMPTED"),
        half_done(cancelResponse=None),
        half_done(newOrderResponse=None),
        half_done(newOrderResponse={"code": -1007, "msg": "Timeout"}),
        half_done(newOrderResponse={"code": -2010, "msg": "Duplicate order sent."}),
        half_done(newOrderResponse={"code": "-2010", "msg": "no"}),
        error(-2021, "no data", 409),
        error(-2022, "no data", 400),
        error(-2021, "data is no object", 409, data=[1]),
    ],
)
def test_a_replacement_that_contradicts_itself_is_unclear(answer: HttpAnswer) -> None:
    with pytest.raises(OutcomeUnknown):
        replaced(answer)


def nothing_done(**changes: object) -> HttpAnswer:
    data: dict[str, object] = {
        "cancelResult": "FAILURE",
        "newOrderResult": "NOT_ATTEMPTED",
        "cancelResponse": {"code": -2011, "msg": "Unknown order sent."},
        "newOrderResponse": None,
        **changes,
    }
    return error(-2022, "Order cancel-replace failed.", data=data)


@pytest.mark.parametrize(
    "changes",
    [
        {"cancelResult": "SUCCESS"},
        {"newOrderResult": "SUCCESS"},
        {"cancelResponse": {"code": -1006, "msg": "unexpected response"}},
        {"cancelResponse": {"symbol": "BTCUSDC"}},
        {"newOrderResponse": {"code": -1007, "msg": "timeout"}},
        {"newOrderResponse": {"code": -2010, "msg": "Duplicate order sent."}},
    ],
)
def test_nothing_done_must_be_said_of_both_parts(changes: dict[str, object]) -> None:
    with pytest.raises(OutcomeUnknown):
        replaced(nothing_done(**changes))


def test_nothing_done_without_reasons_is_still_nothing_done() -> None:
    with pytest.raises(Refused) as caught:
        replaced(nothing_done(cancelResponse=None))
    assert caught.value.code == -2022


def test_a_plain_refusal_of_a_replacement_did_nothing() -> None:
    with pytest.raises(Refused, match="MAX_NUM_ALGO_ORDERS"):
        replaced(error(-2010, "Filter failure: MAX_NUM_ALGO_ORDERS"))


@pytest.mark.parametrize(
    "body",
    [
        {"cancelResult": "SUCCESS", "newOrderResult": "FAILURE", "cancelResponse": {}, "newOrderResponse": {}},
        {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS", "cancelResponse": {}},
        {"symbol": "BTCUSDC"},
        [],
    ],
)
def test_a_replacement_with_status_200_must_have_done_both(body: object) -> None:
    with pytest.raises(OutcomeUnknown):
        replaced(HttpAnswer(200, json.dumps(body)))


def test_a_read_tells_an_order_that_does_not_exist_from_every_other_failure() -> None:
    with pytest.raises(NotKnown):
        read(error(-2013, "Order does not exist."))
    with pytest.raises(Transient):
        read(error(-2013, "Order does not exist.", 503))
    with pytest.raises(ExchangeError) as caught:
        read(error(-2013, "Order does not exist.", 404))
    assert not isinstance(caught.value, NotKnown)


@pytest.mark.parametrize("code", [-1000, -1001, -1003, -1006, -1007, -1008, -1021])
def test_a_read_that_failed_for_a_passing_cause_may_be_repeated(code: int) -> None:
    with pytest.raises(Transient):
        read(error(code))


@pytest.mark.parametrize("code", [-1002, -1022, -1102, -1121, -2014, -2015])
def test_a_read_refused_for_good_is_not_repeated(code: int) -> None:
    with pytest.raises(ExchangeError) as caught:
        read(error(code, status=401))
    assert not isinstance(caught.value, Transient)
