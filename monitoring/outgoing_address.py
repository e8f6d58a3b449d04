"""Where a message may be sent: public hosts over https, or this machine itself when the address names it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from bn_ml.errors import BnMlError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"https": 443, "http": 80}

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(BnMlError):
    """An address must not be used; the message says why, without the address's path or query, which may be secret."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address taken apart; `path` includes the query and is secret."""

    host: str
    port: int
    path: str
    encrypted: bool

    @property
    def is_loopback(self) -> bool:
        """Whether the configured host is this machine itself."""
        return self.host in LOOPBACK_NAMES

    @property
    def host_header(self) -> str:
        """The host as a request names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.encrypted else "http"] else f"{host}:{self.port}"


def target_of(url: str) -> Target:
    """Take an address apart; raises `AddressRefused` unless it is https, or http to this machine.

    >>> target_of("https://hooks.example.org/a?b=c").path
    '/a?b=c'
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise AddressRefused("the address cannot be read; write https://host/path") from None
    if parts.scheme not in _PORTS or not host or any(ord(letter) <= 32 or ord(letter) > 126 for letter in url.strip()):
        raise AddressRefused("the address cannot be read; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(f"{host}: a name and password inside the address are not supported")
    if parts.scheme == "http" and host not in LOOPBACK_NAMES:
        raise AddressRefused(f"{host}: http is allowed to this machine only; write https://")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port or _PORTS[parts.scheme], path, encrypted=parts.scheme == "https")


def resolved(host: str, port: int, *, loopback: bool) -> tuple[str, ...]:
    """Give the numeric addresses of a host, all of which must be public, or all this machine when `loopback`.

    Raises `AddressRefused` when one is not, `OSError` when the name cannot be resolved at present.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    wrong = [text for text in addresses if not (is_loopback(text) if loopback else is_public(text))]
    if wrong or not addresses:
        where = "leads away from this machine" if loopback else "leads into a private or reserved network"
        raise AddressRefused(f"{host} {where} ({', '.join(wrong[:3])}); use a public address")
    return addresses


def is_public(text: str) -> bool:
    """Tell whether a numeric address is one of the open internet; those that wrap another are judged by it.

    >>> is_public("93.184.216.34"), is_public("::ffff:169.254.169.254"), is_public("10.1.2.3")
    (True, False, False)
    """
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    return address.is_global and not address.is_multicast


def is_loopback(text: str) -> bool:
    """Tell whether a numeric address is this machine."""
    return _unwrapped(ipaddress.ip_address(text.partition("%")[0])).is_loopback


def _unwrapped(address: Ip) -> Ip:
    """Give the IPv4 address an IPv6 one stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
