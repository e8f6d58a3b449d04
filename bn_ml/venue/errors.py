"""Refusals in the venue's own numbers and words."""

from __future__ import annotations

from bn_ml.errors import BnMlError

API = -1013
ENGINE = -2010
HALF_REPLACED = -2021
NOT_REPLACED = -2022


class VenueError(BnMlError):
    """A request was refused; nothing changed. `code` and `text` are the venue's own."""

    def __init__(self, code: int, text: str) -> None:
        """Keep the code beside the text."""
        super().__init__(text)
        self.code = code
        self.text = text


class CancelReplaceError(VenueError):
    """A cancel-replace did not succeed in full: -2022 nothing was done, -2021 only one half was done.

    `cancel` and `order` are the refusals of the halves, None for one that succeeded or was not attempted.
    """

    def __init__(self, code: int, *, cancel: VenueError | None, order: VenueError | None) -> None:
        """Keep what happened to each half."""
        super().__init__(code, f"Order cancel-replace {'partially ' if code == HALF_REPLACED else ''}failed.")
        self.cancel = cancel
        self.order = order


def filter_failure(name: str, code: int = API) -> VenueError:
    """Give the refusal of one symbol filter."""
    return VenueError(code, f"Filter failure: {name}")


def missing(parameter: str) -> VenueError:
    """Give the refusal of an absent mandatory parameter."""
    return VenueError(-1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.")


def unwanted(parameter: str) -> VenueError:
    """Give the refusal of a parameter the order type does not take."""
    return VenueError(-1106, f"Parameter '{parameter}' sent when not required.")


def illegal(parameter: str, legal: str) -> VenueError:
    """Give the refusal of a parameter with illegal characters."""
    return VenueError(-1100, f"Illegal characters found in parameter '{parameter}'; legal range is '{legal}'.")


def too_precise(parameter: str) -> VenueError:
    """Give the refusal of a number with more decimals than the asset has."""
    return VenueError(-1111, f"Parameter '{parameter}' has too much precision.")


def insufficient_balance() -> VenueError:
    """Give the refusal of an order the free balance does not cover."""
    return VenueError(ENGINE, "Account has insufficient balance for requested action.")


def duplicate_order() -> VenueError:
    """Give the refusal of a client id that an open order already carries."""
    return VenueError(ENGINE, "Duplicate order sent.")


def market_closed() -> VenueError:
    """Give the refusal of an order on a symbol that does not trade."""
    return VenueError(ENGINE, "Market is closed.")


def would_trigger() -> VenueError:
    """Give the refusal of a stop that the last price has already reached."""
    return VenueError(ENGINE, "Order would trigger immediately.")


def would_take() -> VenueError:
    """Give the refusal of a maker-only order that crosses the book."""
    return VenueError(ENGINE, "Order would immediately match and take.")


def wrong_relationship() -> VenueError:
    """Give the refusal of an OCO whose prices do not enclose the last price."""
    return VenueError(ENGINE, "The relationship of the prices for the orders is not correct.")


def unknown_order() -> VenueError:
    """Give the refusal to cancel what is not open."""
    return VenueError(-2011, "Unknown order sent.")


def invalid_symbol() -> VenueError:
    """Give the refusal of a symbol the venue does not list."""
    return VenueError(-1121, "Invalid symbol.")


def amend_rejected() -> VenueError:
    """Give the refusal to change what may not be changed, or not any more."""
    return VenueError(-2038, "The order amend (keep priority) request has been rejected.")
