"""How often one address may ask: a bucket for each, in bounded memory."""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network

from bn_ml.ports import Clock

MOST_ADDRESSES = 4_096


class RateLimit:
    """Buckets that hold `burst` requests and fill by `per_s` a second; an IPv6 network of 64 bits shares one."""

    def __init__(self, clock: Clock, *, per_s: float = 10.0, burst: int = 20) -> None:
        """Begin with full buckets."""
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Take one request out of an address's bucket; gives 0, or the seconds to wait when it is empty."""
        key, now = _key(address), self._clock.monotonic()
        left, since = self._buckets.pop(key, (float(self._burst), now))
        left = min(left + (now - since) * self._per_s, float(self._burst))
        granted = left >= 1.0
        self._buckets[key] = (left - 1.0 if granted else left, now)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0 if granted else max(math.ceil((1.0 - left) / self._per_s), 1)


def _key(address: str) -> str:
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False))
