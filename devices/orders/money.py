"""Taking money for an order, and giving it back: tickets at once, WeChat as a wish of ours.

Nothing here asks WeChat anything: what is wanted is written beside the charge, and done by
payments. Whoever decides how much is devices/orders/settle.py.
"""

from collections.abc import Sequence
from typing import Final

from devices.orders.model import (
    DEBT,
    HOLD,
    Charge,
    ChargeKind,
    ChargeState,
    Means,
    Order,
    charge_no,
)
from devices.orders.rows import store as rows
from devices.orders.rows.store import Chain
from payments.ledger import holds
from payments.ledger.model import (
    HOLD as HELD,
)
from payments.ledger.model import (
    RESOLVE,
    TICKET_REDEEMED,
    Asset,
    Journal,
    Overdrawn,
    tickets_of,
)
from payments.ledger.store import balance, journal_of, post
from payments.model import PaymentNotFound, RefundTooMuch
from payments.money import TICKETS_PER_FEN
from payments.refunds.store import RefundAsk, ask_refund
from payments.scores import store as scores
from payments.scores.model import (
    Score,
    ScoreConflict,
    ScoreLine,
    ScoreNotFound,
    ScoreOver,
    ScoreTooMuch,
)
from sql.database import Tx
from sql.outbox import enqueue

BIZ: Final = "cabinet_order"
"""Of our journals; the number of the charge is what they are of."""

CANCEL: Final = "cabinet.cancel_debt"
SETTLE: Final = "cabinet.settle"
"""Parcels for ourselves: what cannot be done in the transaction that finds it necessary."""

REASON_MAX: Final = 80


# ---------------------------------------------------------------- tickets


def take_tickets(tx: Tx, chain: Chain, order: Order, fen: int, *, is_whole: bool) -> int:
    """Take up to so much in tickets, first what is held; how much was taken, in fen.

    is_whole: all of it, or nothing.
    """
    taken = _try_tickets(tx, chain, order, fen, is_whole=is_whole)
    if taken is None:
        # Whoever was quicker has taken some; now the accounts are ours until the commit.
        taken = _try_tickets(tx, chain, order, fen, is_whole=is_whole)
    assert taken is not None, "tickets that are locked do not become fewer"
    if taken:
        _add(
            tx,
            chain,
            order,
            Means.TICKET,
            taken,
            ChargeState.DONE,
            tickets=taken * TICKETS_PER_FEN,
        )
    return taken


