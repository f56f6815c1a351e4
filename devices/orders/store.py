"""Taking an order that a vendor tells of, pushed or pulled, as often and in whatever order.

The session is found, then locked, then its order; two who are told the same at once come one
after the other, and the second finds nothing to do.
"""

from hashlib import sha256
from typing import Any, Final

import msgspec

from commerce.goods.store import names_of
from commerce.members.store import find_member
from devices.desk import store as desk
from devices.fleet.model import Device
from devices.fleet.store import device_by_code, load_store
from devices.orders import beside
from devices.orders.model import (
    REVIEWED,
    Order,
    OrderState,
    Outcome,
    Revision,
    Rules,
    Taken,
    Verdict,
    Why,
)
from devices.orders.rows import store as rows
from devices.orders.rows.store import Chain, unpaid_of
from devices.orders.settle import Settling
from devices.orders.verdict import (
    Around,
    Judged,
    Standing,
    body_of,
    content_hash,
    is_late,
    judge,
    standing,
    was_decided,
)
from devices.sessions import store as sessions
from devices.sessions.model import DoorSession, State
from devices.vendors.port import OrderFact
from sql.alerts import raise_alert, record_incident
from sql.database import Tx

__all__ = ["MISMATCH", "link", "take_order", "unpaid_of"]

MISMATCH: Final = "cabinet.amount_mismatch"
"""The kind of the alerts about orders whose total is not that of their goods."""

SECOND: Final = "cabinet.second_order"
"""The kind of the incidents that keep another order of the same session, as it came."""

_HIGH: Final = frozenset({Why.MISMATCH, Why.CONFLICT, Why.LATE, Why.NO_SESSION})

encode: Final = msgspec.json.Encoder().encode


def take_order(tx: Tx, vendor: str, fact: OrderFact, *, source: str, rules: Rules) -> Taken:
    """Keep what a vendor says of an order, judge it, and settle what follows.

    source: how we know, for the record: push, pull, sweep. NO_SESSION: it is nobody's, and on
    the exception desk. Raises PaymentsStopped when money would have to move and may not; then
    nothing was kept, and it is told again.
    """
    device = device_by_code(tx, vendor, fact.device_code)
    session = _session_of(tx, vendor, fact, device)
    if session is not None and not session.is_shopping:
        return Taken(Outcome.NO_MONEY, 0, session.id)
    known = rows.by_vendor_no(tx, vendor, fact.vendor_order_no)
    if session is None:
        return _take_nobodys(tx, vendor, fact, device, known, source)
    chain = _chain_of(tx, session, vendor, fact, known)
    if chain is None:
        return _second_order(tx, session, fact)
    return _take(tx, chain, fact, source, rules)


# ---------------------------------------------------------------- whose it is


def _session_of(tx: Tx, vendor: str, fact: OrderFact, device: Device | None) -> DoorSession | None:
    """The session an order is of, locked; one that was never begun at the vendor has none."""
    known = rows.by_vendor_no(tx, vendor, fact.vendor_order_no)
    if known is not None and known.session_id is not None:
        return sessions.load(tx, known.session_id, lock=True)
    found = (
        sessions.by_no(tx, fact.session_no)
        or sessions.by_request(tx, fact.request_id)
        or sessions.by_vendor_order(tx, vendor, fact.vendor_order_no)
    )
    if found is None or device is None:
        return None
    session = sessions.load(tx, found.id, lock=True)
    is_its = (session.vendor, session.device_id) == (vendor, device.id)
    return session if is_its and session.state is not State.REQUESTED else None


def _chain_of(
    tx: Tx, session: DoorSession, vendor: str, fact: OrderFact, known: Order | None
) -> Chain | None:
    """The order of a session this transaction has locked; None when it has another one."""
    main = rows.of_session(tx, session.id)
    if main is None and known is not None:
        main = link(tx, known, session)
        desk.clear_exception(tx, Why.NO_SESSION, main.no, f"it is of session {session.no}")
    if main is None:
        main = _insert(tx, session, vendor, fact)
        if session.vendor_order_no != fact.vendor_order_no:
            session = sessions.note(tx, session, vendor_order_no=fact.vendor_order_no)
    if main.vendor_order_no != fact.vendor_order_no:
        return None
    return rows.chain_of(tx, main, session)


def _insert(tx: Tx, session: DoorSession, vendor: str, fact: OrderFact) -> Order:
    inserted = rows.insert_order(
        tx,
        {
            "no": f"C{session.no}",
            "vendor": vendor,
            "vendor_order_no": fact.vendor_order_no,
            "device_id": session.device_id,
            "store_id": session.store_id,
            **_owned(tx, session),
        },
    )
    # The session is locked: nobody else writes its order. That of nobody's has no session yet.
    assert inserted is not None, f"the order {fact.vendor_order_no} is written by two"
    return inserted


def _owned(tx: Tx, session: DoorSession) -> dict[str, Any]:
    """What an order has of its session."""
    return {
        "session_id": session.id,
        "session_key": session.id,
        "account_id": session.account_id,
        "phone_box": find_member(tx, session.account_id).phone_box,
        "pay_with": session.pay_with,
        "ordered_at": tx.now,
    }


def link(tx: Tx, order: Order, session: DoorSession) -> Order:
    """An order that was nobody's is this session's, which has none and is locked."""
    order = rows.load(tx, order.id, lock=True)
    return rows.change(tx, order, **_owned(tx, session), store_id=session.store_id)


