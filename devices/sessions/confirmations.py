"""Telling a vendor what became of an order, for its books and its stock: as a parcel.

Delivered by devices/flow, in the rhythm of the contract; what is not the newest word about its
order any more is dropped there.
"""

from typing import Final

import msgspec

from devices.vendors.port import OrderResult
from sql import outbox
from sql.database import Tx

KIND: Final = "cabinet.confirm"


def tell_vendor(tx: Tx, vendor: str, result: OrderResult) -> None:
    """Send this as soon as may be. The same word again is not sent again."""
    said = f"{result.rev}:{result.result}:{result.due_fen}:{result.net_paid_fen}"
    key = prefix_of(vendor, result.order_no) + said
    payload = {"vendor": vendor, "key": key, "result": msgspec.to_builtins(result)}
    outbox.enqueue(tx, KIND, payload, key=key)


def prefix_of(vendor: str, order_no: str) -> str:
    """What the keys of all words about an order begin with."""
    return f"confirm:{vendor}:{order_no}:"
