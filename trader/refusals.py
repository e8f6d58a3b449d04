"""What a refused stop tells about itself, read from the venue's text: its codes alone mean too many things."""

from __future__ import annotations

import re
from enum import Enum

_CODE = re.compile(r"-\d+")
_LATER_CODES = frozenset({-1003, -1015})
_TOO_LATE = -1021


class Refusal(Enum):
    """What to do about a refused protective order."""

    LATER = "nothing is wrong with the order: limits, missing data"
    TOO_LATE = "it arrived outside its window: nothing is wrong with the order"
    NO_LIST = "no place for another list or order: a stop alone needs less"
    NO_STOP = "no place for another stop: fewer tranches"
    BELOW_STOP = "the price has passed the stop"
    ABOVE_TARGET = "the price has passed the target"
    CROSSED = "the price has passed stop or target"
    BALANCE = "less is free than we want to sell"
    CLOSED = "the symbol does not trade"
    INVALID = "the order breaks a rule of the symbol"


_TEXTS = (
    ("MAX_NUM_ALGO_ORDERS", Refusal.NO_STOP),
    ("MAX_NUM_ORDER_LISTS", Refusal.NO_LIST),
    ("MAX_NUM_ORDERS", Refusal.NO_LIST),
    ("would trigger immediately", Refusal.BELOW_STOP),
    ("would immediately match", Refusal.ABOVE_TARGET),
    ("relationship of the prices", Refusal.CROSSED),
    ("insufficient balance", Refusal.BALANCE),
    ("Market is closed", Refusal.CLOSED),
)


def refusal_of(reason: str) -> Refusal:
    """Read the reason kept with a refused order: the venue's code, if it sent one, and its text.

    >>> refusal_of("-2010 Order would trigger immediately.")
    <Refusal.BELOW_STOP: 'the price has passed the stop'>
    """
    for text, refusal in _TEXTS:
        if text.lower() in reason.lower():
            return refusal
    code = _CODE.match(reason)
    if code is None or int(code.group()) in _LATER_CODES:
        return Refusal.LATER
    return Refusal.TOO_LATE if int(code.group()) == _TOO_LATE else Refusal.INVALID
