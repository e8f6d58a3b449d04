"""Keeping secrets out of everything that is written: texts, log records, exceptions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST_SECRET = 4
_PLAIN_FIELDS = frozenset({"msg", "args"})

_PATTERNS = (
    # A dot begins no token but the name of a file such as bot.yaml.
    (re.compile(r"/bot(?!\.)[^/\s\"']+(?=/|$|[\s\"'])"), f"/bot{MASK}"),
    (re.compile(r"(?i)\b(signature|listenKey|apiKey|api_key|token|access_token|password)=[^&\s\"']+"), rf"\1={MASK}"),
    (re.compile(r"(?i)(X-MBX-APIKEY[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bBearer\s+)[^\s\"',}]+"), rf"\1{MASK}"),
    # Begins with literal text: a pattern that may begin at any letter takes quadratic time on one long word.
    (re.compile(r"(://[^/\s:@\"']*:)[^/\s@\"']+@"), rf"\1{MASK}@"),
)


class Redactor:
    """Takes known secret values, and whatever is secret by its place, out of a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Keep the values to hide, also in their URL-encoded forms; very short ones are left alone."""
        known = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        forms = {form for secret in known for form in (secret, quote(secret, safe=""), quote_plus(secret))}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def clean(self, text: str) -> str:
        """Give the text with every secret replaced by asterisks.

        >>> Redactor(["hunter22"]).clean("key hunter22 at /bot1:x/send?signature=ab12")
        'key *** at /bot***/send?signature=***'
        """
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


class RedactionFilter(logging.Filter):
    """Cleans each record: message with its arguments, exception, stack and extra text fields."""

    def __init__(self, redactor: Redactor) -> None:
        """Keep the redactor."""
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record in place; never drops it."""
        clean = self._redactor.clean
        record.msg = clean(_message(record))
        record.args = ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
        for name, value in list(record.__dict__.items()):
            if name not in _PLAIN_FIELDS and not isinstance(value, (bool, int, float, type(None))):
                text = str(value)
                cleaned = clean(text)
                record.__dict__[name] = value if cleaned == text else cleaned
        return True


def redact_handlers(logger: logging.Logger, redactor: Redactor) -> RedactionFilter:
    """Put one filter on every handler of a logger; records that come from child loggers pass handlers only."""
    cleaning = RedactionFilter(redactor)
    for handler in logger.handlers:
        handler.addFilter(cleaning)
    return cleaning


def _message(record: logging.LogRecord) -> str:
    """Give the formatted message; a message whose arguments do not fit is shown unformatted."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args}"
