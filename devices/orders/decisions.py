"""What people decide about orders: corrections, refunds, waivers, and the exception desk.

Each is a revision of ours, with who and why, and then settled like any other; each leaves its
line in the audit. Whoever decides on what has changed meanwhile is told so, and one wins.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from accounts.audit import store as audit
from accounts.audit.model import By
from commerce.goods.store import names_of
from devices.desk.model import CabinetException, NothingToApprove, Ruling
from devices.fleet.store import scope_of, sees
from devices.orders import money
from devices.orders.messages import ItemIn, quantities_of
from devices.orders.model import (
    DEBT,
    Body,
    ChargeKind,
    ChargeState,
    ItemsMissing,
    ItemUnknown,
    Lines,
    Means,
    NothingWaived,
    NotPaidYet,
    Order,
    OrderChanged,
    OrderInReview,
    OrderNotFound,
    OrderState,
    Rules,
    SessionMissing,
    TooMuchBack,
    Why,
    accepted,
    under_review,
)
from devices.orders.rows import store as rows
from devices.orders.rows.store import Chain
from devices.orders.settle import Settling, decide, let_off
from devices.orders.shares import add, tally
from devices.orders.store import link
from devices.orders.verdict import allowed, priced
from devices.sessions import store as sessions
from devices.sessions.model import SessionNotFound, State
from sql.database import Tx

# What was said is in doubt: a person has to say what was taken.
_NEEDS_ITEMS: Final = frozenset({Why.CONFLICT, Why.UNCERTAIN, Why.ABNORMAL, Why.UNKNOWN_ITEM})

# Nothing is open in them.
_REFUNDABLE: Final = frozenset({OrderState.PAID, OrderState.WAIVED})


# ---------------------------------------------------------------- corrections


def correct(
    tx: Tx,
    order_id: int,
    quantities: Mapping[str, int],
    *,
    version: int,
    reason: str,
    by: By,
    rules: Rules,
) -> Order:
    """Say how many of each there were; the difference is charged or goes back.

    version: of the chain's first order as it was looked at, whichever of the chain is named: each
    correction changes that one, and perhaps no other. Raises OrderNotFound, OrderChanged,
    OrderInReview, ItemUnknown, PaymentsStopped.
    """
    chain = _seen_by(tx, order_id, by)
    if chain.main.version != version:
        raise OrderChanged
    if under_review(chain.revisions) or accepted(chain.revisions) is None:
        raise OrderInReview
    before = _snapshot(chain)
    _decide(tx, chain, quantities, by=by, reason=reason)
    Settling(tx, chain, rules, by=by.account_id, reason=reason).run()
    _record(tx, chain, by, "cabinet_order.correct", before, reason)
    return chain.main


def _decide(tx: Tx, chain: Chain, quantities: Mapping[str, int], *, by: By, reason: str) -> None:
    lines = _lines(tx, chain, quantities)
    last = accepted(chain.revisions)
    allowance = 0 if last is None else last.body.allowance_fen
    body = Body(lines=allowed(lines, allowance), allowance_fen=allowance, reason=reason)
    decide(tx, chain, body, source=f"staff:{by.account_id}")


def _lines(tx: Tx, chain: Chain, quantities: Mapping[str, int]) -> Lines:
    """At the prices of the session. Raises ItemUnknown, SessionMissing."""
    if chain.session is None:
        raise SessionMissing
    said = [line for each in chain.revisions for line in each.body.lines]
    facts = [each.body.fact for each in chain.revisions if each.body.fact is not None]
    names = {item.sku: item.name for fact in facts for item in (*fact.candidates, *fact.items)}
    names |= {line.sku: line.name for line in said}
    names |= names_of(tx, quantities)
    lines, unknown = priced(quantities, chain.session.prices, names)
    if unknown:
        raise ItemUnknown(", ".join(unknown))
    return lines


# ---------------------------------------------------------------- refunds


def refund(tx: Tx, order_id: int, fen: int | None, *, reason: str, by: By, rules: Rules) -> Order:
    """Send some of what was paid for an order back, or (None) all that is left of it.

    By the ways it came; what goes back by WeChat may wait for a second person in payments. Of an
    order whose rest was waived, what was paid may go back: the rest is let off for good with it.
    Raises OrderNotFound, OrderInReview, NotPaidYet, TooMuchBack, PaymentsStopped.
    """
    chain = _seen_by(tx, order_id, by)
    order = chain.order(order_id)
    if under_review(chain.revisions):
        raise OrderInReview
    if order.state not in _REFUNDABLE:
        raise NotPaidYet
    left = _left_of(chain, order)
    fen = left if fen is None else fen
    if not 0 < fen <= left:
        raise TooMuchBack
    before = _snapshot(chain)
    settling = Settling(tx, chain, rules, by=by.account_id, reason=reason)
    less = order.due_fen - left + fen
    let_off(settling, order_id, less, source=f"staff:{by.account_id}", reason=reason)
    settling.run()
    _record(tx, chain, by, "cabinet_order.refund", before, reason)
    return chain.order(order_id)


def _left_of(chain: Chain, order: Order) -> int:
    """How much of what was paid may still go back."""
    if order.state is OrderState.PAID:
        return order.due_fen
    money = tally(chain.charges_of(order))
    return money.net_fen - money.kept_fen


# ---------------------------------------------------------------- waivers


def waive(tx: Tx, order_id: int, *, reason: str, by: By, rules: Rules) -> Order:
    """Let the buyer off what is unpaid of an order; then the next door opens again.

    Raises OrderNotFound, NothingWaived.
    """
    chain = _seen_by(tx, order_id, by)
    order = chain.order(order_id)
    if order.state is not OrderState.UNPAID:
        raise NothingWaived
    before = _snapshot(chain)
    for charge in chain.charges_of(order):
        is_open = charge.kind is ChargeKind.CAPTURE and charge.state is ChargeState.PENDING
        if is_open and charge.means is Means.WECHAT:
            money.cancel_debt(tx, charge)
    at = chain.orders.index(order)
    settling = Settling(tx, chain, rules, by=by.account_id, reason=reason)
    chain.orders[at] = rows.change(tx, order, state=OrderState.WAIVED)
    settling.run()
    _record(tx, chain, by, "cabinet_order.waive", before, reason)
    return chain.order(order_id)


# ---------------------------------------------------------------- the exception desk


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """What a reviewer says besides the reason. items: all that was taken; absent: as it was said.

    session_id: whose an order is that was nobody's.
    """

    items: tuple[ItemIn, ...] | None = None
    session_id: int = 0


def approve(tx: Tx, exception: CabinetException, by: By, ruling: Ruling, *, rules: Rules) -> None:
    """It is to be charged: what the reviewer lists, or what was said where that is clear.

    Of a refund that was stopped: it is asked for once more. Raises OrderNotFound, ItemsMissing,
    ItemUnknown, SessionMissing, NothingToApprove, PaymentsStopped.
    """
    chain = _of(tx, exception, by)
    reviewed = _reviewed(ruling)
    if chain.session is None:
        chain = _linked(tx, chain, reviewed.session_id)
    before = _snapshot(chain)
    if _is_undecided(chain):
        quantities = _as_said(chain) if reviewed.items is None else quantities_of(reviewed.items)
        _decide(tx, chain, quantities, by=by, reason=ruling.reason)
    elif exception.kind == Why.ABNORMAL:
        money.forget_stopped(tx, chain)
    else:
        raise NothingToApprove
    _follow(tx, chain, exception, by, ruling, rules)
    _record(tx, chain, by, "cabinet_order.approve", before, ruling.reason)


def reject(tx: Tx, exception: CabinetException, by: By, ruling: Ruling, *, rules: Rules) -> None:
    """It is not to be charged: what was accepted before stays, or nothing is due.

    Raises OrderNotFound, NothingToApprove.
    """
    chain = _of(tx, exception, by)
    before = _snapshot(chain)
    if _is_undecided(chain):
        last = accepted(chain.revisions)
        body = Body() if last is None else last.body
        body = Body(lines=body.lines, allowance_fen=body.allowance_fen, reason=ruling.reason)
        decide(tx, chain, body, source=f"staff:{by.account_id}")
    _follow(tx, chain, exception, by, ruling, rules)
    _record(tx, chain, by, "cabinet_order.reject", before, ruling.reason)


def _follow(
    tx: Tx, chain: Chain, exception: CabinetException, by: By, ruling: Ruling, rules: Rules
) -> None:
    deciding = (exception.kind, exception.subject)
    Settling(tx, chain, rules, by=by.account_id, reason=ruling.reason, deciding=deciding).run()


def _is_undecided(chain: Chain) -> bool:
    """Whether something in it waits for a person, or nothing certain was ever said of it."""
    return bool(under_review(chain.revisions)) or accepted(chain.revisions) is None


def _of(tx: Tx, exception: CabinetException, by: By) -> Chain:
    if not exception.order_id:
        raise NothingToApprove
    return _seen_by(tx, exception.order_id, by)


def _reviewed(ruling: Ruling) -> Reviewed:
    """Raises ItemsMissing for what is no list of items."""
    try:
        return msgspec.convert(ruling.details, Reviewed)
    except msgspec.ValidationError as error:
        raise ItemsMissing(str(error)) from error


def _as_said(chain: Chain) -> dict[str, int]:
    """What the latest revision that waits for a person says, if it can be taken as it is."""
    waits = under_review(chain.revisions)
    fact = waits[-1].body.fact if waits else None
    if fact is None or any(each.why in _NEEDS_ITEMS for each in waits):
        raise ItemsMissing
    said: dict[str, int] = {}
    for item in fact.items:
        said[item.sku] = said.get(item.sku, 0) + item.quantity
    return said


def _linked(tx: Tx, chain: Chain, session_id: int) -> Chain:
    """Give nobody's order to a session of its cabinet that has none. Raises SessionMissing."""
    if not session_id:
        raise SessionMissing
    try:
        session = sessions.load(tx, session_id, lock=True)
    except SessionNotFound as error:
        raise SessionMissing from error
    is_its = session.device_id == chain.main.device_id and session.is_shopping
    is_free = rows.of_session(tx, session_id) is None and session.state is not State.REQUESTED
    if not (is_its and is_free):
        raise SessionMissing
    return rows.chain_of(tx, link(tx, chain.main, session), session)


# ---------------------------------------------------------------- who sees it, who did it


def _seen_by(tx: Tx, order_id: int, by: By) -> Chain:
    """The chain an order is in, locked, if it is of a store this person sees."""
    chain = rows.lock_chain(tx, order_id)
    if not sees(scope_of(tx, by.account_id), chain.main.store_id):
        raise OrderNotFound
    return chain


def _snapshot(chain: Chain) -> dict[str, Any]:
    return {
        "rev": chain.main.rev,
        "lines": [
            {"sku": line.sku, "quantity": line.quantity, "amount_fen": line.amount_fen}
            for line in add(*(order.lines for order in chain.orders))
        ],
        "orders": [
            {
                "no": order.no,
                "state": order.state,
                "due_fen": order.due_fen,
                "net_fen": order.net_fen,
            }
            for order in chain.orders
        ],
    }


def _record(
    tx: Tx, chain: Chain, by: By, action: str, before: Mapping[str, Any], reason: str
) -> None:
    audit.record(
        tx,
        actor=by,
        action=action,
        subject=f"{DEBT}:{chain.main.no}"[:64],
        before=before,
        after=_snapshot(chain),
        reason=reason[:200],
    )
