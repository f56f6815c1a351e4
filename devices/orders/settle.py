"""`settle`: what follows for a session's orders, its money and its goods, from what is due.

It may be run at any time and as often as one likes: it looks at what is accepted, charged and
on its way under the locks of the session and its orders, and does what is missing. Whoever
tells of something, a vendor, WeChat or one of us, writes it down and settles.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from devices.desk import store as desk
from devices.orders import beside, money
from devices.orders.model import (
    REVIEWED,
    Body,
    Charge,
    ChargeKind,
    ChargeState,
    Kind,
    Means,
    Order,
    OrderState,
    Revision,
    Rules,
    Verdict,
    accepted,
    under_review,
)
from devices.orders.rows import store as rows
from devices.orders.rows.store import Chain
from devices.orders.shares import (
    Part,
    add,
    may_rise,
    plan,
    quantities,
    share,
    state_after,
    subtract,
    tally,
)
from devices.orders.verdict import LATE_STATES, allowed, content_hash, total_of
from devices.sessions import store as sessions
from devices.sessions.model import MOVES, State
from devices.vendors.port import Certainty
from payments.gateway import PaymentFact
from payments.model import CannotFulfil, Debt, Refund
from payments.scores.model import OVER, ScorePhase
from payments.store import see_running
from sql.database import Tx
from sql.outbox import enqueue

_REVIEWED: Final = {str(why) for why in REVIEWED}

_ENDED: Final = frozenset({OrderState.PAID, OrderState.UNPAID, OrderState.WAIVED, OrderState.EMPTY})

_SESSION_OF: Final[Mapping[OrderState, State]] = {
    OrderState.PUSHED: State.SETTLING,
    OrderState.REVIEW: State.ABNORMAL,
    OrderState.CHARGING: State.SETTLING,
    OrderState.PAID: State.PAID,
    OrderState.WAIVED: State.PAID,
    OrderState.UNPAID: State.UNPAID,
    OrderState.EMPTY: State.NO_PURCHASE,
}

# A session that came to nothing is not opened once more to say so.
_NOTHING: Final = frozenset({State.NOT_OPENED, State.REJECTED, State.NO_PURCHASE})


def settle(tx: Tx, order_id: int, rules: Rules) -> Order:
    """Do what is missing; the first order of the chain. Again it does nothing.

    Raises OrderNotFound, and PaymentsStopped when money would have to move and may not.
    """
    chain = rows.lock_chain(tx, order_id)
    Settling(tx, chain, rules).run()
    return chain.main


class Settling:
    """One chain, locked, on its way to what is due.

    by, reason: of whoever has decided it, 0 and "" for the machine. deciding: kind and subject of
    the exception that is being decided, which the desk itself closes.
    """

    def __init__(
        self,
        tx: Tx,
        chain: Chain,
        rules: Rules,
        *,
        by: int = 0,
        reason: str = "",
        deciding: tuple[str, str] = ("", ""),
    ) -> None:
        self.tx = tx
        self.chain = chain
        self.rules = rules
        self.by = by
        self.reason = reason
        self.deciding = deciding
        self._was = {each.id: each.state for each in chain.orders}

    def run(self, *, may_refund: bool = True) -> None:
        """may_refund: not while the very payment is being written that is to be refunded."""
        target = accepted(self.chain.revisions)
        if target is None:
            waits = under_review(self.chain.revisions)
            self._change(self.chain.main, state=OrderState.REVIEW if waits else OrderState.PUSHED)
        else:
            self._share_out(target)
            for order in list(self.chain.orders):
                self._settle_one(order.id, target, may_refund=may_refund)
        if self.chain.main.state in _ENDED and not under_review(self.chain.revisions):
            money.let_go(self.tx, self.chain)
        self._move_session()
        self._clear_exceptions()
        beside.confirm(self.tx, self.chain)
        beside.tell(self.tx, self.chain, self._was)

    # ------------------------------------------------------------ what is due

    def _share_out(self, target: Revision) -> None:
        """Let each order of the chain have its part of what is due, and the shelf its count."""
        chain = self.chain
        parts = [
            Part(each.due_fen, each.lines, may_rise(each, chain.charges_of(each)))
            for each in chain.orders
        ]
        before = add(*(part.lines for part in parts))
        change = quantities(subtract(target.body.lines, before))
        if change:
            beside.move_stock(self.tx, chain, target, change, by=self.by)
        corrected = bool(change) and chain.main.rev > 0
        for at, part in enumerate(share(target.body.lines, parts)):
            if at == len(chain.orders):
                self._add_supplement(part, target)
                continue
            order = chain.orders[at]
            values: dict[str, Any] = {"due_fen": part.due_fen, "lines": part.lines}
            if not order.is_supplement:
                values["rev"] = target.rev
                if corrected:
                    values["kind"] = Kind.CORRECTED
            self._change(order, **values)

    def _add_supplement(self, part: Part, target: Revision) -> None:
        main = self.chain.main
        values = {
            "no": f"{main.no}-{len(self.chain.orders) + 1}",
            "kind": Kind.SUPPLEMENT,
            "related_no": main.no,
            "state": OrderState.UNPAID,
            "due_fen": part.due_fen,
            "lines": msgspec.json.encode(part.lines).decode(),
            "rev": target.rev,
        }
        same = ("session_id", "vendor", "device_id", "store_id", "account_id", "phone_box")
        values |= {name: getattr(main, name) for name in (*same, "pay_with")}
        added = rows.insert_order(self.tx, values)
        assert added is not None, f"{main.no} was locked, and yet has another supplement"
        self.chain.orders.append(added)

    # ------------------------------------------------------------ its money

    def _settle_one(self, order_id: int, target: Revision, *, may_refund: bool) -> None:
        order = self.chain.order(order_id)
        is_waived = order.state is OrderState.WAIVED
        follows = plan(order.due_fen, tally(self.chain.charges_of(order)), is_waived=is_waived)
        for charge in self._pending(order):
            if charge.means in follows.too_much:
                self._lower(order, charge, follows.needed_fen)
        if follows.charge_fen:
            self._charge(order, follows.charge_fen, target)
        if follows.refund_fen and may_refund:
            self._give_back(order, follows.refund_fen)
        elif follows.refund_fen:
            enqueue(self.tx, money.SETTLE, {"order_id": order.id})
        self.note_money(order_id, is_waived=is_waived, step=f"rev{target.rev}.{target.n}")

    def _pending(self, order: Order) -> list[Charge]:
        return [
            each
            for each in self.chain.charges_of(order)
            if each.kind is ChargeKind.CAPTURE and each.state is ChargeState.PENDING
        ]

    def _lower(self, order: Order, charge: Charge, fen: int) -> None:
        if charge.means is Means.SCORE:
            money.lower_score(self.tx, self.chain, order, charge, fen)
        else:
            money.cancel_debt(self.tx, charge)

    def _charge(self, order: Order, fen: int, target: Revision) -> None:
        """Take what is due, once and by itself; what cannot be taken so is the buyer's to pay.

        A supplement is never silent, unless one of us has decided on it and tickets pay it.
        """
        if any(each.kind is ChargeKind.CAPTURE for each in self.chain.charges_of(order)):
            return
        if order.is_supplement and not (target.is_by_staff and order.pay_with == "ticket"):
            return
        see_running(self.tx)
        if order.pay_with == "ticket":
            taken = money.take_tickets(
                self.tx, self.chain, order, fen, is_whole=order.is_supplement
            )
            if taken < fen:
                money.fail(
                    self.tx, self.chain, order, Means.TICKET, fen - taken, "not enough tickets"
                )
            return
        problem = money.ask_score(self.tx, self.chain, order, fen)
        if problem:
            money.fail(self.tx, self.chain, order, Means.SCORE, fen, problem)

    def _give_back(self, order: Order, fen: int) -> None:
        see_running(self.tx)
        missing = money.give_back(
            self.tx,
            self.chain,
            order,
            fen,
            reason=self.reason or f"订单 {order.no} 已修正",
            by=self.by,
            limit_fen=self.rules.two_person_above_fen,
        )
        if missing:
            text = f"{missing} fen are to go back, and cannot be taken from any payment"
            beside.raise_exception(
                self.tx, self.chain, "abnormal", f"{order.no}:back", text, severity="high"
            )

    def note_money(self, order_id: int, *, is_waived: bool, step: str) -> None:
        """Bring an order's own columns, and the history of sales, to what its charges say."""
        order = self.chain.order(order_id)
        charges = self.chain.charges_of(order)
        sums = tally(charges)
        beside.book(self.tx, self.chain, order, step)
        everything, hands = frozenset(Means), frozenset({Means.SCORE, Means.WECHAT})
        paid = money.done_by(charges, ChargeKind.CAPTURE, everything)
        by_wechat = money.done_by(charges, ChargeKind.CAPTURE, hands)
        state = state_after(order.due_fen, sums, is_waived=is_waived)
        values: dict[str, Any] = {
            "state": state,
            "paid_fen": paid,
            "wechat_fen": by_wechat,
            "tickets": (paid - by_wechat) * 5,
            "refunded_fen": money.done_by(charges, ChargeKind.REFUND, everything),
        }
        if state is OrderState.PAID and order.paid_at is None:
            values["paid_at"] = self.tx.now
        self._change(order, **values)

    # ------------------------------------------------------------ around it

    def _change(self, order: Order, **values: Any) -> None:
        """Change what is not so already."""
        new = {name: value for name, value in values.items() if getattr(order, name) != value}
        if new:
            at = self.chain.orders.index(order)
            self.chain.orders[at] = rows.change(self.tx, order, **new)

    def _move_session(self) -> None:
        session = self.chain.session
        if session is None:
            return
        waits = bool(under_review(self.chain.revisions))
        to = State.ABNORMAL if waits else _SESSION_OF[self.chain.main.state]
        if session.state in _NOTHING and to is State.NO_PURCHASE:
            return
        if session.state in LATE_STATES and self.chain.main.state is OrderState.PUSHED:
            # It is over; what is not certain yet does not begin it again.
            return
        if session.state in {State.OPENING, State.OPEN}:
            # An order is of a door that is closed; the event that says so fills in the time.
            session = sessions.move(self.tx, session, State.CLOSED)
        if session.state is not to and to not in MOVES[session.state]:
            session = sessions.move(self.tx, session, State.SETTLING)
        self.chain.session = sessions.move(self.tx, session, to)

    def _clear_exceptions(self) -> None:
        """What has solved itself is no work for the desk any more."""
        if under_review(self.chain.revisions) or accepted(self.chain.revisions) is None:
            return
        main = self.chain.main
        for kind in rows.open_exceptions(self.tx, main.id):
            if kind in _REVIEWED and (kind, main.no) != self.deciding:
                desk.clear_exception(self.tx, kind, main.no, f"settled by revision {main.rev}")


