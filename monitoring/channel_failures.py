"""Why a message did not go out, and when another try makes sense."""

from __future__ import annotations

from bn_ml.errors import BnMlError


class ChannelFailed(BnMlError):
    """A message was not accepted; the text names no secret.

    `wait_s` is how long the other side asks to be left alone, None when it does not say. A `refused` message failed
    for a cause that will not pass by itself: a wrong token, an unknown chat, a denied address.
    """

    def __init__(self, text: str, *, wait_s: float | None = None, refused: bool = False) -> None:
        """Keep what the lane needs to decide when to try again."""
        super().__init__(text)
        self.wait_s = wait_s
        self.refused = refused


def asked_wait_s(text: str) -> float | None:
    """Read a number of seconds as `Retry-After` writes it, None when it is none; a day at most.

    >>> asked_wait_s("17"), asked_wait_s("soon"), asked_wait_s("9e9")
    (17.0, None, None)
    """
    return min(float(text), 86_400.0) if text.isascii() and text.isdigit() and len(text) < 10 else None
