"""Figures as words on a page: sensible digits, signs and units, the exact value beside them. Escapes all."""

from __future__ import annotations

import html
from collections.abc import Callable

Shown = Callable[[float], str]
ABSENT = '<span class="absent" title="not known">n/a</span>'


def escape(text: object) -> str:
    """Make a text safe between tags and inside quoted attributes; what XML and HTML cannot hold becomes `?`."""
    plain = "".join(letter if _is_printable(letter) else "?" for letter in str(text))
    return html.escape(plain, quote=True)


def figure(value: float | None, shown: Shown) -> str:
    """Give a figure as `<data value="exact">shown</data>`; what is not known says so.

    >>> figure(-0.0793, percent)
    '<data value="-0.0793">-7.9 %</data>'
    """
    if value is None:
        return ABSENT
    return f'<data value="{value!r}">{escape(shown(value))}</data>'


def signed_figure(value: float | None, shown: Shown) -> str:
    """Give a figure coloured by its sign, which is written as well."""
    if value is None:
        return ABSENT
    tone = "gain" if value > 0 else "loss" if value < 0 else "even"
    return f'<span class="{tone}">{figure(value, shown)}</span>'


def percent(fraction: float) -> str:
    """Give a fraction in percent.

    >>> percent(0.0123), percent(0.000123), percent(1.5)
    ('1.2 %', '0.012 %', '150.0 %')
    """
    value = 100 * fraction
    return f"{_short(value)} %"


def signed_percent(fraction: float) -> str:
    """Give a fraction in percent with its sign."""
    return f"+{percent(fraction)}" if fraction > 0 else percent(fraction)


def share(fraction: float) -> str:
    """Give a share in percent, one digit."""
    return f"{100 * fraction:.1f} %"


def money(amount: float) -> str:
    """Give an amount: two digits behind the point, more for little ones.

    >>> money(1234.5), money(-0.0123)
    ('1,234.50', '-0.0123')
    """
    size = abs(amount)
    if amount == 0 or size >= 1:
        return f"{amount:,.2f}"
    return f"{amount:.4f}" if size >= 0.001 else f"{amount:.2g}"


def signed_money(amount: float) -> str:
    """Give an amount with its sign."""
    return f"+{money(amount)}" if amount > 0 else money(amount)


def price(amount: float) -> str:
    """Give a price with up to eight significant digits, never in exponent form."""
    return f"{amount:.8f}".rstrip("0").rstrip(".") if abs(amount) < 1 else f"{amount:.8g}"


def basis_points(value: float) -> str:
    """Give basis points with their sign."""
    return f"{value:+.1f} bp" if abs(value) >= 0.05 else f"{value:+.1g} bp"


def ratio(value: float) -> str:
    """Give a ratio with two digits."""
    return f"{value:,.2f}"


def count(value: float) -> str:
    """Give a whole number.

    >>> count(12345.0)
    '12,345'
    """
    return f"{value:,.0f}"


def hours(value: float) -> str:
    """Give hours with one digit."""
    return f"{value:.1f} h"


def days(value: float) -> str:
    """Give days with one digit."""
    return f"{value:.1f} d"


def p_value(value: float) -> str:
    """Give a probability: two digits, more for small ones."""
    return f"{value:.2f}" if value >= 0.01 or value == 0 else f"{value:.1g}"


def instant(text: str) -> str:
    """Give an ISO instant to the minute, as UTC is everywhere.

    >>> instant("2023-06-01T00:15:00.000Z")
    '2023-06-01 00:15'
    """
    return text[:16].replace("T", " ")


def _short(value: float) -> str:
    size = abs(value)
    if size >= 0.1 or size == 0:
        return f"{value:,.1f}"
    return f"{value:.2g}" if size >= 1e-4 else f"{value:.0e}"


def _is_printable(letter: str) -> bool:
    code = ord(letter)
    return letter in "\t\n" or (
        code >= 0x20 and not 0x7F <= code < 0xA0 and not 0xD800 <= code < 0xE000 and code & 0xFFFE != 0xFFFE
    )