def _try_tickets(tx: Tx, chain: Chain, order: Order, fen: int, *, is_whole: bool) -> int | None:
    """None when there were fewer than there had been a moment ago."""
    account = tickets_of(order.account_id)
    held = held_of(tx, chain)
    there = held + balance(tx, account, Asset.TICKET)
    taken = min(fen, there // TICKETS_PER_FEN)
    if not taken or (is_whole and taken < fen):
        return 0
    tickets = taken * TICKETS_PER_FEN
    of_hold = min(held, tickets)
    free = tickets - of_hold
    more = [(account, Asset.TICKET, -free), (TICKET_REDEEMED, Asset.TICKET, free)] if free else []
    try:
        if of_hold:
            hold_id = str(order.session_id)
            holds.capture(
                tx, HOLD, hold_id, amount=of_hold, to=TICKET_REDEEMED, more=more, memo=order.no
            )
        else:
            n = 1 + _last(chain, order, ChargeKind.CAPTURE)
            no = charge_no(order.id, ChargeKind.CAPTURE, n)
            post(tx, BIZ, no, ChargeKind.CAPTURE, more, order.no)
    except Overdrawn:
        return None
    return taken


def held_of(tx: Tx, chain: Chain) -> int:
    """How many tickets are set aside for the session, until they are captured or released."""
    journal = _hold(tx, chain)
    return 0 if journal is None else journal.entries[1].amount


def _hold(tx: Tx, chain: Chain) -> Journal | None:
    if chain.session is None:
        return None
    number = str(chain.session.id)
    if journal_of(tx, HOLD, number, RESOLVE) is not None:
        return None
    return journal_of(tx, HOLD, number, HELD)


def give_tickets(tx: Tx, chain: Chain, order: Order, fen: int, *, reason: str, by: int) -> None:
    tickets = fen * TICKETS_PER_FEN
    charge = _add(
        tx,
        chain,
        order,
        Means.TICKET,
        fen,
        ChargeState.DONE,
        kind=ChargeKind.REFUND,
        tickets=tickets,
        reason=reason,
        by=by,
    )
    lines = [
        (TICKET_REDEEMED, Asset.TICKET, -tickets),
        (tickets_of(order.account_id), Asset.TICKET, tickets),
    ]
    post(tx, BIZ, charge.no, ChargeKind.REFUND, lines, order.no)


# ---------------------------------------------------------------- Payscore


def ask_score(tx: Tx, chain: Chain, order: Order, fen: int) -> str:
    """Let Payscore deduct the fee; "" or why it cannot."""
    session = chain.session
    if session is None or not session.score_no:
        return "there is no Payscore order"
    try:
        debt = scores.want_complete(
            tx,
            session.score_no,
            fee_fen=fen,
            lines=_score_lines(order),
            started_at=session.opened_at or session.requested_at,
            ended_at=tx.now,
            kind=DEBT,
            subject=order.id,
            payer_id=order.account_id,
            description=f"智能柜订单 {order.no}",
        )
    except (ScoreNotFound, ScoreOver, ScoreConflict, ScoreTooMuch) as refusal:
        return f"Payscore: {refusal.code} {refusal}"
    assert debt is not None, "a fee is a debt"
    _add(tx, chain, order, Means.SCORE, fen, ChargeState.PENDING, debt_id=debt.id)
    return ""


def lower_score(tx: Tx, chain: Chain, order: Order, charge: Charge, fen: int) -> None:
    """Ask Payscore for less, as long as it has not deducted; 0 for nothing at all.

    When it deducts more before it has heard of this, payments send the difference back.
    """
    assert chain.session is not None, "a score is a session's"
    lines = _score_lines(order)
    if not scores.want_less(tx, chain.session.score_no, fen, lines, "订单已修正"):
        return
    if fen:
        _changed(chain, rows.change_charge(tx, charge, amount_fen=fen))
    else:
        _changed(chain, rows.change_charge(tx, charge, state=ChargeState.CANCELLED))


def _score_lines(order: Order) -> list[ScoreLine]:
    """What WeChat shows: the goods, which come to what is asked for."""
    return [
        ScoreLine(line.name, line.amount_fen, line.quantity)
        for line in order.lines
        if line.amount_fen
    ]


def score_of(tx: Tx, chain: Chain) -> Score | None:
    session = chain.session
    if session is None or not session.score_no:
        return None
    try:
        return scores.load_score(tx, session.score_no)
    except ScoreNotFound:
        return None


def goes_back(tx: Tx, chain: Chain, amount_fen: int) -> int:
    """What payments send back by themselves of a deduction: it was more than we last asked for."""
    score = score_of(tx, chain)
    if score is None or score.fee.less_fen is None:
        return 0
    return max(0, amount_fen - score.fee.less_fen)


# ---------------------------------------------------------------- by hand


def give_up_others(tx: Tx, chain: Chain, order: Order) -> None:
    """It is paid in one way: the other one that was open is not to bring money as well."""
    for charge in chain.charges_of(order):
        if charge.state is not ChargeState.PENDING or charge.kind is not ChargeKind.CAPTURE:
            continue
        if charge.means is Means.SCORE:
            assert chain.session is not None, "a score is a session's"
            if scores.paid_outside(tx, chain.session.score_no, tx.now):
                _changed(chain, rows.change_charge(tx, charge, state=ChargeState.CANCELLED))
        else:
            cancel_debt(tx, charge)


def cancel_debt(tx: Tx, charge: Charge) -> None:
    """Let payments close it at WeChat; what is paid before that goes back or counts."""
    enqueue(tx, CANCEL, {"debt_id": charge.debt_id}, key=f"{CANCEL}:{charge.debt_id}")


# ---------------------------------------------------------------- back


def give_back(
    tx: Tx, chain: Chain, order: Order, fen: int, *, reason: str, by: int, limit_fen: int
) -> int:
    """Send so much back by the ways it came, the latest first; how much could not be."""
    for means, debt_id, left in _sources(chain, order):
        part = min(fen, left)
        if not part:
            continue
        if debt_id is None:
            give_tickets(tx, chain, order, part, reason=reason, by=by)
        elif not _refund(tx, chain, order, means, debt_id, part, (reason, by, limit_fen)):
            continue
        fen -= part
    return fen


def _sources(chain: Chain, order: Order) -> list[tuple[Means, int | None, int]]:
    """What came and has not gone back, the latest first; tickets are all alike."""
    came: dict[tuple[Means, int | None], int] = {}
    back: dict[int | None, int] = {}
    for charge in reversed(chain.charges_of(order)):
        debt_id = None if charge.means is Means.TICKET else charge.debt_id
        if charge.kind is ChargeKind.CAPTURE and charge.state is ChargeState.DONE:
            key = (charge.means, debt_id)
            came[key] = came.get(key, 0) + charge.amount_fen
        elif charge.kind is ChargeKind.REFUND and charge.state is not ChargeState.CANCELLED:
            back[debt_id] = back.get(debt_id, 0) + charge.amount_fen
    return [(*key, fen - back.get(key[1], 0)) for key, fen in came.items()]


def _refund(
    tx: Tx,
    chain: Chain,
    order: Order,
    means: Means,
    debt_id: int,
    fen: int,
    why: tuple[str, int, int],
) -> bool:
    """Ask payments for it, under a number of ours. False when there is not so much left there."""
    reason, by, limit_fen = why
    n = 1 + _last(chain, order, ChargeKind.REFUND)
    number = charge_no(order.id, ChargeKind.REFUND, n)
    ask = RefundAsk(
        out_trade_no=rows.number_paid(tx, debt_id),
        amount_fen=fen,
        reason=reason[:REASON_MAX] or "订单已修正",
        by=by,
        key="",
        once_key=number,
        out_refund_no=number,
        two_person_above_fen=limit_fen,
    )
    try:
        refund = ask_refund(tx, ask)
    except (RefundTooMuch, PaymentNotFound):
        # Somebody has sent some of it back at WeChat, or in payments, and we were not told yet.
        return False
    charge = _add(
        tx,
        chain,
        order,
        means,
        fen,
        ChargeState.PENDING,
        kind=ChargeKind.REFUND,
        debt_id=debt_id,
        reason=reason,
        by=by,
    )
    _changed(chain, rows.change_charge(tx, charge, refund_no=refund.out_refund_no))
    return True


# ---------------------------------------------------------------- letting go


def let_go(tx: Tx, chain: Chain) -> None:
    """Nothing more is taken by what was set aside at the opening: tickets and Payscore go free."""
    if _hold(tx, chain) is not None:
        assert chain.session is not None, "a hold is a session's"
        holds.release(tx, HOLD, str(chain.session.id))
    score = score_of(tx, chain)
    if score is not None and score.fee_fen is None:
        scores.want_cancel(tx, score.out_order_no, "没有消费")


# ---------------------------------------------------------------- charges


def fail(tx: Tx, chain: Chain, order: Order, means: Means, fen: int, reason: str) -> None:
    """Keep why it could not be taken; it is not tried again by itself."""
    _add(tx, chain, order, means, fen, ChargeState.FAILED, reason=reason)


def forget_stopped(tx: Tx, chain: Chain) -> None:
    """What a person has kept from going back is to go back after all, by a refund of its own."""
    for charge in list(chain.charges):
        if charge.kind is ChargeKind.REFUND and charge.state is ChargeState.FAILED:
            change(tx, chain, charge, state=ChargeState.CANCELLED)


def add_capture(tx: Tx, chain: Chain, order: Order, fen: int, *, debt_id: int) -> Charge:
    """A payment by hand is on its way."""
    return _add(tx, chain, order, Means.WECHAT, fen, ChargeState.PENDING, debt_id=debt_id)


def change(tx: Tx, chain: Chain, charge: Charge, **values: object) -> Charge:
    changed = rows.change_charge(tx, charge, **values)
    _changed(chain, changed)
    return changed


def add_back(
    tx: Tx, chain: Chain, order: Order, charge: Charge, fen: int, **values: object
) -> Charge:
    """Money goes back that somebody else has decided on."""
    added = _add(
        tx,
        chain,
        order,
        charge.means,
        fen,
        ChargeState.PENDING,
        kind=ChargeKind.REFUND,
        debt_id=charge.debt_id,
        reason="sent back by payments",
    )
    return change(tx, chain, added, **values) if values else added


def _add(  # noqa: PLR0913 (the columns of the row)
    tx: Tx,
    chain: Chain,
    order: Order,
    means: Means,
    fen: int,
    state: ChargeState,
    *,
    kind: ChargeKind = ChargeKind.CAPTURE,
    tickets: int = 0,
    debt_id: int | None = None,
    reason: str = "",
    by: int = 0,
) -> Charge:
    charge = rows.add_charge(
        tx,
        order,
        chain.charges,
        kind=kind,
        means=means,
        amount_fen=fen,
        state=state,
        tickets=tickets,
        debt_id=debt_id,
        reason=reason,
        by=by,
    )
    chain.charges.append(charge)
    return charge


def _changed(chain: Chain, charge: Charge) -> None:
    at = next(at for at, each in enumerate(chain.charges) if each.id == charge.id)
    chain.charges[at] = charge


def _last(chain: Chain, order: Order, kind: ChargeKind) -> int:
    return max((each.n for each in chain.charges_of(order) if each.kind is kind), default=0)


def done_by(charges: Sequence[Charge], kind: ChargeKind, means: frozenset[Means]) -> int:
    """What is done of a kind, by these means, in fen."""
    return sum(
        each.amount_fen
        for each in charges
        if each.kind is kind and each.state is ChargeState.DONE and each.means in means
    )
