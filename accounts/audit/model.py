"""A line of the audit, who it names, and the chain that holds the lines together."""

from collections.abc import Mapping
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any, Final

import msgspec

from sql.types import Millis

FIRST_HASH: Final = ""
"""What stands before the first line."""

_KEPT_BITS: Final = {4: 24, 6: 48}


class By(msgspec.Struct, frozen=True):
    """Who does it. kind: "staff", "admin" or "system"; address: masked when it is written."""

    kind: str
    account_id: int = 0
    address: str = ""


class Entry(msgspec.Struct, frozen=True):
    """A line as it stands. actor: the login name at that time, or the kind; before, after: JSON."""

    id: int
    at: Millis
    actor_id: int
    actor: str
    address: str
    action: str
    subject: str
    before: str
    after: str
    reason: str
    prev_hash: str
    hash: str


class Filter(msgspec.Struct, frozen=True):
    """What a page of the audit is about; an empty field leaves all in. Times: from, and before."""

    actor_id: int = 0
    action: str = ""
    subject: str = ""
    from_at: Millis = 0
    before_at: Millis = 0


def canonical(value: Mapping[str, Any]) -> str:
    """The one JSON text of a mapping, whoever writes it."""
    return msgspec.json.encode(value, order="sorted").decode()


def digest(line: Mapping[str, Any]) -> str:
    """The hash of a line, over everything in it but the hash itself."""
    hashed = {name: value for name, value in line.items() if name != "hash"}
    return sha256(canonical(hashed).encode()).hexdigest()


def mask_address(address: str) -> str:
    """The network an address is in, "" for what is none: enough to see where, not who."""
    try:
        ip = ip_address(address)
    except ValueError:
        return ""
    return str(ip_network((ip, _KEPT_BITS[ip.version]), strict=False))
