"""Who calls: from where, under which host name, from which page, with which token. Read from a connection's head."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SHORTEST_TOKEN = 32
_RELAYED = frozenset({b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip", b"cf-connecting-ip", b"x-forwarded-host"})
_READ = frozenset({b"host", b"origin", b"authorization", b"sec-websocket-protocol", b"if-none-match"})
_SCHEMES = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller; `host` is the name called, in lower case and without port, empty when it is missing or unclear."""

    address: str
    host: str
    authority: str
    scheme: str
    origin: str | None
    bearer: str | None
    protocols: tuple[str, ...]
    known_tag: str
    is_relayed: bool

    @property
    def is_loopback(self) -> bool:
        """Whether the connection comes from this machine."""
        return is_loopback(self.address)

    @property
    def is_same_origin(self) -> bool:
        """Whether the calling page, if any, came from the very address it calls."""
        return self.origin is None or self.origin == f"{self.scheme}://{self.authority}"

    @property
    def given_token(self) -> str | None:
        """The token shown in the header or, on a websocket, as the sub-protocol after `bearer`; None without one."""
        if self.bearer is not None or "bearer" not in self.protocols:
            return self.bearer
        after = self.protocols[self.protocols.index("bearer") + 1 :]
        return after[0] if after else ""


def caller_of(scope: Scope) -> Caller:
    """Read the head of a connection."""
    found: dict[bytes, list[bytes]] = {}
    is_relayed = False
    for name, value in scope["headers"]:
        if name in _READ:
            found.setdefault(name, []).append(value)
        elif name in _RELAYED:
            is_relayed = True
    authority = _only(found.get(b"host")).lower()
    origins = found.get(b"origin")
    client, scheme = scope.get("client"), str(scope.get("scheme", "http"))
    asked = _only(found.get(b"sec-websocket-protocol")).split(",")
    return Caller(
        address=client[0] if client else "",
        host=host_name(authority),
        authority=authority,
        scheme=_SCHEMES.get(scheme, scheme),
        origin=None if origins is None else _only(origins).lower(),
        bearer=_bearer(found.get(b"authorization")),
        protocols=tuple(word.strip() for word in asked if word.strip()),
        known_tag=_only(found.get(b"if-none-match")),
        is_relayed=is_relayed,
    )


def is_loopback(address: str) -> bool:
    """Tell whether an address is of this machine.

    >>> [is_loopback(text) for text in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "testclient")]
    [True, True, True, False, False]
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    inner = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (inner or parsed).is_loopback


def host_name(authority: str) -> str:
    """Give the host of `host:port`, empty for what is none.

    >>> host_name("localhost:8000"), host_name("[::1]:8000"), host_name("a b"), host_name("x:y")
    ('localhost', '::1', '', '')
    """
    if authority.startswith("["):
        name, closed, rest = authority[1:].partition("]")
        return name if closed and (not rest or _is_port(rest)) else ""
    name, colon, port = authority.partition(":")
    is_plain = name and name.isascii() and all(letter.isalnum() or letter in "-._" for letter in name)
    return name.rstrip(".") if is_plain and (not colon or _is_port(colon + port)) else ""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to trust: this machine under a name of its own, and whoever shows the token.

    Behind a tunnel or proxy everybody comes from this machine: what is relayed is never taken for it. `published` says
    that a container's port is reachable from the host's own loopback only, so that every caller is this machine; with
    a token there may be a tunnel in the neighbouring container, and callers are asked for it.
    """

    token: str
    hosts: Collection[str]
    published: bool = False
    _digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Keep only a digest to compare with."""
        object.__setattr__(self, "_digest", _digest(self.token))

    def knows_host(self, caller: Caller) -> bool:
        """Tell whether the name called is one of ours."""
        return bool(caller.host) and caller.host in self.hosts

    def accepts(self, token: str) -> bool:
        """Compare a token, in a time that tells nothing of it."""
        return hmac.compare_digest(_digest(token), self._digest) and bool(self.token)

    def is_local(self, caller: Caller) -> bool:
        """Tell whether the caller is this machine itself."""
        if caller.is_relayed:
            return False
        is_here = caller.is_loopback and caller.host in LOOPBACK_NAMES
        return is_here or (self.published and not self.token)

    def has_wrong_token(self, caller: Caller) -> bool:
        """Tell whether a token is shown that is not ours."""
        return caller.given_token is not None and not self.accepts(caller.given_token)

    def trusts(self, caller: Caller) -> bool:
        """Tell whether the caller may see what is private."""
        if caller.given_token is not None:
            return self.accepts(caller.given_token)
        return self.is_local(caller)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _only(values: Iterable[bytes] | None) -> str:
    """Give the one value of a header, empty when it is missing or given twice."""
    known = list(values or ())
    return known[0].decode("latin-1").strip() if len(known) == 1 else ""


def _bearer(values: list[bytes] | None) -> str | None:
    """Give the token of the header; empty for a header that holds something else."""
    if values is None:
        return None
    kind, _, token = _only(values).partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text.startswith(":") and digits.isascii() and digits.isdigit() and int(digits) <= 65_535