# ---------------------------------------------------------------- what people decide


def let_off(settling: Settling, order_id: int, fen: int, *, source: str, reason: str) -> None:
    """One order of the chain costs so much less from now on, whatever is in it."""
    chain, tx = settling.chain, settling.tx
    order = chain.order(order_id)
    last = accepted(chain.revisions)
    assert last is not None, "what is paid was accepted"
    lowered = allowed(order.lines, fen)
    at = chain.orders.index(order)
    chain.orders[at] = rows.change(tx, order, due_fen=order.due_fen - fen, lines=lowered)
    lines = add(*(each.lines for each in chain.orders))
    body = Body(lines=lines, allowance_fen=last.body.allowance_fen + fen, reason=reason)
    decide(tx, chain, body, source=source)


def decide(tx: Tx, chain: Chain, body: Body, *, source: str) -> Revision:
    """One of us says what was taken: the next revision, and it is accepted."""
    total = total_of(body.lines)
    revision = rows.add_revision(
        tx,
        chain.main,
        chain.revisions,
        rev=1 + max((each.rev for each in chain.revisions), default=0),
        source=source,
        certainty=Certainty.CERTAIN,
        content_hash=content_hash((), total),
        body=body,
        total_fen=total,
        verdict=Verdict.ACCEPTED,
    )
    chain.revisions.append(revision)
    return revision


