"""The transactions of a session's life, besides its orders: each leaves it as it may be left."""

from typing import Any, Final

from accounts.audit.model import By
from accounts.audit.store import record
from devices.desk import store as desk
from devices.fleet.store import load_device
from devices.flow import gates
from devices.flow.model import BIZ, UNAUTHORISED, WAKE, Command, NoTickets, Rules, Wish
from devices.presence import store as presence
from devices.sessions import store
from devices.sessions.model import ENDED, TIMERS, Change, DoorSession, State
from devices.sessions.store import New
from devices.stock.store import snapshot
from devices.vendors.port import OpenAck, Outcome, Reason
from payments.ledger.holds import hold, release
from payments.ledger.model import Asset, Overdrawn, tickets_of
from payments.scores import store as scores
from sql.alerts import raise_alert
from sql.database import Tx

# What a device has to answer for, not the person before it.
_FAULTS: Final = frozenset(
    {Reason.HARDWARE, Reason.LOCK_FAILED, Reason.NO_ANSWER, Reason.NO_RESULT}
)


# ---------------------------------------------------------------- the beginning


def begin(tx: Tx, wish: Wish, rules: Rules, *, has_scores: bool) -> DoorSession:
    """Pass the gates once more, write the session, set money aside.

    With tickets the command may be sent at once: the session is opening. With WeChat it is
    requested until the Payscore order is confirmed.
    Raises what the gates raise, NoTickets also when they were spent this moment.
    """
    device, _ = gates.pass_shopper(tx, wish, rules, has_scores=has_scores, lock=True)
    shelf = snapshot(tx, device.id)
    limit_fen = gates.limit_of(tx, device, rules)
    session = store.begin(
        tx,
        New(
            once_key=wish.once_key,
            vendor=device.vendor,
            device_id=device.id,
            door_no=wish.door_no,
            store_id=device.store_id or 0,
            account_id=wish.account_id,
            purpose="shop",
            pay_with=wish.pay_with,
            limit_fen=limit_fen,
            planogram_version=shelf.version,
            prices=shelf.prices,
        ),
    )
    if wish.pay_with == "ticket":
        tickets = gates.affordable(tx, wish.account_id, limit_fen)
        source = tickets_of(wish.account_id)
        try:
            hold(tx, BIZ, str(session.id), source, Asset.TICKET, tickets, memo=session.no)
        except Overdrawn as error:
            raise NoTickets from error
        session = store.note(tx, session, hold_tickets=tickets)
        return _sent_at_once(tx, session)
    number = scores.begin(
        tx,
        biz=BIZ,
        biz_id=session.id,
        account_id=wish.account_id,
        openid=wish.openid,
        risk_fen=limit_fen,
        introduction="智能柜购物",
        device_id=device.code,
    )
    until = tx.now + TIMERS.confirm
    return store.note(tx, session, score_no=number, due_at=until, expires_at=until)


def begin_staff(tx: Tx, wish: Wish, rules: Rules, by: By, reason: str) -> DoorSession:
    """As above for one of us: no money, and a line in the audit. Raises DeviceNotFound as well."""
    device, _ = gates.pass_staff(tx, wish, rules, by, lock=True)
    session = store.begin(
        tx,
        New(
            once_key=wish.once_key,
            vendor=device.vendor,
            device_id=device.id,
            door_no=wish.door_no,
            store_id=device.store_id or 0,
            account_id=wish.account_id,
            purpose=wish.purpose,
            pay_with="none",
            limit_fen=0,
        ),
    )
    session = _sent_at_once(tx, session)
    after = {"session": session.no, "door_no": wish.door_no, "purpose": wish.purpose}
    record(tx, actor=by, action="device.open", subject=f"device:{device.id}", before={},
           after=after, reason=reason)  # fmt: skip
    return session


def _sent_at_once(tx: Tx, session: DoorSession) -> DoorSession:
    """Whoever commits this sends the command: from here on the door may be open at any moment."""
    return store.move(
        tx, session, State.OPENING, sent_at=tx.now, expires_at=tx.now + TIMERS.expires
    )


def confirmed(tx: Tx, session_id: int) -> None:
    """The person has confirmed the Payscore order, or need not: again changes nothing."""
    session = store.load(tx, session_id, lock=True)
    if session.state is State.REQUESTED and tx.now < session.expires_at:
        # Whoever is told of the confirmation sends the command, or the watch does.
        store.move(tx, session, State.OPENING, due_at=tx.now)
        tx.wake(WAKE)


