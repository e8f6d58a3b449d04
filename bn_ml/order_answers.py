"""Judges what the venue answers to orders: accepted, refused for certain, or unknown.

A refusal is certain only if it is on the list: a readable error of the venue with status 400 or 401 and one of the
codes below, or status 429 or 418. Whatever else is not a clean acceptance leaves the outcome unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from bn_ml.answer_fields import Fields, Garbled, parsed
from bn_ml.errors import ExchangeError, OutcomeUnknown, Refused, Transient, Unreachable
from bn_ml.http_answers import HttpAnswer

STAY_AWAY = (429, 418)
CLOCK_REFUSED = -1021
NO_SUCH_ORDER = -2013
NOT_CANCELED = -2011
HALF_REPLACED = -2021
NOT_REPLACED = -2022
_UNKNOWN_ORDER_TEXT = "Unknown order sent."
_REFUSING = frozenset((-1013, CLOCK_REFUSED, -2010, -2014, -2015))
# The whole family -11xx is about how a request is written, the structure of order lists included: it is refused before
# anything is placed.
_MALFORMED = range(-1199, -1099)
_OVER_LIMIT = (-1003, -1015)
_REFUSING_STATUS = (400, 401)
_PASSING_CODES = frozenset((-1000, -1001, -1003, -1006, -1007, -1008, -1015, -1016, CLOCK_REFUSED, -2026))


@dataclass(frozen=True, slots=True)
class VenueRefusal:
    """An error in the venue's own words; `data` says more about half-done requests."""

    code: int
    text: str
    data: Fields | None = None

    @property
    def is_certain(self) -> bool:
        """Whether the error proves that nothing was placed.

        A duplicate proves the contrary: an order with our id is open, and it may be this one.
        """
        listed = self.code in _REFUSING or self.code in _MALFORMED
        return listed and "duplicate" not in self.text.lower()

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class NotKnown(ExchangeError):
    """The venue knows no such order."""


def placed(answer: HttpAnswer) -> object:
    """Give the JSON of an accepted order; raises `Refused` or `OutcomeUnknown`."""
    _require_no_pause(answer)
    if answer.status == 200:
        return _json_of_write(answer)
    refusal = venue_refusal(answer)
    if refusal is not None and answer.status in _REFUSING_STATUS and refusal.is_certain:
        raise Refused(refusal.text, refusal.code)
    raise OutcomeUnknown(_told(answer))


def canceled(answer: HttpAnswer) -> object | None:
    """Give the JSON of a cancel that was done, None when there is no such open order; raises as `placed` does."""
    refusal = venue_refusal(answer) if answer.status == 400 else None
    if refusal is not None and refusal.code == NOT_CANCELED:
        if refusal.text == _UNKNOWN_ORDER_TEXT:
            return None
        raise Refused(refusal.text, refusal.code)
    return placed(answer)


def replaced(answer: HttpAnswer) -> tuple[object, object | VenueRefusal]:
    """Give both parts of a cancel-replace: the JSON of the cancel, and that of the new order or why it was refused.

    Raises `Refused` when nothing was done, `OutcomeUnknown` when that is not certain.
    """
    refusal = venue_refusal(answer)
    if refusal is None or refusal.data is None:
        return _both_done(placed(answer))
    try:
        if answer.status == 409 and refusal.code == HALF_REPLACED:
            return _half_done(refusal.data)
        if answer.status == 400 and refusal.code == NOT_REPLACED:
            raise _nothing_done(refusal.data)
    except Garbled as error:
        raise OutcomeUnknown(f"unclear cancel-replace ({error}): {_told(answer)}") from error
    raise OutcomeUnknown(_told(answer))


def read(answer: HttpAnswer) -> object:
    """Give the JSON of a read.

    Raises `Unreachable` when the venue asks to stay away, `Transient` when asking again may help, `NotKnown` for an
    order the venue does not know, else `ExchangeError`.
    """
    if answer.status in STAY_AWAY:
        raise Unreachable(_told(answer))
    if answer.status == 200:
        try:
            return parsed(answer.body)
        except Garbled as error:
            raise Transient(str(error)) from error
    refusal = venue_refusal(answer)
    if refusal is None or answer.status >= 500 or refusal.code in _PASSING_CODES:
        raise Transient(_told(answer))
    if answer.status == 400 and refusal.code == NO_SUCH_ORDER:
        raise NotKnown(str(refusal))
    raise ExchangeError(_told(answer))


def venue_refusal(answer: HttpAnswer) -> VenueRefusal | None:
    """Give the venue's error in an answer, None when it holds no readable one."""
    try:
        return _refusal(Fields.of(parsed(answer.body)))
    except Garbled:
        return None


def _refusal(fields: Fields) -> VenueRefusal:
    code = fields.whole("code")
    if code >= 0:
        raise Garbled(f"an error has a negative code, got {code}")
    return VenueRefusal(code, fields.text("msg"), fields.object("data") if "data" in fields else None)


def _require_no_pause(answer: HttpAnswer) -> None:
    if answer.status in STAY_AWAY:
        refusal = venue_refusal(answer)
        raise Refused(_told(answer), refusal.code if refusal else 0)


def _json_of_write(answer: HttpAnswer) -> object:
    try:
        return parsed(answer.body)
    except Garbled as error:
        raise OutcomeUnknown(str(error)) from error


def _both_done(value: object) -> tuple[object, object]:
    try:
        fields = Fields.of(value)
        results = (fields.text("cancelResult"), fields.text("newOrderResult"))
        if results != ("SUCCESS", "SUCCESS"):
            raise Garbled(f"both parts must have succeeded, got {results}")
        return fields.object("cancelResponse").record, fields.object("newOrderResponse").record
    except Garbled as error:
        raise OutcomeUnknown(f"unclear cancel-replace: {error}") from error


def _half_done(data: Fields) -> tuple[object, VenueRefusal]:
    results = (data.text("cancelResult"), data.text("newOrderResult"))
    refusal = _refusal(data.object("newOrderResponse")) if results == ("SUCCESS", "FAILURE") else None
    if refusal is None or not (refusal.is_certain or refusal.code in _OVER_LIMIT):
        raise Garbled(f"half done as {results}: {refusal}")
    return data.object("cancelResponse").record, refusal


def _nothing_done(data: Fields) -> Refused:
    results = {data.text("cancelResult"), data.text("newOrderResult")}
    if not results <= {"FAILURE", "NOT_ATTEMPTED"}:
        raise Garbled(f"nothing done as {sorted(results)}")
    cancel, order = _part(data, "cancelResponse"), _part(data, "newOrderResponse")
    if cancel is not None and not (cancel.is_certain or cancel.code == NOT_CANCELED):
        raise Garbled(f"the cancel failed with {cancel}")
    if order is not None and not (order.is_certain or order.code in _OVER_LIMIT):
        raise Garbled(f"the new order failed with {order}")
    reason = order or cancel or VenueRefusal(NOT_REPLACED, "nothing was done")
    return Refused(reason.text, reason.code)


def _part(data: Fields, name: str) -> VenueRefusal | None:
    return None if data.record.get(name) is None else _refusal(data.object(name))


def _told(answer: HttpAnswer) -> str:
    return f"status {answer.status}: {answer.body[:200]!r}"
