"""Who is asking: the peer of the connection, or whom a trusted proxy says it speaks for."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed; of anybody else it is ignored.

    proxies: addresses or networks («10.0.0.0/8»). Raises ValueError for anything else.
    """

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(text.strip()) for text in proxies)
        self._is_trusted = lru_cache(maxsize=1024)(self._is_in_networks)

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        """The right-most address of the chain that is not one of our proxies.

        What stands further left was written by that client and may be anything.
        """
        if not self._networks or not self._is_trusted(peer):
            return peer
        address = peer
        for hop in reversed(headers.get("X-Forwarded-For", "").split(",")):
            candidate = hop.strip()
            if not _is_address(candidate):
                break
            address = candidate
            if not self._is_trusted(candidate):
                break
        return address

    def _is_in_networks(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._networks)


def masked(address: str) -> str:
    """An address as it may stand in a log: the network, not the subscriber."""
    separator = ":" if ":" in address else "."
    kept = address.split(separator)[: 4 if separator == ":" else 3]
    return separator.join(kept) + separator + "*"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