def score_over(tx: Tx, session_id: int) -> None:
    """The Payscore order ended before the door was opened: nobody would pay."""
    session = store.load(tx, session_id, lock=True)
    if session.state is State.REQUESTED:
        end(tx, session, State.REJECTED, "score_over")


def to_send(tx: Tx, session_id: int) -> Command | None:
    """Take it upon oneself to send a command that nobody has sent: what is committed before."""
    session = store.load(tx, session_id, lock=True)
    if session.state is not State.OPENING or session.sent_at is not None:
        return None
    expires_at = tx.now + TIMERS.expires
    session = store.note(
        tx, session, sent_at=tx.now, due_at=tx.now + TIMERS.ack, expires_at=expires_at
    )
    return Command(session, load_device(tx, session.device_id).code)


def to_send_again(tx: Tx, session_id: int) -> Command | None:
    """The vendor has never heard of it: the same command, as long as it may still be obeyed."""
    session = store.load(tx, session_id, lock=True)
    if session.state is not State.OPENING or tx.now >= session.expires_at:
        return None
    return Command(session, load_device(tx, session.device_id).code)


# ---------------------------------------------------------------- what becomes of it


def acknowledged(tx: Tx, session_id: int, ack: OpenAck) -> DoorSession:
    """Keep what is known of the command. Door events may have come before its answer."""
    session = store.load(tx, session_id, lock=True)
    if ack.vendor_order_no and not session.vendor_order_no:
        session = store.note(tx, session, vendor_order_no=ack.vendor_order_no)
    if session.state is not State.OPENING or session.unlocked_at is not None:
        return session
    if ack.outcome is Outcome.NOT_EXECUTED:
        return end(tx, session, State.REJECTED, str(ack.reason) or "refused")
    if ack.outcome is Outcome.UNKNOWN:
        return store.note(tx, session, pulls=1, due_at=tx.now + TIMERS.unclear[0])
    return session


def apply(tx: Tx, session: DoorSession, change: Change) -> DoorSession:
    """Take a session where a door's event has brought it."""
    was = session.state
    if change.to is was:
        session = store.note(tx, session, **change.values) if change.values else session
    elif change.to in {State.NOT_OPENED, State.REJECTED}:
        return end(tx, session, change.to, **change.values)
    else:
        session = store.move(tx, session, change.to, **change.values)
        if change.to is State.OPEN:
            presence.opened(tx, session.device_id)
    if change.is_strange:
        text = f"door {session.door_no} opened when session {session.no} was {was}"
        raise_alert(tx, UNAUTHORISED, f"session:{session.id}", text)
        put_on_desk(tx, session, "abnormal", text, severity="high")
    return session


def end(
    tx: Tx,
    session: DoorSession,
    to: State,
    fail_code: str,
    *,
    is_fault: bool = False,
    **values: Any,
) -> DoorSession:
    """Nothing was taken, for certain: what was set aside goes back.

    is_fault: of the device's, whatever the code says.
    """
    session = store.move(tx, session, to, fail_code=fail_code[:40], **values)
    let_go(tx, session, fail_code)
    if is_fault or fail_code in _FAULTS:
        presence.fault(tx, session.device_id)
    presence.refused_to_open(tx, session.device_id, fail_code)
    clear(tx, session)
    return session


def let_go(tx: Tx, session: DoorSession, reason: str) -> None:
    """Give back the tickets, cancel the Payscore order."""
    if session.hold_tickets:
        release(tx, BIZ, str(session.id), memo=reason)
    if session.score_no:
        scores.want_cancel(tx, session.score_no, reason)


# ---------------------------------------------------------------- the desk


def put_on_desk(
    tx: Tx,
    session: DoorSession,
    kind: str,
    text: str,
    *,
    severity: str,
    order_id: int | None = None,
) -> None:
    desk.raise_exception(
        tx,
        kind,
        subject(session),
        severity=severity,
        text=text,
        store_id=session.store_id,
        device_id=session.device_id,
        order_id=order_id,
        session_id=session.id,
    )


def clear(tx: Tx, session: DoorSession, *kinds: str) -> None:
    """It has solved itself. What needs a person for another reason stays."""
    done = (
        ("no_order", "offline", "abnormal") if session.state in ENDED else ("no_order", "offline")
    )
    for kind in kinds or done:
        desk.clear_exception(tx, kind, subject(session), f"the session is {session.state}")


def subject(session: DoorSession) -> str:
    return f"session:{session.id}"
