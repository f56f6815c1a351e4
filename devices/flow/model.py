"""Why a door is not opened, what somebody wants of one, and what the flow depends on.

CabinetError (devices/model.py)
├── UnpaidOrder        an order is to be paid first; how, is in the refusal
├── MemberBarred       this person may open no cabinet
├── NoTickets          not even one fen could be paid with tickets
├── LastSettling       the last session of this person is not settled yet
├── NothingForSale     the limit of this store, or of the cabinet, lets nothing be bought
├── DoorRefused        the vendor says that the door cannot be opened now
└── those of devices/model.py, devices/sessions/model.py, payments/scores/model.py
"""

from typing import Any, Final

import msgspec

from devices.model import CabinetError
from devices.orders.model import Order
from devices.orders.model import Rules as OrderRules
from devices.sessions.model import DoorSession, PayWith
from devices.vendors.port import Purpose, Reason
from sql.types import Millis

BIZ: Final = "cabinet"
"""What tickets are held and Payscore orders are begun for; the session's id is its number."""

UNAUTHORISED: Final = "cabinet.unauthorised_open"
"""The kind of the alerts that a door has moved for which nobody has a session."""

WAKE: Final = "cabinets"
"""The watch that looks after sessions."""


class UnpaidOrder(CabinetError):
    """The detail names the order; POST /cabinet-orders/{order_id}/pay pays it."""

    code = "cabinets.unpaid_order"
    title = "An earlier order is not paid yet"

    def __init__(self, order: Order) -> None:
        self.order_id = order.id
        self.due_fen = order.due_fen - order.net_fen
        super().__init__(
            f"Order {order.no} is to be paid first: {self.due_fen} fen,"
            f" at /api/v1/cabinet-orders/{order.id}/pay"
        )


class MemberBarred(CabinetError):
    code = "cabinets.barred"
    title = "This account may not open cabinets"


class NoTickets(CabinetError):
    code = "cabinets.no_tickets"
    title = "There are no tickets to pay with"


class LastSettling(CabinetError):
    """retry_after_s: until when it may be tried again at the latest."""

    code = "cabinets.last_settling"
    title = "The last purchase is still being settled"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("")
        self.retry_after_s = retry_after_s


class NothingForSale(CabinetError):
    code = "cabinets.nothing_for_sale"
    title = "Nothing can be bought here just now"


class DoorRefused(CabinetError):
    """reason: the port's word for why."""

    code = "cabinets.refused"
    title = "The cabinet cannot be opened now"

    def __init__(self, reason: Reason | str) -> None:
        super().__init__(str(reason))
        self.reason = str(reason)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """orders: for what comes of a session. heartbeat_s: how often a device is heard of.

    settling_ms: so long the last session, not settled, keeps its person from the next.
    can_open_s: so long a vendor may take to say whether a door can be opened.
    salt: makes of an account what a vendor may know of it.
    """

    orders: OrderRules = OrderRules()
    heartbeat_s: int = 60
    settling_ms: Millis = 600_000
    can_open_s: float = 2.0
    salt: str


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever wants a door opened. once_key: the same makes the same session.

    openid: of a person who pays by WeChat. store_id: filled in from the device.
    """

    once_key: str
    account_id: int
    device_id: int
    door_no: int
    purpose: Purpose = "shop"
    pay_with: PayWith = "none"
    openid: str = ""


class Opened(msgspec.Struct, frozen=True):
    """A session, and what wx.openBusinessView takes where the person must confirm first."""

    session: DoorSession
    view: dict[str, Any] | None = None


class Command(msgspec.Struct, frozen=True):
    """A session whose command is to be sent now, and the device's code at its vendor."""

    session: DoorSession
    device_code: str
