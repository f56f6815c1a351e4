"""How often one may ask: a bucket per session, per address, per account that is signed in to.

The generic cell rate algorithm (ATM Forum TM 4.0): one number per key, the time at which its
bucket will be empty again. In memory: each process counts for itself, and a restart forgives.
"""

from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

# A key takes about 150 bytes, so a full table is some 15 MB; at its bound the key that was silent
# for longest is forgotten, which only ever forgives.
KEYS_MAX: Final = 100_000


class Limit:
    """So many per second on average, so many at once; kept for many keys apart."""

    def __init__(self, *, per_s: float, burst: int, keys_max: int = KEYS_MAX) -> None:
        self._interval_ms = 1000 / per_s
        self._depth_ms = self._interval_ms * burst
        self._keys_max = keys_max
        # Key → when its bucket is empty again, in ms; the key used last stands last.
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def allow(self, key: str, now: int) -> float:
        """Count one and return 0.0; at the limit count nothing, return the seconds to wait."""
        wait_s = self.wait(key, now)
        if not wait_s:
            self._empty_at[key] = max(self._empty_at.get(key, 0.0), now) + self._interval_ms
            self._empty_at.move_to_end(key)
            if len(self._empty_at) > self._keys_max:
                self._empty_at.popitem(last=False)
        return wait_s

    def wait(self, key: str, now: int) -> float:
        """The seconds until one more would be allowed, 0.0 if it is now. Counts nothing."""
        empty_at = self._empty_at.get(key, 0.0)
        if empty_at - now > self._depth_ms + self._interval_ms:
            # More than a bucket can hold: the clock was set back. Waiting for it would lock out.
            del self._empty_at[key]
            return 0.0
        return max(0.0, empty_at + self._interval_ms - now - self._depth_ms) / 1000

    def forgive(self, key: str) -> None:
        """Take back one that was counted: it was not what is to be limited."""
        if key in self._empty_at:
            self._empty_at[key] -= self._interval_ms

    def __len__(self) -> int:
        return len(self._empty_at)


class Limits:
    """The limits of one process, shared by HTTP, the WebSocket and the old dialect."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.session = Limit(per_s=50, burst=200)
        self.address = Limit(per_s=300, burst=1500)
        # Counted per address and per account (or login name); a person mistypes, a program guesses.
        self.sign_in = Limit(per_s=10 / 60, burst=10)
        # Wrong numbers given to `push` and `follow`, per session: look with wait(), count with
        # allow() when the number was wrong.
        self.wrong_numbers = Limit(per_s=10 / 60, burst=10)


@lru_cache(maxsize=16_384)
def address_key(address: str) -> str:
    """Whom an address counts for: an IPv4 address itself, of IPv6 the /64 a subscriber is given."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(IPv6Address(int(ip) >> 64 << 64)) + "/64"
    return str(ip)
