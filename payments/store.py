"""The queries of debts, attempts and receipts, and the short transactions on them.

Locks are taken in one order everywhere: debts, then attempts, then receipts and refunds, then
the ledger, then streams.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import BindParameter, Select, bindparam, func, insert, not_, or_, select, update

from payments.gateway import Placed, PlaceOrder, TradeType
from payments.ledger.store import is_stopped
from payments.model import (
    DEBT_MOVES,
    LIVE,
    MINUTE_MS,
    ORDER_LEAST_MS,
    PREPAY_GOOD_MS,
    Actions,
    Attempt,
    AttemptState,
    Debt,
    DebtCancelled,
    DebtExpired,
    DebtNotFound,
    DebtPaid,
    DebtState,
    PaymentNotFound,
    PaymentsStopped,
    Receipt,
    next_ask,
)
from sql import events, idempotency
from sql.database import Tx
from sql.tables.core import idempotency as kept_keys
from sql.tables.payments import debts, payment_attempts, payscore_orders, receipts
from sql.transaction import Bulk
from sql.types import Millis

S = TypeVar("S")

# WeChat deducts without a limit of time; what is shown as an attempt's end is this.
SCORE_GOOD_MS = 365 * 24 * 60 * MINUTE_MS

# Where the money of a debt belongs that does not say otherwise.
SALES = "sales"

encode = msgspec.json.Encoder().encode

_LIVE = sorted(LIVE)
_NOT_DEDUCTED = payment_attempts.c.trade_type != TradeType.PAYSCORE


# Owing


def owe(  # noqa: PLR0913 (each of them is a word of the debt)
    tx: Tx,
    *,
    kind: str,
    subject: int,
    payer_id: int,
    amount_fen: int,
    description: str,
    expires_at: Millis | None = None,
    account: str = SALES,
) -> Debt:
    """Write down that somebody owes, in the transaction of what it is owed for.

    account: the ledger account its money belongs to. expires_at: then it is cancelled, unless
    it is paid.
    """
    row = {
        "kind": kind,
        "subject": subject,
        "payer_id": payer_id,
        "amount_fen": amount_fen,
        "refunded_fen": 0,
        "account": account,
        "description": description,
        "state": DebtState.UNPAID,
        "created_at": tx.now,
        "expires_at": expires_at,
        "cancel_asked_at": None,
        "ended_at": None,
        "next_at": expires_at,
        "version": 0,
    }
    key = tx.execute(insert(debts), row).inserted_primary_key
    assert key is not None
    return load_debt(tx, key[0])


# What every notice runs is built once: to build a statement takes as long as to run it.
_DEBTS = select(debts).where(debts.c.id.in_(bindparam("ids", expanding=True))).order_by(debts.c.id)
_LOCK_DEBTS = _DEBTS.with_for_update()


def load_debts(tx: Tx, ids: Iterable[int], *, lock: bool = False) -> dict[int, Debt]:
    """Debts by id; unknown ones are left out."""
    rows = tx.execute(_LOCK_DEBTS if lock else _DEBTS, {"ids": sorted(ids)})
    return {row.id: _as(Debt, row) for row in rows}


def load_debt(tx: Tx, debt_id: int, *, lock: bool = False) -> Debt:
    """Raises DebtNotFound."""
    found = load_debts(tx, [debt_id], lock=lock)
    if not found:
        raise DebtNotFound
    return found[debt_id]


def debts_of(tx: Tx, kind: str, subject: int) -> list[Debt]:
    """All debts for this, oldest first."""
    mine = (debts.c.kind == kind) & (debts.c.subject == subject)
    return [_as(Debt, row) for row in tx.execute(select(debts).where(mine).order_by(debts.c.id))]


def move_debt(tx: Tx, debt: Debt, to: DebtState, **values: Any) -> None:
    """Move a debt this transaction has locked."""
    assert to in DEBT_MOVES[debt.state], f"debt {debt.id}: {debt.state} to {to}"
    changed = tx.execute(
        update(debts)
        .where(debts.c.id == debt.id, debts.c.state == debt.state)
        .values(state=to, version=debts.c.version + 1, **values)
    )
    must_be(changed.rowcount, 1)
    debt.state = to


_PAY = (
    update(debts)
    .where(
        debts.c.id.in_(bindparam("ids", expanding=True)),
        debts.c.state == DebtState.UNPAID,
    )
    .values(
        state=DebtState.PAID,
        version=debts.c.version + 1,
        ended_at=bindparam("now"),
        cancel_asked_at=None,
        next_at=None,
    )
)


def pay_debts(tx: Tx, ids: Collection[int]) -> None:
    """Move unpaid debts, which this transaction has locked, to paid."""
    changed = tx.execute(_PAY, {"ids": sorted(ids), "now": tx.now})
    must_be(changed.rowcount, len(ids))


def must_be(found: int, wanted: int) -> None:
    """A guarded update has met exactly the rows it was for, or nothing of this may stay."""
    assert found == wanted, f"{found} of {wanted} rows were as they must be"


# Attempts


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays what, and how. out_trade_no: for a new attempt. product_id: of a standing code."""

    debt_id: int
    trade_type: TradeType
    openid: str
    client_ip: str
    key: str
    out_trade_no: str
    product_id: str = ""
    appid: str = ""

    def key_of(self, payer_id: int) -> tuple[str, str]:
        """The scope and the fingerprint of the client's key. The address may change on the way."""
        mark = idempotency.fingerprint("pay", self.debt_id, self.trade_type, self.openid)
        return f"payments.pay:{payer_id}", mark


