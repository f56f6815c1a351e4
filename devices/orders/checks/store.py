"""What must hold between orders, their charges, the ledger and what was sold, as queries.

Each names the rows that break a promise; none are found as long as all is well. C1 what is paid
of an order is never more than is due, nor below nothing. C2 one main order a session. C3
nothing set aside outlives its session. C4 tickets are five times the fen. C5 a chain comes to
its latest accepted revision. C6 an order's own columns are its charges' sums, and so is what
was sold. C7 each charge in tickets has its journal, each by WeChat its payment. C8 what waits
for a person is on the desk.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import String, and_, cast, exists, func, literal, not_, or_, select

from devices.orders.model import (
    HOLD,
    ChargeKind,
    ChargeState,
    Kind,
    Means,
    OrderState,
    Verdict,
)
from devices.orders.money import BIZ, SETTLE
from devices.orders.rows.store import BIZ as SALES_BIZ
from devices.sessions.model import ENDED
from payments.ledger.model import HOLD as HELD
from payments.ledger.model import RESOLVE, Violation
from sql.database import Tx
from sql.tables.commerce import sales
from sql.tables.core import outbox
from sql.tables.devices import (
    cabinet_exceptions,
    cabinet_orders,
    door_sessions,
    order_charges,
    order_revisions,
)
from sql.tables.payments import debts, ledger_journals

MOST: Final = 100

_O: Final = cabinet_orders.c
_C: Final = order_charges.c
_BACK: Final = (ChargeState.DONE, ChargeState.PENDING, ChargeState.FAILED)


def amounts(tx: Tx) -> Sequence[Violation]:
    """C1, C4, C6: an order's money."""
    captured = _sum(ChargeKind.CAPTURE, (ChargeState.DONE,))
    back = _sum(ChargeKind.REFUND, _BACK)
    arrived = _sum(ChargeKind.REFUND, (ChargeState.DONE,))
    in_tickets = _sum(ChargeKind.CAPTURE, (ChargeState.DONE,), _C.tickets)
    by_wechat = _sum(ChargeKind.CAPTURE, (ChargeState.DONE,), means=(Means.SCORE, Means.WECHAT))
    settles = exists(select(order_charges.c.id).where(_C.order_id == _O.id, _waits()))
    too_much = captured - back > _O.due_fen
    is_paid = _O.state == OrderState.PAID
    sold = (
        select(func.coalesce(func.sum(sales.c.amount_fen), 0))
        .where(sales.c.biz == SALES_BIZ, sales.c.biz_no == _O.no)
        .scalar_subquery()
    )
    wrong = or_(
        _O.paid_fen != captured,
        _O.refunded_fen != arrived,
        _O.tickets != in_tickets,
        _O.wechat_fen != by_wechat,
        _O.paid_fen * 5 != _O.wechat_fen * 5 + _O.tickets,
    )
    tickets = and_(
        _C.state == ChargeState.DONE,
        or_(
            and_(_C.means == Means.TICKET, _C.tickets != _C.amount_fen * 5),
            and_(_C.means != Means.TICKET, _C.tickets != 0),
        ),
    )
    return [
        *_found(tx, "C1", "order", _O.no, too_much, not_(settles), not_(_is_owed_back())),
        *_found(tx, "C1", "order", _O.no, _O.refunded_fen > _O.paid_fen),
        *_found(tx, "C1", "order", _O.no, is_paid, captured - arrived < _O.due_fen),
        *_found(tx, "C4", "charge", _C.id, tickets),
        *_found(tx, "C6", "order", _O.no, wrong),
        *_found(tx, "C6", "order", _O.no, _O.paid_fen - _O.refunded_fen != sold),
    ]


def _waits() -> Any:
    """A payment is on its way, and what it brings too much goes back when it has come."""
    return and_(_C.kind == ChargeKind.CAPTURE, _C.state == ChargeState.PENDING)


def _is_owed_back() -> Any:
    """The desk knows, or a parcel of ours is on its way, that something is still to go back."""
    on_its_way = exists(
        select(outbox.c.id).where(outbox.c.kind == SETTLE, outbox.c.state == "waiting")
    )
    return or_(_is_on_desk(), on_its_way)


def one_main_order(tx: Tx) -> Sequence[Violation]:
    """C2: a session has one order that is not a supplement, and supplements have theirs."""
    is_main = _O.kind != Kind.SUPPLEMENT
    main = cabinet_orders.alias()
    has_main = exists(
        select(main.c.id).where(main.c.no == _O.related_no, main.c.session_id == _O.session_id)
    )
    unlike = or_(
        and_(is_main, func.coalesce(_O.session_key, 0) != func.coalesce(_O.session_id, 0)),
        and_(not_(is_main), _O.session_key.is_not(None)),
        and_(not_(is_main), not_(has_main)),
        and_(is_main, _O.related_no != ""),
    )
    return list(_found(tx, "C2", "order", _O.no, unlike))