# ---------------------------------------------------------------- what payments tell


def paid(tx: Tx, debt: Debt, fact: PaymentFact, rules: Rules) -> None:
    """A debt of ours is paid. Raises CannotFulfil, nothing changed, when no money is needed."""
    found = rows.charge_of_debt(tx, debt.id)
    if found is None:
        raise CannotFulfil(f"nothing was charged by debt {debt.id}")
    chain = rows.lock_chain(tx, found.order_id)
    charge = next(each for each in chain.charges if each.id == found.id)
    order = chain.order(charge.order_id)
    is_waived = order.state is OrderState.WAIVED
    needed = plan(order.due_fen, tally(chain.charges_of(order)), is_waived=is_waived).needed_fen
    back = money.goes_back(tx, chain, debt.amount_fen) if charge.means is Means.SCORE else 0
    if not needed or debt.amount_fen <= back:
        raise CannotFulfil(f"order {order.no} needs no money")
    charge = money.change(
        tx, chain, charge, state=ChargeState.DONE, amount_fen=debt.amount_fen,
        reason=fact.transaction_id,
    )  # fmt: skip
    if back:
        money.add_back(tx, chain, order, charge, back)
    money.give_up_others(tx, chain, order)
    Settling(tx, chain, rules).run(may_refund=False)


