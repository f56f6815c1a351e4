"""What it means when a person decides on an exception of a session: approve or reject.

approve of no_order, abnormal (without an order), offline: nothing was taken; what is set aside
goes back. reject: wait on. A door that stands open is only looked after. approve of delivery: try
now; reject: give it up.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from devices.flow import steps
from devices.flow.model import UNAUTHORISED, WAKE, DoorInUse, OrderThere
from devices.orders.rows.store import of_session
from devices.sessions import store
from devices.sessions.model import PHYSICAL, State
from sql import outbox
from sql.alerts import clear_alert
from sql.database import Tx

Decide: TypeAlias = Callable[[Tx, Any, Any, Any], None]
"""tx, the exception, by whom, and what was sent with the decision."""


_OVER: Final = frozenset({State.NO_PURCHASE, State.NOT_OPENED, State.REJECTED})


def nothing_taken(tx: Tx, exception: Any, by: Any, body: Any = None) -> None:
    """Raises DoorInUse, OrderThere."""
    session = store.load(tx, exception.session_id, lock=True)
    if session.state in PHYSICAL:
        raise DoorInUse
    if of_session(tx, session.id) is not None:
        raise OrderThere
    if session.state not in _OVER:
        steps.end(tx, session, State.NO_PURCHASE, "by_hand")
    seen(tx, exception, by)


def wait_on(tx: Tx, exception: Any, by: Any, body: Any = None) -> None:
    """The session stays as it is; of one that is closed the order is asked for once more."""
    seen(tx, exception, by)
    session = store.load(tx, exception.session_id, lock=True)
    if session.state is State.CLOSED:
        store.note(tx, session, due_at=tx.now)
        tx.wake(WAKE)


def seen(tx: Tx, exception: Any, by: Any, body: Any = None) -> None:
    """Somebody has looked after a door that opened without a session."""
    clear_alert(tx, UNAUTHORISED, exception.subject)


def try_now(tx: Tx, exception: Any, by: Any, body: Any = None) -> None:
    parcel_id = _parcel(exception)
    if parcel_id:
        outbox.hurry(tx, parcel_id)


def give_up(tx: Tx, exception: Any, by: Any, body: Any = None) -> None:
    parcel_id = _parcel(exception)
    if parcel_id:
        outbox.give_up(tx, parcel_id, f"given up by account {by.account_id}")


def _parcel(exception: Any) -> int:
    """The parcel it is about; 0 for a difference between two books, which is only read."""
    kind, _, number = exception.subject.partition(":")
    return int(number) if kind == "parcel" else 0


DECISIONS: Final[Mapping[str, tuple[Decide, Decide]]] = {
    "no_order": (nothing_taken, wait_on),
    "abnormal": (nothing_taken, wait_on),
    "offline": (wait_on, wait_on),
    "door_open": (wait_on, wait_on),
    "no_session": (seen, seen),
    "delivery": (try_now, give_up),
}
"""By kind; an abnormal or no_session exception that names an order is the orders'."""