class Begun(msgspec.Struct, frozen=True):
    """The attempt to go on with; or what the client's key was answered before."""

    attempt: Attempt | None
    answer: str = ""
    is_new: bool = False
    key_id: str = ""
    due_fen: int = 0


def begin_attempt(tx: Tx, wanted: Wanted) -> Begun:
    """The debt's live attempt, made unless there is one.

    Raises DebtNotFound, DebtPaid, DebtCancelled, DebtExpired, KeyReused, PaymentsStopped.
    """
    see_running(tx)
    debt = load_debt(tx, wanted.debt_id, lock=True)
    scope, mark = wanted.key_of(debt.payer_id)
    answer = idempotency.once(tx, scope, wanted.key, mark, _not_yet)
    if answer:
        return Begun(None, answer)
    key_id = idempotency.key_id(scope, wanted.key) if wanted.key else ""
    _see_payable(debt, tx.now)
    live = live_attempt(tx, debt.id)
    if live is not None:
        return Begun(live, key_id=key_id, due_fen=debt.amount_fen)
    _insert_attempt(tx, debt, wanted)
    attempt = find_attempt(tx, wanted.out_trade_no)
    return Begun(attempt, is_new=True, key_id=key_id, due_fen=debt.amount_fen)


def see_running(tx: Tx) -> None:
    """Raises PaymentsStopped while the books do not add up: no new money is to move."""
    if is_stopped(tx):
        raise PaymentsStopped


def _not_yet(_: Tx) -> str:
    """A key that is claimed and has no answer: its payment is under way."""
    return ""


def _see_payable(debt: Debt, now: Millis) -> None:
    if debt.is_settled:
        raise DebtPaid
    if debt.state is DebtState.CANCELLED or debt.cancel_asked_at is not None:
        raise DebtCancelled
    if debt.expires_at is not None and debt.expires_at - now < ORDER_LEAST_MS:
        raise DebtExpired


def _insert_attempt(tx: Tx, debt: Debt, wanted: Wanted) -> None:
    ends_at = tx.now + PREPAY_GOOD_MS
    expires_at = ends_at if debt.expires_at is None else min(ends_at, debt.expires_at)
    order = PlaceOrder(
        out_trade_no=wanted.out_trade_no,
        amount_fen=debt.amount_fen,
        description=debt.description,
        trade_type=wanted.trade_type,
        client_ip=wanted.client_ip,
        openid=wanted.openid if wanted.trade_type is TradeType.JSAPI else "",
        product_id=_product_id(debt, wanted),
        appid=wanted.appid,
        starts_at=tx.now,
        expires_at=expires_at,
    )
    row = _attempt_row(tx, debt, order) | {
        "openid": wanted.openid,
        "live_debt": debt.id,
        "next_at": next_ask(since=tx.now, until=expires_at, now=tx.now),
    }
    tx.execute(insert(payment_attempts), row)


