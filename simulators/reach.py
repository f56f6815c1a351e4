"""How far a simulator's word reaches: this machine and its own network."""

import asyncio
import contextlib
import functools
import ipaddress
import ssl
from urllib.parse import urlsplit


async def why_not(url: str) -> str:
    """Play money stays on this machine and its own network, whatever address it was given."""
    host = urlsplit(url).hostname or ""
    try:
        addresses = await _addresses(host)
    except OSError as error:
        return f"no such host: {error}"
    if all(ipaddress.ip_address(address).is_private for address in addresses):
        return ""
    return "not sent: a simulator speaks to this machine and its own network only"


async def _addresses(host: str) -> set[str]:
    with contextlib.suppress(ValueError):
        return {str(ipaddress.ip_address(host))}
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return {str(item[4][0]) for item in found}


@functools.cache
def trusted() -> ssl.SSLContext:
    """Reading the authorities takes longer than most tests; once a process is enough."""
    return ssl.create_default_context()
