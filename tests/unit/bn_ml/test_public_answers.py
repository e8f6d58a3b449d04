"""What an answer about the market means: to be read, to be asked for again, or refused."""

from __future__ import annotations

import json

import pytest

from bn_ml.errors import ExchangeError, MarketDataError, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer
from bn_ml.public_answers import public_list, public_object
from tests.fakes.live_orders import ok, refusal

JUDGES = (public_object, public_list)


def test_an_object_and_a_list_are_read() -> None:
    assert public_object(ok({"serverTime": 5})) == {"serverTime": 5}
    assert public_list(ok([[1, "2"], "x"])) == [[1, "2"], "x"]


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("body", ["", "<html>", '{"a": 1', "[1", "5", "null", "NaN", "[" * 100_000])
def test_a_body_that_cannot_be_read_is_asked_for_again(judge: object, body: str) -> None:
    assert callable(judge)
    with pytest.raises(Transient) as caught:
        judge(HttpAnswer(200, body))
    assert not isinstance(caught.value, Unreachable)


def test_the_other_kind_of_body_is_asked_for_again() -> None:
    with pytest.raises(Transient, match="no object"):
        public_object(ok([]))
    with pytest.raises(Transient, match="no list"):
        public_list(ok({}))


@pytest.mark.parametrize("status", [400, 403, 404, 500, 502, 503, 504])
def test_a_page_in_place_of_an_answer_is_asked_for_again(status: int) -> None:
    with pytest.raises(Transient):
        public_object(HttpAnswer(status, "<html><head><title>Bad</title></head></html>"))


@pytest.mark.parametrize(
    ("code", "status"),
    [(-1000, 400), (-1001, 500), (-1006, 500), (-1007, 504), (-1008, 503), (-1008, 400), (-1016, 503), (-1100, 500)],
)
def test_a_passing_error_is_asked_for_again(code: int, status: int) -> None:
    with pytest.raises(Transient):
        public_list(refusal(code, "busy", status))


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("code", [-1003, -1121])
def test_a_wish_to_be_left_alone_says_nothing_of_the_symbol(status: int, code: int) -> None:
    with pytest.raises(Unreachable):
        public_list(HttpAnswer(status, json.dumps({"code": code, "msg": "Too much request weight used."})))


def test_an_unknown_symbol_is_named_and_another_refusal_stands() -> None:
    with pytest.raises(MarketDataError) as unknown:
        public_list(refusal(-1121, "Invalid symbol."))
    assert unknown.value.reason == "data_unavailable"
    with pytest.raises(ExchangeError) as refused:
        public_list(refusal(-1100, "Illegal characters found in a parameter."))
    assert not isinstance(refused.value, Transient)
