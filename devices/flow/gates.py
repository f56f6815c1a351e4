"""The gates before a door, in the order of the contract, and each before any vendor is called."""

from accounts.audit.model import By
from commerce.members.store import find_member
from devices.fleet.model import Device, DeviceNotFound
from devices.fleet.store import load_device, load_store, scope_of, sees
from devices.flow.model import (
    LastSettling,
    MemberBarred,
    NothingForSale,
    NoTickets,
    Rules,
    UnpaidOrder,
    Wish,
)
from devices.model import DeviceInMaintenance, DeviceLocked, NotBound
from devices.orders.rows.store import unpaid_of
from devices.presence.model import Gate, gate
from devices.sessions import store as sessions
from devices.sessions.model import DoorBusy, SessionOpen, State, since_closed
from payments.ledger.model import Asset, tickets_of
from payments.ledger.store import balance
from payments.money import TICKETS_PER_FEN
from payments.scores.model import ScoreUnavailable
from sql.database import Tx

_SETTLING = frozenset({State.CLOSED, State.SETTLING, State.ABNORMAL, State.TIMEOUT})


def pass_shopper(
    tx: Tx, wish: Wish, rules: Rules, *, has_scores: bool, lock: bool = False
) -> tuple[Device, Gate]:
    """The device a shopper may open, and whether the vendor must be asked first.

    lock: the device, so that it is not taken away before the session is written.

    Raises what the reasons in flow/model.py and devices/model.py are called.
    """
    unpaid = unpaid_of(tx, wish.account_id)
    if unpaid:
        raise UnpaidOrder(unpaid[0])
    if find_member(tx, wish.account_id).barred_at is not None:
        raise MemberBarred
    device = _standing(tx, wish, lock=lock)
    found = gate(device, now=tx.now, heartbeat_s=rules.heartbeat_s)
    _see_door(tx, wish)
    if wish.pay_with == "ticket" and _tickets(tx, wish.account_id) < TICKETS_PER_FEN:
        raise NoTickets
    if wish.pay_with == "wechat" and not has_scores:
        raise ScoreUnavailable
    _see_last(tx, wish, rules)
    if limit_of(tx, device, rules) <= 0:
        raise NothingForSale
    return device, found


def pass_staff(
    tx: Tx, wish: Wish, rules: Rules, by: By, *, lock: bool = False
) -> tuple[Device, Gate]:
    """As above for one of us, who works on a cabinet when nobody may shop at it.

    Raises DeviceNotFound as well, for one of a store that is not theirs, or without that door.
    """
    device = _standing(tx, wish, lock=lock)
    if not sees(scope_of(tx, by.account_id), device.store_id):
        raise DeviceNotFound
    if wish.door_no not in device.door_numbers:
        raise DeviceNotFound
    try:
        found = gate(device, now=tx.now, heartbeat_s=rules.heartbeat_s)
    except (DeviceLocked, DeviceInMaintenance):
        found = Gate.ASK
    _see_door(tx, wish)
    return device, found


def limit_of(tx: Tx, device: Device, rules: Rules) -> int:
    """What may be bought in one session, in fen."""
    assert device.store_id is not None
    own = load_store(tx, device.store_id).review_limit_fen
    return rules.orders.review_limit_fen if own is None else own


def affordable(tx: Tx, account_id: int, limit_fen: int) -> int:
    """How many tickets are set aside for a session of this limit."""
    return min(_tickets(tx, account_id), limit_fen * TICKETS_PER_FEN)


def _standing(tx: Tx, wish: Wish, *, lock: bool) -> Device:
    """Raises DeviceNotFound, NotBound."""
    device = load_device(tx, wish.device_id, lock=lock)
    if device.status != "bound" or device.store_id is None:
        raise NotBound
    return device


def _see_door(tx: Tx, wish: Wish) -> None:
    if sessions.at_door(tx, wish.device_id, wish.door_no) is not None:
        raise DoorBusy
    if sessions.physical_of(tx, wish.account_id) is not None:
        raise SessionOpen


def _see_last(tx: Tx, wish: Wish, rules: Rules) -> None:
    last = sessions.last_of(tx, wish.account_id)
    if last is None or last.state not in _SETTLING:
        return
    wait_ms = since_closed(last) + rules.settling_ms - tx.now
    if wait_ms > 0:
        raise LastSettling(wait_ms / 1000)


def _tickets(tx: Tx, account_id: int) -> int:
    return balance(tx, tickets_of(account_id), Asset.TICKET)