def _attempt_row(tx: Tx, debt: Debt, order: PlaceOrder) -> dict[str, Any]:
    request = encode(order).decode()
    return {
        "debt_id": debt.id,
        "live_debt": None,
        "out_trade_no": order.out_trade_no,
        "trade_type": order.trade_type,
        "openid": order.openid,
        "amount_fen": order.amount_fen,
        "request": request,
        "request_hash": idempotency.fingerprint(request),
        "state": AttemptState.CREATED,
        "prepay_id": "",
        "code_url": "",
        "prepaid_at": None,
        "created_at": tx.now,
        "expires_at": order.expires_at,
        "next_at": None,
        "asked_at": tx.now,
        "ended_at": None,
        "failure": "",
    }


def _product_id(debt: Debt, wanted: Wanted) -> str:
    if wanted.trade_type is not TradeType.NATIVE:
        return ""
    return wanted.product_id or str(debt.id)


def live_attempt(tx: Tx, debt_id: int) -> Attempt | None:
    """The one that can be paid by hand; a deduction may be under way beside it."""
    mine = payment_attempts.c.live_debt == debt_id
    row = tx.execute(select(payment_attempts).where(mine).with_for_update()).one_or_none()
    return None if row is None else _as(Attempt, row)


_NUMBERS = payment_attempts.c.out_trade_no.in_(bindparam("numbers", expanding=True))
_ASKED = (
    select(
        payment_attempts.c.id,
        payment_attempts.c.debt_id,
        payment_attempts.c.out_trade_no,
        payment_attempts.c.amount_fen,
        payment_attempts.c.state,
    )
    .where(_NUMBERS)
    .order_by(payment_attempts.c.id)
)
_LOCK_ASKED = _ASKED.with_for_update()


class Asked(msgspec.Struct):
    """Of an attempt, what money that has come for it is compared with."""

    id: int
    debt_id: int
    amount_fen: int
    state: AttemptState


def lock_asked(tx: Tx, numbers: Collection[str]) -> tuple[Mapping[int, Debt], Mapping[str, Asked]]:
    """The debts behind attempts with these out_trade_no, by id, and what was asked for."""
    asked = _asked(tx, _ASKED, numbers)
    owed = load_debts(tx, {one.debt_id for one in asked.values()}, lock=True)
    if tx.dialect == "mysql":
        # Until their debts were locked somebody could change them.
        asked = _asked(tx, _LOCK_ASKED, numbers)
    return owed, asked


def _asked(tx: Tx, query: Select[Any], numbers: Collection[str]) -> dict[str, Asked]:
    return {
        row.out_trade_no: Asked(row.id, row.debt_id, row.amount_fen, AttemptState(row.state))
        for row in tx.execute(query, {"numbers": sorted(numbers)})
    }


def find_attempt(tx: Tx, out_trade_no: str) -> Attempt:
    """Raises PaymentNotFound."""
    mine = payment_attempts.c.out_trade_no == out_trade_no
    row = tx.execute(select(payment_attempts).where(mine)).one_or_none()
    if row is None:
        raise PaymentNotFound
    return _as(Attempt, row)


def payment(tx: Tx, out_trade_no: str) -> tuple[Attempt, Debt]:
    """An attempt and what it is for. Raises PaymentNotFound."""
    attempt = find_attempt(tx, out_trade_no)
    return attempt, load_debt(tx, attempt.debt_id)


def submit_attempt(tx: Tx, attempt_id: int, placed: Placed | None) -> Attempt:
    """WeChat has heard of it, or (None) may have. What was noted first of an order stays."""
    mine = payment_attempts.c.id == attempt_id
    live = payment_attempts.c.state.in_(_LIVE)
    tx.execute(update(payment_attempts).where(mine, live).values(state=AttemptState.SUBMITTED))
    if placed is not None:
        tx.execute(
            update(payment_attempts)
            .where(mine, payment_attempts.c.prepay_id == "")
            .values(prepay_id=placed.prepay_id, code_url=placed.code_url, prepaid_at=tx.now)
        )
    return _as(Attempt, tx.execute(select(payment_attempts).where(mine)).one())


