"""Every code on the lists by which answers are judged, and its neighbours, which are not on them."""

from __future__ import annotations

import json

import pytest

from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused, Transient
from bn_ml.http_answers import HttpAnswer
from bn_ml.order_answers import NotKnown, VenueRefusal, canceled, placed, read, replaced, venue_refusal

REFUSING = {-1013, -1021, -2010, -2014, -2015, *range(-1199, -1099)}
PASSING = {-1000, -1001, -1003, -1006, -1007, -1008, -1015, -1016, -1021, -2026}
CERTAIN_HALF = REFUSING | {-1003, -1015}


def beside(codes: set[int]) -> set[int]:
    return {near for code in codes for near in (code - 1, code, code + 1)}


def error(code: int, status: int = 400, **more: object) -> HttpAnswer:
    return HttpAnswer(status, json.dumps({"code": code, "msg": "no", **more}))


def half_done(code: int) -> HttpAnswer:
    data = {
        "cancelResult": "SUCCESS",
        "newOrderResult": "FAILURE",
        "cancelResponse": {"symbol": "BTCUSDC"},
        "newOrderResponse": {"code": code, "msg": "no"},
    }
    return error(-2021, 409, data=data)


def nothing_done(cancel: dict[str, object] | None, order: dict[str, object] | None) -> HttpAnswer:
    results = {"cancelResult": "FAILURE", "newOrderResult": "FAILURE" if order else "NOT_ATTEMPTED"}
    return error(-2022, 400, data={**results, "cancelResponse": cancel, "newOrderResponse": order})


@pytest.mark.parametrize("code", sorted(beside(REFUSING)))
def test_an_order_is_refused_by_the_codes_on_the_list_and_by_no_other(code: int) -> None:
    with pytest.raises(Refused if code in REFUSING else OutcomeUnknown):
        placed(error(code))


@pytest.mark.parametrize("code", sorted(beside(PASSING)))
def test_a_read_is_repeated_for_the_codes_that_pass_and_for_no_other(code: int) -> None:
    with pytest.raises(ExchangeError) as caught:
        read(error(code))
    assert isinstance(caught.value, Transient) == (code in PASSING)
    assert not isinstance(caught.value, NotKnown)


@pytest.mark.parametrize("code", sorted(beside(CERTAIN_HALF)))
def test_a_half_done_replacement_is_certain_for_refusals_and_rate_limits_alone(code: int) -> None:
    if code in CERTAIN_HALF:
        assert replaced(half_done(code)) == ({"symbol": "BTCUSDC"}, VenueRefusal(code, "no"))
    else:
        with pytest.raises(OutcomeUnknown):
            replaced(half_done(code))


@pytest.mark.parametrize("code", [-2014, -2013, -2012, -2011, -2010, -1003, -1015, -1016, -1007])
def test_which_part_of_a_failed_replacement_names_the_reason(code: int) -> None:
    refusal = {"code": code, "msg": "no"}
    for answer, certain in (
        (nothing_done(refusal, None), code in REFUSING or code == -2011),
        (nothing_done({"code": -2011, "msg": "Unknown order sent."}, refusal), code in CERTAIN_HALF),
    ):
        with pytest.raises(Refused if certain else OutcomeUnknown) as caught:
            replaced(answer)
        if certain:
            assert (caught.value.code, str(caught.value)) == (code, "no")


def test_a_failed_replacement_without_a_reason_is_refused_under_its_own_code() -> None:
    with pytest.raises(Refused, match="nothing was done") as caught:
        replaced(nothing_done(None, None))
    assert caught.value.code == -2022


def test_an_order_is_only_unknown_to_the_venue_when_it_says_so_properly() -> None:
    with pytest.raises(NotKnown):
        read(error(-2013))
    for answer in (error(-2013, 401), error(-2013, 404), error(-2012), error(-2014)):
        with pytest.raises(ExchangeError) as caught:
            read(answer)
        assert not isinstance(caught.value, NotKnown | Transient)
    for status in (500, 503, 599):
        with pytest.raises(Transient):
            read(error(-2013, status))
    with pytest.raises(ExchangeError) as caught:
        read(error(-2013, 499))
    assert not isinstance(caught.value, Transient)


@pytest.mark.parametrize("code", [0, 1, 2013])
def test_an_error_has_a_negative_code(code: int) -> None:
    assert venue_refusal(error(code)) is None
    assert venue_refusal(error(-1)) == VenueRefusal(-1, "no")


def test_a_cancel_finds_nothing_only_in_the_venue_s_own_words() -> None:
    unknown = HttpAnswer(400, json.dumps({"code": -2011, "msg": "Unknown order sent."}))
    assert canceled(unknown) is None
    with pytest.raises(Refused):
        canceled(error(-2011))
    for answer in (error(-2012), error(-2010 - 2)):
        with pytest.raises(OutcomeUnknown):
            canceled(answer)


def test_a_refusal_is_shown_with_its_code_and_its_text() -> None:
    assert str(VenueRefusal(-2010, "Market is closed.")) == "-2010 Market is closed."
    with pytest.raises(NotKnown, match=r"^-2013 no$"):
        read(error(-2013))
