"""Telling the back office what becomes of devices: the streams `cabinets` and `cabinet:ID`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sql.events import Line, append, lock_streams
from sql.transaction import Tx

ALL: Final = "cabinets"


class News(msgspec.Struct, frozen=True):
    """What happened to a device; the id of the device is put into data."""

    device_id: int
    name: str
    data: Mapping[str, Any]


def stream_of(device_id: int) -> str:
    return f"cabinet:{device_id}"


def tell(tx: Tx, news: Sequence[News]) -> None:
    """Write each to its device's stream and to that of all, in this order.

    Late in a transaction, but before the audit: the stream of all is everybody's lock.
    """
    if not news:
        return
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for each in news:
        data = msgspec.json.encode({"device_id": each.device_id, **each.data})
        for stream in (stream_of(each.device_id), ALL):
            lines[stream].append(Line(each.name, each.device_id, data))
    heads = lock_streams(tx, lines)
    append(tx, {name: (heads[name], lines[name]) for name in lines})