def keep_answer(tx: Tx, key_id: str, answer: str) -> str:
    """Answer a client's key; the first answer stays, and is told."""
    mine = kept_keys.c.id == key_id
    tx.execute(update(kept_keys).where(mine, kept_keys.c.answer == "").values(answer=answer))
    return idempotency.find_answers(tx, [key_id])[key_id][1]


def end_attempt(
    tx: Tx, attempt_id: int, to: AttemptState, actions: Actions, *, failure: str = ""
) -> bool:
    """Close or fail a live attempt; a debt that waited only for this is cancelled with it.

    False when it was not live any more.
    """
    debt_id = tx.execute(
        select(payment_attempts.c.debt_id).where(payment_attempts.c.id == attempt_id)
    ).scalar_one()
    debt = load_debt(tx, debt_id, lock=True)
    changed = tx.execute(
        update(payment_attempts)
        .where(payment_attempts.c.id == attempt_id, payment_attempts.c.state.in_(_LIVE))
        .values(state=to, live_debt=None, next_at=None, ended_at=tx.now, failure=failure[:200])
    )
    if debt.state is DebtState.UNPAID and debt.is_over(tx.now):
        cancel_debt(tx, debt, actions)
    return changed.rowcount == 1


_SUCCEED = (
    update(payment_attempts)
    .where(
        payment_attempts.c.id.in_(bindparam("ids", expanding=True)),
        payment_attempts.c.state != AttemptState.SUCCESS,
    )
    .values(state=AttemptState.SUCCESS, live_debt=None, next_at=None, ended_at=bindparam("now"))
)


def succeed_attempts(tx: Tx, ids: Collection[int]) -> None:
    """Move attempts, which this transaction has locked, to success."""
    changed = tx.execute(_SUCCEED, {"ids": sorted(ids), "now": tx.now})
    must_be(changed.rowcount, len(ids))


_SOON = (
    update(payment_attempts)
    .where(payment_attempts.c.state.in_(_LIVE), _NOT_DEDUCTED)
    .values(next_at=bindparam("now"))
)
# Deductions are asked about by their scores.
_SCORES_SOON = (
    update(payscore_orders)
    .where(payscore_orders.c.next_at.is_not(None))
    .values(next_at=bindparam("now"))
)
_THESE: BindParameter[Any] = bindparam("these", expanding=True)
_OF_DEBTS_SOON = (
    _SOON.where(payment_attempts.c.live_debt.in_(_THESE)),
    _SCORES_SOON.where(payscore_orders.c.debt_id.in_(_THESE)),
)
_OF_NUMBERS_SOON = (
    _SOON.where(payment_attempts.c.out_trade_no.in_(_THESE)),
    _SCORES_SOON.where(payscore_orders.c.out_order_no.in_(_THESE)),
)


def look_soon(tx: Tx, *, debt_ids: Collection[int], numbers: Collection[str]) -> None:
    """Let the live attempts of these debts, and those of these numbers, be asked about now."""
    for soon, these in ((_OF_DEBTS_SOON, debt_ids), (_OF_NUMBERS_SOON, numbers)):
        if these:
            for statement in soon:
                tx.execute(statement, {"these": sorted(these), "now": tx.now})


def claim_attempts(tx: Tx, *, most: int, not_since: Millis) -> list[Attempt]:
    """The attempts to ask WeChat about now, each put off to its next time.

    Whoever claims one and dies is followed at that time. not_since: those not asked about since
    are due as well.
    """
    live = payment_attempts.c.state.in_(_LIVE)
    due = or_(payment_attempts.c.next_at <= tx.now, payment_attempts.c.asked_at <= not_since)
    open_ones = select(payment_attempts).where(live, payment_attempts.c.next_at.is_not(None), due)
    chosen = open_ones.order_by(payment_attempts.c.next_at)
    found = [_as(Attempt, row) for row in tx.execute(chosen.limit(most).with_for_update())]
    for attempt in found:
        next_at = next_ask(since=attempt.created_at, until=attempt.expires_at, now=tx.now)
        tx.execute(
            update(payment_attempts)
            .where(payment_attempts.c.id == attempt.id)
            .values(next_at=next_at, asked_at=tx.now)
        )
        attempt.next_at = next_at
    return found


