"""The transactions of service orders: what is wanted of them, and what WeChat says they are.

A score's debt, where it has one, is locked before the score, and keeps all others away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import exists, select, update

from payments import store
from payments.apply import Money, Rules, apply_all, new_number
from payments.model import (
    Actions,
    Applied,
    AttemptState,
    Debt,
    DebtState,
    Outcome,
    RefundStatus,
    next_look,
)
from payments.notices.store import Kept, Notice, keep_notices
from payments.refunds.store import write_refund
from payments.scores.model import (
    IN_FLIGHT_MS,
    OVER,
    RANKS,
    SERVICE_LEAST_MS,
    UNHEARD_MS,
    Fee,
    Score,
    ScoreConflict,
    ScoreLine,
    ScoreNotFound,
    ScoreOver,
    ScorePhase,
    ScoreRequest,
    ScoreTooMuch,
    Wanted,
    Watchers,
    folded,
)
from payments.wechat.payscore_model import Phase, ServiceOrder
from sql import idempotency
from sql.alerts import clear_alert, raise_alert
from sql.database import Tx
from sql.tables.payments import payscore_orders, payscore_permissions
from sql.transaction import insert_missing
from sql.types import Millis

# The watch that does what is wanted.
WAKE: Final = "scores"

# The kind of the alerts about scores a person must look at; the subject is the number.
STUCK: Final = "score.stuck"

encode = msgspec.json.Encoder().encode

# What opens a door is asked for at once by who begins it; whoever died before is followed then.
_BEGUN_MS: Final = 30_000

ASKED, OPEN, CLOSED = "asked", "open", "closed"


# ---------------------------------------------------------------- what domains want


def begin(  # noqa: PLR0913 (each of them is a word of the order)
    tx: Tx,
    *,
    biz: str,
    biz_id: int,
    account_id: int,
    openid: str,
    risk_fen: int,
    introduction: str,
    device_id: str = "",
) -> str:
    """Write down that somebody is to pay afterwards; the order's number. Once for biz, biz_id.

    risk_fen: the most that can be asked for later. introduction: at most 20 characters, shown to
    the user. Whoever has given us the permission confirms nothing. Then Scores.open(number).
    Raises PaymentsStopped.
    """
    store.see_running(tx)
    number = new_number(tx.now)
    request = ScoreRequest(
        openid=openid,
        risk_fen=risk_fen,
        introduction=introduction,
        device_id=device_id,
        needs_confirming=not is_permitted(tx, openid),
    )
    row = {
        "out_order_no": number,
        "biz": biz,
        "biz_id": biz_id,
        "account_id": account_id,
        "openid": openid,
        "request": encode(request).decode(),
        "phase": ScorePhase.NEW,
        "wanted": Wanted.NOTHING,
        "risk_fen": risk_fen,
        "fee_fen": None,
        "fee": encode(Fee()).decode(),
        "order_id": "",
        "package": "",
        "debt_id": None,
        "created_at": tx.now,
        "started_at": None,
        "ended_at": None,
        "next_at": tx.now + _BEGUN_MS,
        "tries": 0,
        "failure": "",
        "version": 0,
    }
    insert_missing(tx, payscore_orders, [row])
    mine = (payscore_orders.c.biz == biz) & (payscore_orders.c.biz_id == biz_id)
    known: str = tx.execute(select(payscore_orders.c.out_order_no).where(mine)).scalar_one()
    return known


def want_complete(  # noqa: PLR0913 (what is asked for, and the debt it is)
    tx: Tx,
    out_order_no: str,
    *,
    fee_fen: int,
    lines: Sequence[ScoreLine],
    started_at: Millis,
    ended_at: Millis,
    kind: str,
    subject: int,
    payer_id: int,
    description: str = "",
) -> Debt | None:
    """Ask for the fee: the debt that its deduction will pay. None for 0, which ends the order.

    lines add up to fee_fen. The deduction comes in as an ordinary payment of an attempt that has
    the order's number; Payments.when_paid(kind, …) runs then. The same again changes nothing.

    Raises ScoreNotFound, ScoreOver, ScoreConflict (another fee was asked for, or WeChat has not
    confirmed the order yet), ScoreTooMuch.
    """
    score = load_score(tx, out_order_no, lock=True)
    if score.fee_fen is not None:
        if score.fee.asked_fen != fee_fen:
            raise ScoreConflict(f"{score.fee.asked_fen} fen were asked for before")
        return None if score.debt_id is None else store.load_debt(tx, score.debt_id)
    if score.is_over or score.wanted is Wanted.CANCEL:
        raise ScoreOver
    if score.phase is ScorePhase.NEW:
        raise ScoreConflict("WeChat has not heard of it")
    _see_fee(score, fee_fen, lines)
    debt = None
    if fee_fen:
        debt = store.owe(
            tx,
            kind=kind,
            subject=subject,
            payer_id=payer_id,
            amount_fen=fee_fen,
            description=description or score.request.introduction,
        )
        store.insert_score_attempt(tx, debt, out_trade_no=out_order_no, openid=score.openid)
    fee = Fee(
        asked_at=tx.now,
        asked_fen=fee_fen,
        lines=folded(lines),
        started_at=started_at,
        ended_at=ended_at,
    )
    debt_id = None if debt is None else debt.id
    _want(tx, score, Wanted.COMPLETE, fee, fee_fen=fee_fen, debt_id=debt_id)
    return debt


def _see_fee(score: Score, fee_fen: int, lines: Sequence[ScoreLine]) -> None:
    """Raises ScoreTooMuch, ScoreConflict."""
    if fee_fen > score.risk_fen:
        raise ScoreTooMuch(f"{score.risk_fen} fen were agreed to")
    if fee_fen < 0 or sum(line.amount_fen for line in lines) != fee_fen:
        raise ScoreConflict("the lines do not add up")


def want_less(
    tx: Tx, out_order_no: str, fee_fen: int, lines: Sequence[ScoreLine], reason: str
) -> bool:
    """Ask for less than before, down to 0; what WeChat deducts first is made up by a refund.

    False when it was deducted before: then nothing is done, and it is for the caller to send
    the difference back. Raises ScoreNotFound, ScoreConflict, ScoreTooMuch.
    """
    score = load_score(tx, out_order_no, lock=True)
    if score.fee_fen is None:
        raise ScoreConflict("nothing was asked for")
    if score.is_over:
        return False
    if fee_fen > score.fee_fen:
        raise ScoreTooMuch(f"{score.fee_fen} fen were asked for before")
    _see_fee(score, fee_fen, lines)
    if fee_fen < score.fee_fen:
        fee = msgspec.structs.replace(
            score.fee, less_fen=fee_fen, less_lines=folded(lines), reason=reason
        )
        is_asked = score.phase is ScorePhase.COLLECTING and score.wanted is not Wanted.SYNC
        _want(tx, score, Wanted.LESS if is_asked else score.wanted, fee, fee_fen=fee_fen)
    return True


def want_cancel(tx: Tx, out_order_no: str, reason: str) -> None:
    """End it without a fee, on certain knowledge that none is due. Again changes nothing.

    Whatever was kept for the user may be let go at once: WeChat may keep an order that was never
    confirmed for 30 days. Raises ScoreNotFound, ScoreConflict once a fee was asked for.
    """
    score = load_score(tx, out_order_no, lock=True)
    if score.fee_fen is not None:
        raise ScoreConflict("a fee was asked for")
    if score.is_over or score.wanted is Wanted.CANCEL:
        return
    if score.phase is ScorePhase.NEW and score.tries == 0:
        # Nobody has called WeChat, and after this nobody will.
        _update(tx, score, phase=ScorePhase.CANCELLED, next_at=None, ended_at=tx.now)
        return
    fee = msgspec.structs.replace(score.fee, reason=reason)
    # One that may be on its way to WeChat at this moment is looked for when it has arrived.
    wait = IN_FLIGHT_MS if score.phase is ScorePhase.NEW else 0
    _want(tx, score, Wanted.CANCEL, fee, next_at=tx.now + wait)


def paid_outside(tx: Tx, out_order_no: str, paid_at: Millis) -> bool:
    """The fee was paid otherwise: WeChat is told to deduct nothing, and the debt is no more.

    What WeChat deducts all the same goes back by itself. False when it was deducted before: then
    nothing is done, and it is for the caller to send one of the two payments back.
    Raises ScoreNotFound, ScoreConflict when nothing was asked for.
    """
    debt_id = load_score(tx, out_order_no).debt_id
    debt = None if debt_id is None else store.load_debt(tx, debt_id, lock=True)
    score = load_score(tx, out_order_no, lock=True)
    if debt is None:
        raise ScoreConflict("nothing was asked for")
    if score.is_over or debt.is_settled:
        return False
    store.give_up_score_debt(tx, debt)
    fee = msgspec.structs.replace(score.fee, paid_at=paid_at)
    is_asked = score.phase is ScorePhase.COLLECTING
    _want(tx, score, Wanted.SYNC if is_asked else score.wanted, fee)
    return True


def _want(tx: Tx, score: Score, wanted: Wanted, fee: Fee, **values: Any) -> None:
    is_end = wanted is Wanted.COMPLETE
    earliest = fee.started_at + SERVICE_LEAST_MS if is_end else tx.now
    given = {"next_at": max(tx.now, earliest), **values}
    _update(tx, score, wanted=wanted, fee=encode(fee).decode(), tries=0, failure="", **given)
    tx.wake(WAKE)


# ---------------------------------------------------------------- doing it


def due_scores(tx: Tx, *, most: int) -> list[str]:
    """The numbers of the scores whose time has come."""
    due = select(payscore_orders.c.out_order_no).where(payscore_orders.c.next_at <= tx.now)
    return list(tx.execute(due.order_by(payscore_orders.c.next_at).limit(most)).scalars())


def take_up(tx: Tx, out_order_no: str) -> Score:
    """A score to call WeChat about now, put off so that whoever dies is followed soon.

    What has become of its debt meanwhile decides what is wanted: one that was paid by another
    attempt is told of, one that was cancelled is lowered to nothing. Raises ScoreNotFound.
    """
    score, debt = _locked(tx, out_order_no)
    if score.is_over:
        return score
    values: dict[str, Any] = {}
    if score.phase is ScorePhase.COLLECTING and debt is not None:
        values = _after_debt(tx, score, debt)
    _update(tx, score, next_at=tx.now + IN_FLIGHT_MS, tries=score.tries + 1, **values)
    return load_score(tx, out_order_no)


def _after_debt(tx: Tx, score: Score, debt: Debt) -> dict[str, Any]:
    """The want that the state of the debt gives rise to, in columns."""
    fee = score.fee
    attempt = store.find_attempt(tx, score.out_order_no)
    if score.wanted is Wanted.SYNC or not attempt.is_live:
        return {}
    if debt.is_settled:
        fee = msgspec.structs.replace(fee, paid_at=debt.ended_at)
        return {"wanted": Wanted.SYNC, "fee": encode(fee).decode()}
    is_given_up = debt.state is DebtState.CANCELLED or debt.is_over(tx.now)
    if is_given_up and score.fee_fen:
        nothing = (ScoreLine("", 0),)
        fee = msgspec.structs.replace(fee, less_fen=0, less_lines=nothing, reason="不再收取")
        return {"wanted": Wanted.LESS, "fee": encode(fee).decode(), "fee_fen": 0}
    return {}


def confirm_instead(tx: Tx, out_order_no: str) -> Score:
    """The permission is no more: let the user confirm the order. It was never created."""
    score = load_score(tx, out_order_no, lock=True)
    close_permissions(tx, score.openid)
    request = msgspec.structs.replace(score.request, needs_confirming=True)
    _update(tx, score, request=encode(request).decode())
    return load_score(tx, out_order_no)


def put_off(tx: Tx, out_order_no: str, *, by_ms: Millis, why: str, is_stuck: bool = False) -> Score:
    """What is wanted could not be done now. is_stuck: and a person should know."""
    score = load_score(tx, out_order_no, lock=True)
    if not score.is_over:
        _update(tx, score, next_at=tx.now + by_ms, failure=why[:200])
        if is_stuck:
            raise_alert(tx, STUCK, out_order_no, f"{score.wanted or score.phase}: {why}")
    return load_score(tx, out_order_no)


def end_later(tx: Tx, out_order_no: str) -> None:
    """WeChat's clock says that the service ended before it began: let it have ended now.

    WeChat has refused the first words, so others are no second demand.
    """
    score = load_score(tx, out_order_no, lock=True)
    fee = msgspec.structs.replace(score.fee, ended_at=tx.now)
    _update(tx, score, fee=encode(fee).decode(), next_at=tx.now + 10_000)


def end_unheard(tx: Tx, out_order_no: str, watchers: Watchers) -> Score:
    """WeChat does not know it, and nobody creates it any more."""
    score = load_score(tx, out_order_no, lock=True)
    if score.phase is ScorePhase.NEW:
        _end(tx, score, ScorePhase.CANCELLED, watchers)
    return load_score(tx, out_order_no)


def is_unheard(score: Score, now: Millis) -> bool:
    """Whether nobody is to create it any more."""
    return score.wanted is Wanted.CANCEL or now - score.created_at >= UNHEARD_MS


def refuse(tx: Tx, out_order_no: str, why: str, watchers: Watchers) -> Score:
    """WeChat has refused to create it, for good."""
    score = load_score(tx, out_order_no, lock=True)
    if score.phase is ScorePhase.NEW:
        _end(tx, score, ScorePhase.REFUSED, watchers, failure=why[:200])
    return load_score(tx, out_order_no)


def cancelled(tx: Tx, out_order_no: str, rules: Rules, watchers: Watchers) -> Score:
    """WeChat has cancelled it."""
    score, debt = _locked(tx, out_order_no)
    if not score.is_over:
        _leave_attempt(tx, score, debt, rules.actions)
        _end(tx, score, ScorePhase.CANCELLED, watchers)
    return load_score(tx, out_order_no)


# ---------------------------------------------------------------- what WeChat says


_PHASES: Final = {phase: ScorePhase(phase.value) for phase in Phase}

# What became of a deduction is settled by these; the others are asked for again.
_TAKEN: Final = frozenset({Outcome.PAID, Outcome.REPEATED, Outcome.LATE, Outcome.UNKNOWN})


def settle(
    tx: Tx,
    found: ServiceOrder,
    rules: Rules,
    watchers: Watchers,
    *,
    source: str,
    notice: Notice | None = None,
) -> str:
    """Take what WeChat says of an order, asked or not, in any order and however often.

    Money in it is applied as all money is; then the score goes forward, never back. Returns what
    it has come to, or "score.unknown" for a number that is not ours.
    """
    verdict = _settle(tx, found, rules, watchers, source)
    if notice is not None:
        keep_notices(tx, [Kept(notice=notice, verdict=verdict, number=found.out_order_no)])
    return verdict


def _settle(tx: Tx, found: ServiceOrder, rules: Rules, watchers: Watchers, source: str) -> str:
    money = [Money(fact) for fact in found.facts(source=source)]
    try:
        score, debt = _locked(tx, found.out_order_no)
    except ScoreNotFound:
        # Money is a fact, whatever it is for: it waits for a person.
        apply_all(tx, money, rules)
        return "score.unknown"
    _lower(tx, score, debt, found)
    outcomes = apply_all(tx, money, rules) if money else []
    phase = _PHASES[found.phase]
    if not all(applied.outcome in _TAKEN for applied in outcomes):
        # It is not ours yet.
        phase = min(phase, ScorePhase.COLLECTING, key=RANKS.__getitem__)
    if not score.is_over and RANKS[phase] >= RANKS[score.phase]:
        _advance(tx, score, phase, found, rules.actions, watchers)
    if any(applied.outcome is Outcome.HELD for applied in outcomes):
        _update(tx, score, next_at=tx.now + IN_FLIGHT_MS)
    if phase is ScorePhase.PAID and outcomes:
        _send_back_more(tx, score, outcomes)
    return f"score.{load_score(tx, found.out_order_no).phase}"


def _lower(tx: Tx, score: Score, debt: Debt | None, found: ServiceOrder) -> None:
    """WeChat has taken our lowering: what is owed is so much, before it is paid."""
    less_fen = score.fee.less_fen
    if debt is None or less_fen is None or not less_fen <= found.total_fen:
        return
    attempt = store.find_attempt(tx, score.out_order_no)
    if attempt.is_live and 0 < found.total_fen < attempt.amount_fen:
        store.lower_attempt(tx, attempt, debt, found.total_fen)


def _advance(
    tx: Tx,
    score: Score,
    phase: ScorePhase,
    found: ServiceOrder,
    actions: Actions,
    watchers: Watchers,
) -> None:
    was, score.phase = score.phase, phase
    values: dict[str, Any] = {
        "order_id": found.order_id or score.order_id,
        "package": found.package or score.package,
        "failure": "",
    }
    if phase in OVER:
        debt = None if score.debt_id is None else store.load_debt(tx, score.debt_id, lock=True)
        _leave_attempt(tx, score, debt, actions)
        _end(tx, score, phase, watchers, **values)
        return
    if phase is ScorePhase.COLLECTING:
        values["wanted"] = score.wanted = _next_want(score, found.total_fen)
        if score.debt_id is not None:
            attempt = store.find_attempt(tx, score.out_order_no)
            store.submit_attempt(tx, attempt.id, None)
    if phase is ScorePhase.RUNNING and score.started_at is None:
        values["started_at"] = tx.now
    if phase is not was or not score.wanted:
        values["tries"] = 0
    values["next_at"] = tx.now if score.wanted and phase is not was else _next_at(tx, score)
    _update(tx, score, phase=phase, **values)
    if phase is ScorePhase.RUNNING and was is not phase and score.wanted is not Wanted.CANCEL:
        action = watchers.confirmed.get(score.biz)
        if action is not None:
            action(tx, score.biz_id)


def _next_want(score: Score, total_fen: int) -> Wanted:
    """What is still wanted of an order whose fee was asked for."""
    if score.fee.paid_at is not None:
        return Wanted.SYNC
    less_fen = score.fee.less_fen
    return Wanted.LESS if less_fen is not None and less_fen < total_fen else Wanted.NOTHING


def _next_at(tx: Tx, score: Score) -> Millis:
    since = {
        ScorePhase.COLLECTING: score.fee.asked_at,
        ScorePhase.RUNNING: score.started_at or tx.now,
    }.get(score.phase, score.created_at)
    look = next_look(since=since, now=tx.now)
    # What is wanted and was not reached by this call is tried again in a while.
    return min(look, tx.now + IN_FLIGHT_MS) if score.wanted else look


def _leave_attempt(tx: Tx, score: Score, debt: Debt | None, actions: Actions) -> None:
    """No money will come under the number. Of an order that ended free, none is owed either."""
    if debt is None:
        return
    attempt = store.find_attempt(tx, score.out_order_no)
    if not attempt.is_live:
        return
    store.end_attempt(tx, attempt.id, AttemptState.CLOSED, actions, failure=str(score.phase))
    debt = store.load_debt(tx, debt.id)
    if score.phase is ScorePhase.FREE and debt.state is DebtState.UNPAID:
        store.cancel_debt(tx, debt, actions)


def _end(tx: Tx, score: Score, phase: ScorePhase, watchers: Watchers, **values: Any) -> None:
    _update(
        tx,
        score,
        phase=phase,
        wanted=Wanted.NOTHING,
        next_at=None,
        ended_at=tx.now,
        tries=0,
        **values,
    )
    clear_alert(tx, STUCK, score.out_order_no)
    action = watchers.over.get(score.biz)
    if action is not None:
        action(tx, score.biz_id, phase)


def _send_back_more(tx: Tx, score: Score, outcomes: Sequence[Applied]) -> None:
    """WeChat deducted before it had heard that less is due: the difference goes back, once."""
    less_fen = score.fee.less_fen
    if less_fen is None or all(applied.outcome is not Outcome.PAID for applied in outcomes):
        return
    receipt = store.receipts_of(tx, score.out_order_no, lock=True)[0]
    if receipt.amount_fen > less_fen:
        write_refund(
            tx,
            receipt,
            store.load_debt(tx, receipt.debt_id or 0),
            amount_fen=receipt.amount_fen - less_fen,
            out_refund_no=new_number(tx.now),
            once_key=f"score:{score.out_order_no}",
            reason=score.fee.reason[:80] or "多收退回",
            asked_by=0,
            status=RefundStatus.REQUESTED,
        )


# ---------------------------------------------------------------- permissions


def is_permitted(tx: Tx, openid: str) -> bool:
    """Whether the user lets us open service orders without confirming, as far as we know."""
    mine = (payscore_permissions.c.openid == openid) & (payscore_permissions.c.state == OPEN)
    return bool(openid) and tx.execute(select(exists().where(mine))).scalar_one()


def ask_permission(tx: Tx, *, account_id: int, openid: str) -> str:
    """The authorization_code to ask for a permission with: one that was not answered, or new."""
    mine = (payscore_permissions.c.account_id == account_id) & (
        payscore_permissions.c.openid == openid
    )
    waits = select(payscore_permissions.c.authorization_code).where(
        mine, payscore_permissions.c.state == ASKED
    )
    code = tx.execute(waits.order_by(payscore_permissions.c.id.desc()).limit(1)).scalar()
    if code is None:
        code = new_number(tx.now)
        _insert_permission(tx, code, account_id, openid, ASKED, 0)
    return str(code)


def _insert_permission(
    tx: Tx, code: str, account_id: int, openid: str, state: str, changed_at: Millis
) -> None:
    row = {
        "authorization_code": code,
        "account_id": account_id,
        "openid": openid,
        "state": state,
        "created_at": tx.now,
        "changed_at": changed_at,
    }
    insert_missing(tx, payscore_permissions, [row])


def note_permission(
    tx: Tx, *, authorization_code: str, openid: str, is_granted: bool, changed_at: Millis
) -> bool:
    """WeChat tells of a permission; False when something newer is known. In any order."""
    code = authorization_code or idempotency.fingerprint(openid)[:32]
    _insert_permission(tx, code, 0, openid, ASKED, 0)
    mine = payscore_permissions.c.authorization_code == code
    if not is_granted:
        # Whichever it was given with, there is none any more.
        mine |= payscore_permissions.c.openid == openid
    changed = tx.execute(
        update(payscore_permissions)
        .where(mine, payscore_permissions.c.changed_at < changed_at)
        .values(state=OPEN if is_granted else CLOSED, openid=openid, changed_at=changed_at)
    )
    return changed.rowcount > 0


def close_permissions(tx: Tx, openid: str) -> None:
    """WeChat knows of none."""
    mine = (payscore_permissions.c.openid == openid) & (payscore_permissions.c.state == OPEN)
    tx.execute(update(payscore_permissions).where(mine).values(state=CLOSED, changed_at=tx.now))


# ---------------------------------------------------------------- rows


def load_score(tx: Tx, out_order_no: str, *, lock: bool = False) -> Score:
    """Raises ScoreNotFound."""
    query = select(payscore_orders).where(payscore_orders.c.out_order_no == out_order_no)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise ScoreNotFound
    return _as_score(row)


def score_of(tx: Tx, biz: str, biz_id: int) -> Score | None:
    """The score of something of a domain, if it has one."""
    mine = (payscore_orders.c.biz == biz) & (payscore_orders.c.biz_id == biz_id)
    row = tx.execute(select(payscore_orders).where(mine)).one_or_none()
    return None if row is None else _as_score(row)


def _as_score(row: Any) -> Score:
    values = {str(name): value for name, value in row._mapping.items()}
    values["request"] = msgspec.json.decode(values["request"], type=ScoreRequest)
    values["fee"] = msgspec.json.decode(values["fee"], type=Fee)
    return msgspec.convert(values, Score)


def _locked(tx: Tx, out_order_no: str) -> tuple[Score, Debt | None]:
    """A score and its debt, the debt's lock first. Raises ScoreNotFound."""
    debt_id = load_score(tx, out_order_no).debt_id
    debt = None if debt_id is None else store.load_debt(tx, debt_id, lock=True)
    score = load_score(tx, out_order_no, lock=True)
    if score.debt_id is not None and debt is None:
        # Asked for between the two looks.
        debt = store.load_debt(tx, score.debt_id, lock=True)
    return score, debt


def _update(tx: Tx, score: Score, **values: Any) -> None:
    """Change a score this transaction has locked."""
    changed = tx.execute(
        update(payscore_orders)
        .where(payscore_orders.c.id == score.id)
        .values(version=payscore_orders.c.version + 1, **values)
    )
    store.must_be(changed.rowcount, 1)
