"""Whether the API may be opened where it is asked to be, and under which host names it then answers."""

from __future__ import annotations

from dataclasses import dataclass

from bn_ml.errors import ConfigError
from bn_ml.settings_ops import PublicApiSettings
from public_api.callers import LOOPBACK_NAMES, SHORTEST_TOKEN, is_loopback

_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # nosec B104  named to be recognised, not bound
_MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'


@dataclass(frozen=True, slots=True)
class Binding:
    """An address that may be bound, and the host names answered to, in lower case."""

    host: str
    port: int
    hosts: frozenset[str]


def checked_binding(wanted: PublicApiSettings, token: str, *, published: bool) -> Binding:
    """Check an address.

    Raises `ConfigError` naming every problem and its fix: another address than loopback without a token, a token that
    is too short or cannot be sent in a header, any origin together with a token.
    """
    problems = [*_token_problems(token), *_address_problems(wanted.host, token, published=published)]
    if "*" in wanted.cors_origins and token:
        problems.append('public_api.cors_origins: "*" is refused together with BNML_API_TOKEN; name the origins')
    if problems:
        raise ConfigError(problems)
    names = {name.strip().lower().strip("[]").rstrip(".") for name in wanted.allowed_hosts}
    own = set() if wanted.host in _ANYWHERE else {wanted.host.lower()}
    return Binding(wanted.host, wanted.port, frozenset(names | own))


def is_open(host: str) -> bool:
    """Tell whether an address is reachable from elsewhere."""
    return host not in LOOPBACK_NAMES and not is_loopback(host)


def _token_problems(token: str) -> list[str]:
    if not token:
        return []
    if not (token.isascii() and token.isprintable()) or " " in token or "," in token:
        return [f"BNML_API_TOKEN: only letters, digits and signs without blanks; make one: {_MAKE_ONE}"]
    if len(token) < SHORTEST_TOKEN:
        return [f"BNML_API_TOKEN: shorter than {SHORTEST_TOKEN} bytes; make one: {_MAKE_ONE}"]
    return []


def _address_problems(host: str, token: str, *, published: bool) -> list[str]:
    if token or published or not is_open(host):
        return []
    return [
        f"public_api.host: {host} is open to others and BNML_API_TOKEN is not set; "
        f"use public_api.host: 127.0.0.1, or make a token: {_MAKE_ONE}"
    ]