def is_deaf(tx: Tx, *, since: Millis, late_ms: int) -> bool:
    """Whether money has been found by asking that nobody had told us of."""
    found = select(receipts.c.transaction_id).where(
        receipts.c.received_at >= since,
        receipts.c.source == "query",
        receipts.c.received_at - receipts.c.paid_at >= late_ms,
    )
    return tx.execute(found.limit(1)).first() is not None


# Cancelling


def ask_cancel(tx: Tx, debt_id: int, actions: Actions) -> tuple[Debt, Attempt | None]:
    """Cancel a debt, or, while it has a live attempt, mark it to be cancelled.

    From the mark on nobody can begin to pay it; what is paid all the same counts.
    Raises DebtNotFound, DebtPaid.
    """
    debt = load_debt(tx, debt_id, lock=True)
    if debt.is_settled:
        raise DebtPaid
    if debt.state is DebtState.CANCELLED:
        return debt, None
    live = live_attempt(tx, debt_id)
    if live is None and not has_deduction(tx, debt_id):
        cancel_debt(tx, debt, actions)
    elif debt.cancel_asked_at is None:
        _mark_cancelled(tx, debt, live)
    return debt, live


def _mark_cancelled(tx: Tx, debt: Debt, live: Attempt | None) -> None:
    debt.cancel_asked_at = tx.now
    mark = update(debts).where(debts.c.id == debt.id, debts.c.state == DebtState.UNPAID)
    must_be(tx.execute(mark.values(cancel_asked_at=tx.now)).rowcount, 1)
    if live is None:
        # Its score is lowered to nothing.
        look_soon(tx, debt_ids=[debt.id], numbers=())
        return
    tx.execute(
        update(payment_attempts)
        .where(payment_attempts.c.id == live.id)
        .values(next_at=max(tx.now, live.closable_at))
    )


def cancel_debt(tx: Tx, debt: Debt, actions: Actions) -> None:
    """Cancel an unpaid debt this transaction has locked, and do what its domain does then."""
    move_debt(tx, debt, DebtState.CANCELLED, ended_at=tx.now, next_at=None)
    debt.ended_at = tx.now
    action = actions.cancelled.get(debt.kind)
    if action is not None:
        action(tx, debt)


def overdue_debts(tx: Tx, *, most: int) -> list[int]:
    """Debts whose time is over."""
    due = select(debts.c.id).where(debts.c.next_at <= tx.now, debts.c.state == DebtState.UNPAID)
    return list(tx.execute(due.order_by(debts.c.next_at).limit(most)).scalars())


def cancel_overdue(tx: Tx, debt_id: int, actions: Actions) -> None:
    """Cancel a debt whose time is over; one with a live attempt is cancelled with that."""
    debt = load_debt(tx, debt_id, lock=True)
    if debt.state is not DebtState.UNPAID:
        return
    if live_attempt(tx, debt_id) is None and not has_deduction(tx, debt_id):
        cancel_debt(tx, debt, actions)
    else:
        tx.execute(update(debts).where(debts.c.id == debt_id).values(next_at=None))


# Deductions of service orders (payments/scores)


def insert_score_attempt(tx: Tx, debt: Debt, *, out_trade_no: str, openid: str) -> None:
    """The attempt that a deduction under this number will pay.

    It does not keep the debt from being paid in another way, and nobody but its score asks
    about it or closes it.
    """
    order = PlaceOrder(
        out_trade_no=out_trade_no,
        amount_fen=debt.amount_fen,
        description=debt.description,
        trade_type=TradeType.PAYSCORE,
        client_ip="",
        openid=openid,
        starts_at=tx.now,
        expires_at=tx.now + SCORE_GOOD_MS,
    )
    tx.execute(insert(payment_attempts), _attempt_row(tx, debt, order))


def has_deduction(tx: Tx, debt_id: int) -> bool:
    """Whether WeChat may deduct what is owed at any moment."""
    mine = (payment_attempts.c.debt_id == debt_id) & payment_attempts.c.state.in_(_LIVE)
    found = select(payment_attempts.c.id).where(mine, not_(_NOT_DEDUCTED)).limit(1)
    return tx.execute(found).first() is not None


