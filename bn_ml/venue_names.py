"""The venue's own names of symbols, which leave out the slash."""

from __future__ import annotations

from bn_ml.domain.market import Symbol

_QUOTES = (
    "USDT", "USDC", "FDUSD", "TUSD", "USDP", "USD1", "DAI", "BTC", "ETH", "BNB", "SOL", "XRP", "DOGE", "TRX", "EUR",
    "GBP", "TRY", "BRL", "JPY", "ARS", "MXN", "ZAR", "PLN", "RON", "CZK", "UAH", "COP", "IDR", "AUD",
)  # fmt: skip


def venue_name(symbol: Symbol) -> str:
    """Give the venue's own name of a symbol.

    >>> venue_name(Symbol("BTC/USDC"))
    'BTCUSDC'
    """
    return symbol.base + symbol.quote


def symbol_named(name: str) -> Symbol:
    """Split the venue's name of a symbol by the quote assets it has; an unknown one counts as three letters.

    Raises `ValueError` for a text that is no name.

    >>> symbol_named("BTCUSDC")
    'BTC/USDC'
    """
    quote = max((quote for quote in _QUOTES if name.endswith(quote) and name != quote), key=len, default=name[-3:])
    return Symbol(f"{name[: -len(quote)]}/{quote}" if quote else name)
