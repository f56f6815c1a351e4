"""What the time does to sessions: each look is claimed in one transaction, done, and noted."""

from typing import Final

import msgspec

from devices.desk.model import Kind
from devices.fleet.store import load_device
from devices.flow import steps
from devices.orders.model import OrderState
from devices.orders.rows.store import of_session
from devices.sessions import store
from devices.sessions.model import (
    TIMERS,
    DoorSession,
    Due,
    Seen,
    State,
    after_seen,
    due_now,
    seen_in,
)
from devices.vendors.port import Caps, Outcome, Reason, SessionFact
from sql.alerts import raise_alert
from sql.database import Tx

# Said by a vendor whose device is silent; of what it refuses for, the device need not be at fault.
_SILENT: Final = frozenset({Reason.NONE, Reason.PENDING, Reason.SESSION_UNKNOWN})


class Look(msgspec.Struct, frozen=True):
    """What is to be done about a session outside the transaction that has claimed it."""

    what: Due
    session: DoorSession
    device_code: str


def claim(tx: Tx, session_id: int) -> Look | None:
    """Whoever claims a look puts it off in the same breath: no other process does it as well."""
    session = store.load(tx, session_id, lock=True)
    if session.due_at is None or session.due_at > tx.now:
        return None
    what, following = due_now(session, tx.now)
    if session.state is State.OPENING and session.sent_at is None:
        return _look(tx, Due.SEND, session)
    act = _AT_ONCE.get(what)
    if act is not None:
        act(tx, session, following)
        return None
    values = {"due_at": following}
    if what is Due.PULL or (what is Due.ASK and session.pulls):
        values["pulls"] = session.pulls + 1
    session = store.note(tx, session, **values)
    if what is Due.REMIND:
        store.say(tx, session, "door.reminder", "柜门还开着，请关好柜门")
    elif what is Due.ALARM:
        text = f"door {session.door_no} has been open for ten minutes, session {session.no}"
        if raise_alert(tx, store.DOOR_OPEN, steps.subject(session), text):
            # Alerts are closed to those who are kept to stores; the desk shows them their own.
            steps.put_on_desk(tx, session, Kind.DOOR_OPEN, text, severity="high")
    return _look(tx, what, session)


def _look(tx: Tx, what: Due, session: DoorSession) -> Look:
    return Look(what, session, load_device(tx, session.device_id).code)


def _reject(tx: Tx, session: DoorSession, _: int) -> None:
    steps.end(tx, session, State.REJECTED, "not_confirmed")


def _time_out(tx: Tx, session: DoorSession, _: int) -> None:
    """A day without a certain outcome: what is set aside stays so until a person decides."""
    text = f"no outcome a day after door {session.door_no} was used, session {session.no}"
    _out_of_time(tx, session)
    steps.put_on_desk(tx, session, "no_order", text, severity="high")


def _out_of_time(tx: Tx, session: DoorSession) -> None:
    session = store.move(tx, session, State.TIMEOUT)
    store.say(tx, session, "door.reminder", "您的购物正在处理中，结果确定后会通知您")


def _stuck(tx: Tx, session: DoorSession, following: int) -> None:
    """On the desk each day, until it is settled: whoever has looked may not have ended it.

    An order of which nothing certain was ever said is a person's from now on.
    """
    text = f"session {session.no} is not settled a day after it was closed"
    order_id = _unclear_order(tx, session)
    if order_id is None:
        store.note(tx, session, due_at=following)
    else:
        _out_of_time(tx, session)
    severity = "medium" if order_id is None else "high"
    steps.put_on_desk(tx, session, "abnormal", text, severity=severity, order_id=order_id)


def _unclear_order(tx: Tx, session: DoorSession) -> int | None:
    """Its order, if a person has to say what was taken."""
    order = of_session(tx, session.id)
    return order.id if order is not None and order.state is OrderState.PUSHED else None


def _dun(tx: Tx, session: DoorSession, following: int) -> None:
    store.note(tx, session, due_at=following)
    store.say(tx, session, "door.reminder", "您有一笔购物尚未支付，支付后才能再次开门")


def _age(tx: Tx, session: DoorSession, following: int) -> None:
    """Told again each day, and put back on the desk if it is not there any more."""
    store.note(tx, session, due_at=following)
    hours = (tx.now - (session.manual_at or tx.now)) // TIMERS.hourly
    text = f"session {session.no} has waited {hours} hours for a person"
    raise_alert(tx, store.AGED, steps.subject(session), text)
    order_id = _unclear_order(tx, session)
    if order_id is not None:
        steps.put_on_desk(tx, session, "abnormal", text, severity="high", order_id=order_id)
    elif of_session(tx, session.id) is None:
        kind = "no_order" if session.state is State.TIMEOUT else "abnormal"
        steps.put_on_desk(tx, session, kind, text, severity="high")


def _nothing(tx: Tx, session: DoorSession, _: int) -> None:
    store.note(tx, session, due_at=None)