def lower_attempt(tx: Tx, attempt: Attempt, debt: Debt, amount_fen: int) -> None:
    """Less will be deducted; so less is owed, unless that is settled already.

    debt: locked by this transaction. Another attempt at the debt, for more, pays it no more.
    """
    mine = payment_attempts.c.id == attempt.id
    tx.execute(update(payment_attempts).where(mine).values(amount_fen=amount_fen))
    unpaid = (debts.c.id == debt.id) & (debts.c.state == DebtState.UNPAID)
    tx.execute(
        update(debts).where(unpaid).values(amount_fen=amount_fen, version=debts.c.version + 1)
    )


def give_up_score_debt(tx: Tx, debt: Debt) -> None:
    """What is owed was paid otherwise; its domain knows, since it says so.

    debt: locked by this transaction, and not settled.
    """
    live = live_attempt(tx, debt.id)
    if debt.state is DebtState.CANCELLED:
        return
    if live is None:
        cancel_debt(tx, debt, Actions())
    elif debt.cancel_asked_at is None:
        _mark_cancelled(tx, debt, live)


# Money that has come in


_RECEIPTS = select(receipts).where(receipts.c.transaction_id.in_(bindparam("ids", expanding=True)))
_INSERT_RECEIPT = Bulk(insert(receipts), Receipt.__struct_fields__)


def find_receipts(tx: Tx, ids: Iterable[str]) -> dict[str, Receipt]:
    """By transaction id."""
    rows = tx.execute(_RECEIPTS, {"ids": sorted(ids)})
    return {row.transaction_id: _as(Receipt, row) for row in rows}


def insert_receipts(tx: Tx, new: Sequence[Receipt]) -> None:
    tx.execute_many(_INSERT_RECEIPT, [msgspec.structs.astuple(receipt) for receipt in new])


def receipts_of(tx: Tx, out_trade_no: str, *, lock: bool = False) -> list[Receipt]:
    """What has come in under a number, the money that paid its debt first."""
    query = select(receipts).where(receipts.c.out_trade_no == out_trade_no)
    query = query.order_by(receipts.c.debt_id.is_(None), receipts.c.received_at)
    rows = tx.execute(query.with_for_update() if lock else query)
    return [_as(Receipt, row) for row in rows]


# For people


def payments_page(
    tx: Tx, *, offset: int, most: int, state: str = "", payer_id: int = 0
) -> tuple[int, list[tuple[Attempt, Debt]]]:
    """Attempts, newest first, and how many there are in all."""
    where = []
    if state:
        where.append(payment_attempts.c.state == state)
    if payer_id:
        mine = select(debts.c.id).where(debts.c.payer_id == payer_id)
        where.append(payment_attempts.c.debt_id.in_(mine))
    total = tx.execute(
        select(func.count()).select_from(payment_attempts).where(*where)
    ).scalar_one()
    chosen = select(payment_attempts).where(*where).order_by(payment_attempts.c.id.desc())
    found = [_as(Attempt, row) for row in tx.execute(chosen.offset(offset).limit(most))]
    owed = load_debts(tx, {attempt.debt_id for attempt in found})
    return total, [(attempt, owed[attempt.debt_id]) for attempt in found]


def count_attempts(tx: Tx) -> Mapping[str, int]:
    """How many attempts there are in each live state."""
    found = (
        select(payment_attempts.c.state, func.count().label("attempts"))
        .where(payment_attempts.c.state.in_(_LIVE))
        .group_by(payment_attempts.c.state)
    )
    return {row.state: row.attempts for row in tx.execute(found)}


def tell(tx: Tx, told: Sequence[tuple[int, str, Mapping[str, Any]]]) -> None:
    """Tell accounts what became of their money: (account, name of the event, data)."""
    names = {f"account:{account_id}" for account_id, _, _ in told}
    heads = events.lock_streams(tx, names)
    lines: dict[str, tuple[events.Head, list[events.Line]]] = {
        name: (head, []) for name, head in heads.items()
    }
    for account_id, name, data in told:
        lines[f"account:{account_id}"][1].append(events.Line(name, 0, encode(data)))
    events.append(tx, lines)


def _as(kind: type[S], row: Any) -> S:
    return msgspec.convert(row._mapping, kind)
