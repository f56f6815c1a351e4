"""What a vendor's event means: for its device, its session, its order."""

from collections.abc import Sequence
from typing import Any, Final

from devices.desk import store as desk
from devices.fleet.model import Device
from devices.fleet.store import device_by_code, devices_by_code
from devices.flow import steps
from devices.flow.model import UNAUTHORISED
from devices.inbox.model import InboxRow, NotNow, Quarantine
from devices.orders.model import Outcome, Rules, Taken
from devices.orders.store import take_order
from devices.orders.verdict import doubted
from devices.presence import store as presence
from devices.sessions import store as sessions
from devices.sessions.model import DOOR_EVENTS, DoorSession, State, after
from devices.vendors.port import (
    ORDER_EVENTS,
    Caps,
    DeviceOffline,
    DeviceOnline,
    DoorOpened,
    Event,
    OrderAbnormal,
    OrderFact,
    Unlocked,
)
from payments.model import PaymentsStopped
from sql.alerts import clear_alert, raise_alert
from sql.database import Tx

_OPENS: Final = (Unlocked, DoorOpened)


def handle(tx: Tx, row: InboxRow, event: Any, *, caps: Caps, rules: Rules) -> None:
    """Raises Quarantine for what belongs to no device, session or order of ours, NotNow for an
    order that is to be charged while payments are stopped.
    """
    if not event.device_code:
        # Of no cabinet: a vendor's word about goods.
        return
    device = device_by_code(tx, row.vendor, event.device_code, lock=True)
    if device is None:
        _unknown_device(tx, row, event)
        raise Quarantine(_not_ours(event.device_code))
    if not row.is_again:
        # How a cabinet is now, no repeat can tell: it may be of a start that is long forgotten.
        presence.heard(tx, device.id, event, locked=device)
    if isinstance(event, ORDER_EVENTS):
        is_abnormal = isinstance(event, OrderAbnormal)
        _order(tx, row.vendor, doubted(event.order) if is_abnormal else event.order, rules)
    elif isinstance(event, DOOR_EVENTS):
        _door(tx, row, device, event, caps)
    elif isinstance(event, DeviceOffline) and not row.is_again:
        _offline(tx, device)
    elif isinstance(event, DeviceOnline) and not row.is_again:
        _online(tx, device)


def hear(tx: Tx, beats: Sequence[tuple[InboxRow, Event]]) -> dict[int, str]:
    """Telemetry of many devices, each of which is heard once: they are looked up together.

    Why rows, by id, belong to no device of ours.
    """
    nobodys: dict[int, str] = {}
    heard: list[tuple[Device, Any]] = []
    for vendor in sorted({row.vendor for row, _ in beats}):
        mine = {row.device_code: (row, said) for row, said in beats if row.vendor == vendor}
        devices = devices_by_code(tx, vendor, mine, lock=True)
        heard += [(device, mine[code][1]) for code, device in devices.items()]
        nobodys |= {mine[code][0].id: _not_ours(code) for code in mine.keys() - devices.keys()}
    presence.hear_all(tx, heard)
    return nobodys


def _not_ours(code: str) -> str:
    return f"there is no device {code}"


# ---------------------------------------------------------------- doors


def _door(tx: Tx, row: InboxRow, device: Device, event: Any, caps: Caps) -> None:
    session = session_of(tx, device, event)
    if session is None:
        if isinstance(event, _OPENS) and not row.is_again:
            _nobody_s(tx, row, device, event)
        raise Quarantine(f"no session at door {event.door_no} of {device.code}")
    change = after(session, event, row.received_at, has_door_sensor=caps.door_sensor)
    steps.apply(tx, session, change)


def session_of(tx: Tx, device: Device, event: Event) -> DoorSession | None:
    """By the numbers we gave it, or, where the vendor repeats none, by who is at the door."""
    numbered = event.request_id or event.session_no
    found = sessions.by_request(tx, event.request_id, lock=True) or sessions.by_no(
        tx, event.session_no, lock=True
    )
    if not numbered:
        found = sessions.at_door(tx, device.id, event.door_no, lock=True)
        if found is not None and found.sent_at is None:
            # Nobody has sent a command for it yet: it is not this session's door that moved.
            return None
    if found is not None and found.device_id != device.id:
        return None
    return found


def _nobody_s(tx: Tx, row: InboxRow, device: Device, event: Any) -> None:
    """A door was opened that nobody of ours has opened."""
    text = f"door {event.door_no} of {device.code} opened without a session (event {row.id})"
    subject = f"door:{device.id}:{event.door_no}"
    raise_alert(tx, UNAUTHORISED, subject, text)
    desk.raise_exception(
        tx,
        "no_session",
        subject,
        severity="high",
        text=text,
        store_id=device.store_id,
        device_id=device.id,
    )


def _unknown_device(tx: Tx, row: InboxRow, event: Any) -> None:
    if isinstance(event, (*_OPENS, *ORDER_EVENTS)) and not row.is_again:
        text = f"{row.event_type} of a device that is not ours (event {row.id})"
        raise_alert(tx, UNAUTHORISED, f"{row.vendor}:{event.device_code}", text)


# ---------------------------------------------------------------- orders


def _order(tx: Tx, vendor: str, fact: OrderFact, rules: Rules) -> None:
    try:
        taken = take(tx, vendor, fact, source="push", rules=rules)
    except PaymentsStopped as stopped:
        # No fault of the event's: it is worked as soon as money may move again.
        raise NotNow("payments are stopped") from stopped
    if taken.outcome is Outcome.NO_SESSION:
        raise Quarantine(f"nobody's session for order {fact.vendor_order_no}")


def take(tx: Tx, vendor: str, fact: OrderFact, *, source: str, rules: Rules) -> Taken:
    """Take an order, wherever it was heard of; what waited for it on the desk is cleared."""
    taken = take_order(tx, vendor, fact, source=source, rules=rules)
    subject = f"{vendor}:order:{fact.vendor_order_no}"
    if taken.session_id:
        clear_alert(tx, UNAUTHORISED, subject)
        steps.clear(tx, sessions.load(tx, taken.session_id))
    elif taken.is_news:
        text = f"order {fact.vendor_order_no} of {fact.device_code} without a session"
        raise_alert(tx, UNAUTHORISED, subject, text)
    return taken


# ---------------------------------------------------------------- the link


def _offline(tx: Tx, device: Device) -> None:
    """With a door open: whatever is taken meanwhile stays on this session, and a person knows."""
    for session in _open_at(tx, device):
        text = f"{device.code} is offline while door {session.door_no} is {session.state}"
        steps.put_on_desk(tx, session, "offline", text, severity="medium")


def _online(tx: Tx, device: Device) -> None:
    for session in _open_at(tx, device):
        steps.clear(tx, session, "offline")


def _open_at(tx: Tx, device: Device) -> list[DoorSession]:
    found = [sessions.at_door(tx, device.id, number) for number in device.door_numbers]
    return [each for each in found if each is not None and each.state is not State.REQUESTED]