_AT_ONCE: Final = {
    Due.REJECT: _reject,
    Due.TIMEOUT: _time_out,
    Due.STUCK: _stuck,
    Due.DUN: _dun,
    Due.AGE: _age,
    Due.NOTHING: _nothing,
}


# ---------------------------------------------------------------- answers


def answered(
    tx: Tx, session_id: int, what: Due, fact: SessionFact | None, caps: Caps
) -> Due | None:
    """What a vendor's answer about a command (None: no answer) makes of its session.

    SEND: it never came there, and may be sent again as it was. CANCEL: it is about to be given up;
    first it is taken back, so that no door is unlocked for it afterwards.
    """
    session = store.load(tx, session_id, lock=True)
    if session.state not in {State.OPENING, State.OPEN}:
        return None
    if fact is not None:
        session = _learn(tx, session, fact, caps)
    if session.state is not State.OPENING:
        return None
    is_unlocked = session.unlocked_at is not None
    if what is Due.GIVE_UP:
        if not is_unlocked:
            return Due.CANCEL
        _give_up(tx, session, fact)
    elif fact is not None and fact.state in {"pending", "unknown"}:
        return _not_yet(tx, session, what, fact)
    elif what is Due.ASK_LAST and not caps.session_query:
        # This vendor answers no questions; of a door that was opened it would have told us.
        if not is_unlocked:
            return Due.CANCEL
        _never_opened(tx, session, Reason.NO_ANSWER)
    return None


def taken_back(
    tx: Tx, look: Look, fact: SessionFact | None, caps: Caps, *, is_off: bool | None
) -> None:
    """What is known after a command was taken back, or was to be, gives up its session or not.

    is_off: whether it will never be obeyed; False: the door was unlocked before; None: nobody
    knows. fact: the vendor's last answer.
    """
    session = store.load(tx, look.session.id, lock=True)
    if is_off is False and session.state is State.OPENING:
        has_sensor = caps.door_sensor
        change = after_seen(session, Seen.UNLOCKED, tx.now, has_door_sensor=has_sensor)
        session = steps.apply(tx, session, change)
        if fact is not None:
            session = _learn(tx, session, fact, caps)
    if session.state is not State.OPENING:
        return
    is_unlocked = session.unlocked_at is not None
    is_last = look.what is Due.GIVE_UP or (is_unlocked and not caps.session_query)
    if is_last and (is_unlocked or is_off is None):
        _give_up(tx, session, fact)
    elif not is_unlocked:
        _never_opened(tx, session, Reason.NO_ANSWER if fact is None else fact.reason)


def _learn(tx: Tx, session: DoorSession, fact: SessionFact, caps: Caps) -> DoorSession:
    if fact.vendor_order_no and not session.vendor_order_no:
        session = store.note(tx, session, vendor_order_no=fact.vendor_order_no)
    has_sensor, was_opened = caps.door_sensor, session.opened_at is not None
    for seen, reason in seen_in(fact, has_door_sensor=has_sensor, was_opened=was_opened):
        change = after_seen(session, seen, tx.now, has_door_sensor=has_sensor, reason=reason)
        session = steps.apply(tx, session, change)
    return session


def _not_yet(tx: Tx, session: DoorSession, what: Due, fact: SessionFact) -> Due | None:
    """The vendor has heard nothing of the door, or nothing of the command."""
    assert session.sent_at is not None
    is_lost = fact.outcome is Outcome.NOT_EXECUTED or (
        # Before the device's time to answer is over, not knowing the command proves nothing.
        fact.state == "unknown" and tx.now >= session.sent_at + TIMERS.ack
    )
    if is_lost and tx.now < session.expires_at:
        return Due.SEND
    is_last = what is Due.ASK_LAST and tx.now >= session.expires_at
    # A door that was unlocked may be open, whatever is not known of it: it is asked about on.
    return Due.CANCEL if is_last and session.unlocked_at is None else None


def _never_opened(tx: Tx, session: DoorSession, reason: Reason) -> None:
    """Asked for the last time, the vendor still has heard nothing from the door."""
    code = str(reason) or Reason.NO_ANSWER
    steps.end(tx, session, State.NOT_OPENED, code, is_fault=reason in _SILENT)


def _give_up(tx: Tx, session: DoorSession, fact: SessionFact | None) -> None:
    """Five minutes, and nobody can say what became of the door: it may stand open."""
    said = "nothing" if fact is None else fact.state
    text = f"door {session.door_no}: the vendor said {said} for five minutes, {session.no}"
    session = store.move(tx, session, State.ABNORMAL, fail_code=Reason.NO_RESULT)
    steps.put_on_desk(tx, session, "abnormal", text, severity="high")


def no_order(tx: Tx, session_id: int) -> None:
    """A pull has brought nothing: after the third it is on the manual list, and goes on."""
    session = store.load(tx, session_id, lock=True)
    is_waiting = session.state is State.CLOSED and session.pulls >= TIMERS.manual
    if is_waiting and session.manual_at is None:
        store.note(tx, session, manual_at=tx.now)
        text = f"no order for session {session.no} since its door was closed"
        steps.put_on_desk(tx, session, "no_order", text, severity="low")