def holds_end(tx: Tx) -> Sequence[Violation]:
    """C3: of a session that is over, no tickets are set aside."""
    number = cast(door_sessions.c.id, String(64))
    held = _journal(HOLD, number, HELD)
    over = door_sessions.c.state.in_(sorted(ENDED))
    resolved = _journal(HOLD, number, RESOLVE)
    return list(_found(tx, "C3", "session", door_sessions.c.id, over, held, not_(resolved)))


def journals(tx: Tx) -> Sequence[Violation]:
    """C7: money that an order says has moved, has."""
    captures = and_(_C.kind == ChargeKind.CAPTURE, _C.state == ChargeState.DONE)
    paid = exists(
        select(debts.c.id).where(
            debts.c.id == _C.debt_id,
            debts.c.state.in_(("paid", "partly", "refunded")),
            debts.c.amount_fen == _C.amount_fen,
        )
    )
    # Said, because a query within a query within a query finds the outermost by itself no more.
    session = select(cast(_O.session_id, String(64))).where(_O.id == _C.order_id)
    session = session.correlate(order_charges)
    by_hold = _journal(HOLD, session.scalar_subquery(), RESOLVE)
    taken = or_(_journal(BIZ, _number("C"), ChargeKind.CAPTURE), by_hold)
    gone = and_(
        _C.kind == ChargeKind.REFUND, _C.state == ChargeState.DONE, _C.means == Means.TICKET
    )
    is_ticket = _C.means == Means.TICKET
    given = not_(_journal(BIZ, _number("R"), ChargeKind.REFUND))
    return [
        *_found(tx, "C7", "charge", _C.id, captures, not_(is_ticket), not_(paid)),
        *_found(tx, "C7", "charge", _C.id, captures, is_ticket, not_(taken)),
        *_found(tx, "C7", "charge", _C.id, gone, given),
    ]


def _number(kind: str) -> Any:
    """As model.charge_no has it."""
    order_id, n = cast(_C.order_id, String(20)), cast(_C.n, String(20))
    return literal("CO") + order_id + literal(kind) + n


def chains(tx: Tx) -> Sequence[Violation]:
    """C5, C8: what is due is what was accepted last, in all orders of a chain together."""
    is_main = _O.kind != Kind.SUPPLEMENT
    said = order_revisions.c
    accepted = (
        select(said.total_fen)
        .where(said.order_id == _O.id, said.verdict == Verdict.ACCEPTED)
        .order_by(said.rev.desc(), said.n.desc())
        .limit(1)
        .correlate(cabinet_orders)
        .scalar_subquery()
    )
    more = cabinet_orders.alias()
    supplements = (
        select(func.coalesce(func.sum(more.c.due_fen), 0))
        .where(more.c.related_no == _O.no)
        .correlate(cabinet_orders)
        .scalar_subquery()
    )
    differs = func.coalesce(accepted, 0) != _O.due_fen + supplements
    waits = _O.state == OrderState.REVIEW
    return [
        *_found(tx, "C5", "order", _O.no, is_main, differs),
        *_found(tx, "C8", "order", _O.no, waits, not_(_is_on_desk())),
    ]


def _is_on_desk() -> Any:
    return exists(
        select(cabinet_exceptions.c.id).where(
            cabinet_exceptions.c.order_id == _O.id, cabinet_exceptions.c.open_key.is_not(None)
        )
    )


def _sum(
    kind: ChargeKind,
    states: Sequence[ChargeState],
    column: Any = _C.amount_fen,
    means: Sequence[Means] = tuple(Means),
) -> Any:
    total = select(func.coalesce(func.sum(column), 0)).where(
        _C.order_id == _O.id, _C.kind == kind, _C.state.in_(states), _C.means.in_(means)
    )
    return total.correlate(cabinet_orders).scalar_subquery()


def _journal(biz: str, key: Any, step: str) -> Any:
    mine = ledger_journals.c
    return exists(select(mine.id).where(mine.biz == biz, mine.biz_id == key, mine.step == step))


def _found(tx: Tx, invariant: str, what: str, key: Any, *which: Any) -> Iterator[Violation]:
    for subject in tx.execute(select(key).where(*which).order_by(key).limit(MOST)).scalars():
        text = "the order's rows and the books do not agree"
        yield Violation(invariant, f"{what} {subject}", text)


CHECKS: tuple[Callable[[Tx], Sequence[Violation]], ...] = (
    amounts,
    one_main_order,
    holds_end,
    journals,
    chains,
)