def _take_nobodys(
    tx: Tx,
    vendor: str,
    fact: OrderFact,
    device: Device | None,
    known: Order | None,
    source: str,
) -> Taken:
    """No session of ours: it is kept where its device is known, and a person may link it."""
    if device is None or device.store_id is None:
        return Taken(Outcome.NO_SESSION)
    if known is None:
        values = {
            "no": _number_of(vendor, fact.vendor_order_no),
            "vendor": vendor,
            "vendor_order_no": fact.vendor_order_no,
            "device_id": device.id,
            "store_id": device.store_id,
            "account_id": 0,
            "pay_with": "ticket",
            "state": OrderState.REVIEW,
        }
        known = rows.insert_order(tx, values) or rows.by_vendor_no(tx, vendor, fact.vendor_order_no)
        assert known is not None, "it was written by somebody"
    main = rows.load(tx, known.id, lock=True)
    chain = rows.chain_of(tx, main, None)
    is_news = standing(fact, chain.revisions) in {Standing.NEW, Standing.CONFLICT}
    if is_news:
        judged = Judged(Verdict.REFUSED, Why.NO_SESSION, text="no session of ours")
        _keep(tx, chain, fact, source, judged)
        _raise(tx, chain, judged)
    return Taken(Outcome.NO_SESSION, main.id, is_news=is_news)


def _second_order(tx: Tx, session: DoorSession, fact: OrderFact) -> Taken:
    """A session has one order. Another number for it is kept as it came, and a person looks."""
    main = rows.of_session(tx, session.id)
    assert main is not None, "only a session with an order has a second one"
    text = f"the vendor has order {fact.vendor_order_no} as well as {main.vendor_order_no}"
    chain = rows.chain_of(tx, main, session)
    subject = f"{main.no}:{fact.vendor_order_no}"[:64]
    if rows.has_incident(tx, SECOND, subject, encode(fact).decode()):
        return Taken(Outcome.REPEATED, main.id, session.id)
    record_incident(tx, SECOND, subject, text, encode(fact))
    beside.raise_exception(tx, chain, Why.CONFLICT, subject, text, severity="high")
    return Taken(Outcome.REVIEW, main.id, session.id)


# ---------------------------------------------------------------- what it says


def _take(tx: Tx, chain: Chain, fact: OrderFact, source: str, rules: Rules) -> Taken:
    session = chain.session
    assert session is not None, "an order that is settled has a session"
    place = standing(fact, chain.revisions)
    if place is Standing.REPEATED:
        return Taken(Outcome.REPEATED, chain.main.id, session.id)
    if place is Standing.OLD:
        _keep(tx, chain, fact, source, Judged(Verdict.REFUSED, Why.OLD))
        return Taken(Outcome.OLD, chain.main.id, session.id)
    if place is Standing.CONFLICT:
        judged = Judged(Verdict.REFUSED, Why.CONFLICT, text="the same revision said otherwise")
    else:
        judged = judge(fact, _around(tx, chain, session, fact, rules))
    _keep(tx, chain, fact, source, judged)
    if judged.why is not Why.NONE:
        _raise(tx, chain, judged)
    Settling(tx, chain, rules).run()
    return Taken(_outcome(judged), chain.main.id, session.id)


def _outcome(judged: Judged) -> Outcome:
    if judged.verdict is Verdict.REFUSED:
        return Outcome.REVIEW
    return Outcome.WAITING if judged.verdict is Verdict.WAITING else Outcome.ACCEPTED


def _around(tx: Tx, chain: Chain, session: DoorSession, fact: OrderFact, rules: Rules) -> Around:
    own = load_store(tx, session.store_id).review_limit_fen
    limits = [rules.review_limit_fen if own is None else own]
    if session.limit_fen:
        limits.append(session.limit_fen)
    at = session.opened_at or session.requested_at
    return Around(
        prices=session.prices,
        names=names_of(tx, {item.sku for item in fact.items}),
        limit_fen=min(limits),
        stock=rows.stock_at(tx, session.device_id, session.door_no, at),
        tolerance=rules.stock_tolerance,
        is_late=is_late(session, chain.revisions),
        is_closed_book=session.state is State.TIMEOUT,
        was_decided=was_decided(chain.revisions),
    )


def _keep(tx: Tx, chain: Chain, fact: OrderFact, source: str, judged: Judged) -> Revision:
    revision = rows.add_revision(
        tx,
        chain.main,
        chain.revisions,
        rev=fact.rev,
        source=f"vendor:{source}",
        certainty=fact.certainty,
        content_hash=content_hash(fact.items, fact.total_fen),
        body=body_of(fact, judged),
        total_fen=fact.total_fen,
        verdict=judged.verdict,
        why=judged.why,
    )
    chain.revisions.append(revision)
    return revision


def _raise(tx: Tx, chain: Chain, judged: Judged) -> None:
    """Put it on the exception desk; a wrong sum also is a matter of security."""
    assert judged.why in REVIEWED, "only what a person decides is raised"
    severity = "high" if judged.why in _HIGH else "normal"
    no = chain.main.no
    beside.raise_exception(tx, chain, judged.why, no, judged.text, severity=severity)
    if judged.why is Why.MISMATCH:
        raise_alert(tx, MISMATCH, no, f"order {no}: {judged.text}")


def _number_of(vendor: str, vendor_order_no: str) -> str:
    """Of an order without a session, the same however often it is told."""
    return f"CX{sha256(f'{vendor}:{vendor_order_no}'.encode()).hexdigest()[:28]}"
