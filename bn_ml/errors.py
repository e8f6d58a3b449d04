"""The whole error tree, named by what the caller must do.

BnMlError
|- ConfigError          refuse to start; carries every problem found
|- MarketDataError      skip this symbol, HOLD; `reason` is a reason code
|- ExchangeError
|  |- Transient         a read failed: try again later
|  |  `- Unreachable    nothing was sent: the exchange as a whole does not answer or asked to stay away
|  |- Refused           definitively not placed: record and go on
|  `- OutcomeUnknown    may have been placed: query by client id before anything else
|- ModelError           HOLD; `reason` is a reason code
`- StateError           the books cannot be trusted or written: stop the bot
   `- LockHeld          another instance holds the database
"""

from __future__ import annotations

from collections.abc import Sequence


class BnMlError(Exception):
    """Anything this project raises on purpose."""


class ConfigError(BnMlError):
    """The configuration cannot be used; `problems` lists every finding, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep all problems; the message is their lines."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class MarketDataError(BnMlError):
    """Data of one symbol or source is unusable; `reason` is one of the specified reason codes."""

    def __init__(self, message: str, reason: str = "data_unavailable") -> None:
        """Keep the reason code beside the message."""
        super().__init__(message)
        self.reason = reason


class ExchangeError(BnMlError):
    """The exchange did not do what was asked."""


class Transient(ExchangeError):
    """A read failed for a passing cause; it may be repeated."""


class Unreachable(Transient):
    """The exchange as a whole does not answer or asked to stay away; it says nothing about the symbol asked for."""


class Refused(ExchangeError):
    """The exchange definitively did not place the order; `code` is its number, 0 when local."""

    def __init__(self, message: str, code: int = 0) -> None:
        """Keep the exchange's code beside its text."""
        super().__init__(message)
        self.code = code


class OutcomeUnknown(ExchangeError):
    """The order may or may not have been placed."""


class ModelError(BnMlError):
    """A bundle or prediction cannot be used; `reason` is one of the specified reason codes."""

    def __init__(self, message: str, reason: str = "model_error") -> None:
        """Keep the reason code beside the message."""
        super().__init__(message)
        self.reason = reason


class StateError(BnMlError):
    """The database or the books are not in a state that may be traded on."""


class LockHeld(StateError):
    """Another process holds the database; the message names it."""
