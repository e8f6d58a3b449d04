"""How the dashboard writes amounts, shares and ages; what is unknown is written as a dash."""

from __future__ import annotations

import math

from monitoring.plain_values import number

UNKNOWN = "-"
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def known(value: float | None) -> bool:
    """Tell whether a number says anything."""
    return value is not None and math.isfinite(value)


def amount(value: object) -> float:
    """Give a number that was stored as one or as text, NaN for anything else.

    >>> amount("1.5"), amount(2), amount(None)
    (1.5, 2.0, nan)
    """
    if not isinstance(value, str):
        return number(value)
    try:
        return float(value)
    except ValueError:
        return math.nan


def money(value: float | None, asset: str = "") -> str:
    """Write an amount of the quote asset.

    >>> money(1234.5, "USDC")
    '1,234.50 USDC'
    """
    return UNKNOWN if value is None or not known(value) else _with(f"{_no_minus_zero(value, 2):,.2f}", asset)


def signed(value: float | None, asset: str = "") -> str:
    """Write a gain or loss with its sign, small ones with more digits.

    >>> signed(1.5), signed(-0.001), signed(-0.00001)
    ('+1.50', '-0.0010', '+0.0000')
    """
    if value is None or not known(value):
        return UNKNOWN
    digits = 4 if 0.0 < abs(value) < 0.1 else 2
    return _with(f"{_no_minus_zero(value, digits):+,.{digits}f}", asset)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Write a fraction as a share.

    >>> percent(0.0342)
    '3.4 %'
    """
    if fraction is None or not known(fraction):
        return UNKNOWN
    return f"{_no_minus_zero(100.0 * fraction, digits):,.{digits}f} %"


def signed_percent(fraction: float | None, digits: int = 2) -> str:
    """Write a change with its sign.

    >>> signed_percent(-0.012)
    '-1.20 %'
    """
    if fraction is None or not known(fraction):
        return UNKNOWN
    return f"{_no_minus_zero(100.0 * fraction, digits):+,.{digits}f} %"


def price(value: float | None) -> str:
    """Write a price with about six telling digits.

    >>> price(42000.0), price(0.000012345), price(112.6034)
    ('42,000.0', '0.0000123450', '112.603')
    """
    if value is None or not known(value):
        return UNKNOWN
    if value == 0.0:
        return "0"
    digits = min(max(5 - math.floor(math.log10(abs(value))), 1), 10)
    return f"{value:,.{digits}f}"


def age(seconds: float | None) -> str:
    """Write how long something is or was, in its largest fitting unit.

    >>> age(42.0), age(380.0), age(9000.0), age(200000.0)
    ('42 s', '6 min', '2.5 h', '2.3 d')
    """
    if seconds is None or not known(seconds):
        return UNKNOWN
    for length, unit in _UNITS:
        if abs(seconds) >= length:
            shown = seconds / length
            return f"{shown:.0f} {unit}" if unit == "min" or shown >= 100.0 else f"{shown:.1f} {unit}"
    return f"{seconds:.0f} s"


def _with(text: str, asset: str) -> str:
    return f"{text} {asset}" if asset else text


def _no_minus_zero(value: float, digits: int) -> float:
    shown = round(value, digits)
    return 0.0 if shown == 0.0 else shown