def refunded(tx: Tx, debt: Debt, refund: Refund, rules: Rules) -> None:
    """Some of a payment has arrived back with the buyer, whoever has sent it."""
    captured = rows.charge_of_debt(tx, debt.id)
    assert captured is not None, "what nothing was charged by was never paid"
    chain = rows.lock_chain(tx, captured.order_id)
    settling = Settling(tx, chain, rules)
    order = chain.order(captured.order_id)
    charge = _refund_of(chain, debt, refund)
    if charge is None:
        # Sent back by finance, past us: what is due falls with it, so that it is not charged again.
        charge = money.add_back(tx, chain, order, captured, refund.amount_fen)
        left = tally(chain.charges_of(order)).net_fen
        less = min(refund.amount_fen, max(0, order.due_fen - left))
        if less:
            if under_review(chain.revisions):
                text = f"{less} fen were sent back in payments while the order was in review"
                beside.raise_exception(
                    tx, chain, "abnormal", f"{order.no}:back", text, severity="normal"
                )
            source = f"staff:{refund.asked_by}"
            let_off(settling, order.id, less, source=source, reason=refund.reason)
    money.change(tx, chain, charge, state=ChargeState.DONE, refund_no=refund.out_refund_no)
    settling.run()


def _refund_of(chain: Chain, debt: Debt, refund: Refund) -> Charge | None:
    """The charge a refund was asked for by; one of payments' own has no number until now."""
    mine = [
        each for each in chain.charges if each.kind is ChargeKind.REFUND and each.debt_id == debt.id
    ]
    numbered = [each for each in mine if each.refund_no == refund.out_refund_no]
    nameless = [
        each for each in mine if each.refund_no is None and each.amount_fen == refund.amount_fen
    ]
    return next(iter((*numbered, *nameless)), None)


def cancelled(tx: Tx, debt: Debt, rules: Rules) -> None:
    """Nobody pays this debt any more."""
    charge = rows.charge_of_debt(tx, debt.id)
    if charge is not None:
        _give_up(tx, charge, rules, "not paid in time")


def score_over(tx: Tx, session_id: int, phase: ScorePhase, rules: Rules) -> None:
    """A session's Payscore order has ended; without money, what is due is the buyer's to pay."""
    order = rows.of_session(tx, session_id)
    if order is None or phase not in OVER - {ScorePhase.PAID}:
        return
    for charge in rows.charges_of(tx, [order.id]):
        if charge.means is Means.SCORE:
            _give_up(tx, charge, rules, f"Payscore: {phase}")


def _give_up(tx: Tx, charge: Charge, rules: Rules, reason: str) -> None:
    chain = rows.lock_chain(tx, charge.order_id)
    now = next(each for each in chain.charges if each.id == charge.id)
    if now.state is ChargeState.PENDING and now.kind is ChargeKind.CAPTURE:
        money.change(tx, chain, now, state=ChargeState.CANCELLED, reason=reason)
        Settling(tx, chain, rules).run()


def note_stopped(tx: Tx, order_id: int, rules: Rules) -> None:
    """A person has stopped refunds of this order in payments: the money stays, somebody looks."""
    chain = rows.lock_chain(tx, order_id)
    for charge in list(chain.charges):
        is_open = charge.state is ChargeState.PENDING and charge.refund_no
        if is_open and rows.is_withdrawn(tx, charge.refund_no or ""):
            money.change(tx, chain, charge, state=ChargeState.FAILED)
            text = f"the refund {charge.refund_no} of {charge.amount_fen} fen was stopped"
            beside.raise_exception(tx, chain, "abnormal", charge.no, text, severity="normal")
    Settling(tx, chain, rules).run()
