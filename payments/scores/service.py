"""What is done with service orders of Payscore: open, look, do what is wanted, be told.

Nothing here decides anything: what is wanted is in the score's row, what WeChat says goes
through store.settle. So any step may be the last of this process, and any other process goes on
from the row; every call says the same words when it is repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Final

from payments.gateway import GatewayError, Reaction, Refused, Unknown
from payments.ledger.store import is_stopped
from payments.model import PaymentsStopped, PaymentUnknown
from payments.notices.service import PermissionTold, ScoreTold
from payments.notices.store import Kept, Notice, keep_notices
from payments.paying import SETUP
from payments.scores import store
from payments.scores.model import (
    DEDUCTING_MS,
    REFUSED_PAUSE_MS,
    ConfirmedAction,
    Opening,
    OverAction,
    PermissionAsked,
    Score,
    ScoreLine,
    ScoreOver,
    ScorePhase,
    ScoreRefused,
    ScoreUnavailable,
    Wanted,
    Watchers,
    pause_after,
)
from payments.service import Payments
from payments.wechat.errors_v3 import ENDED_EARLY, NO_PERMISSION, RefusedV3
from payments.wechat.payscore import (
    Cancelled,
    Item,
    NewService,
    Payscore,
    RiskFund,
    RiskFundName,
)
from payments.wechat.payscore_model import ServiceOrder
from sql.alerts import raise_alert
from sql.database import Database, Tx

log = logging.getLogger("callme.scores")

# WeChat wants just these words as the name of what an unattended machine sells.
GOODS: Final = "商品信息"

# So many scores a look, and so many calls at a time: WeChat answers slowly, and counts.
LOOK_AT: Final = 100
AT_A_TIME: Final = 8


class Scores:
    """payscore: None where it is not set up; then nothing is opened, and what is open waits."""

    def __init__(self, db: Database, payments: Payments, payscore: Payscore | None) -> None:
        self._db = db
        self._rules = payments.rules
        self._payscore = payscore
        self._watchers = Watchers()
        self._calls = asyncio.Semaphore(AT_A_TIME)
        payments.inbox.score_told = self.told
        if payscore is not None:
            payments.ask_score = self._ask

    # ---------------------------------------------------------------- what domains say

    def when_confirmed(self, biz: str, action: ConfirmedAction) -> None:
        """action(tx, biz_id) runs in the transaction in which an order begins to run.

        It may run again after a deadlock. It is not called for an order that is to be cancelled.
        """
        self._watchers.confirmed[biz] = action

    def when_over(self, biz: str, action: OverAction) -> None:
        """action(tx, biz_id, phase) runs in the transaction in which an order comes to its end."""
        self._watchers.over[biz] = action

    # ---------------------------------------------------------------- opening

    @property
    def is_available(self) -> bool:
        return self._payscore is not None

    def see_available(self) -> Payscore:
        """Raises ScoreUnavailable."""
        if self._payscore is None:
            raise ScoreUnavailable
        return self._payscore

    async def open(self, out_order_no: str) -> Opening:
        """Bring an order that was begun to WeChat: it runs at once, or the user confirms it.

        May be repeated, and by several processes. Raises ScoreUnavailable, ScoreNotFound,
        ScoreRefused (this user may not), ScoreOver, PaymentsStopped; PaymentUnknown when WeChat
        has not answered, and the same may be asked again.
        """
        payscore = self.see_available()
        if await self._db.read(is_stopped):
            raise PaymentsStopped
        score = await self.score(out_order_no)
        if not score.is_over and score.wanted is not Wanted.CANCEL and not _is_there(score):
            score = await self._db.write(store.take_up, out_order_no)
            try:
                score = await self._create(payscore, score)
            except Unknown as error:
                raise PaymentUnknown(out_order_no) from error
        if score.is_over or score.wanted is Wanted.CANCEL:
            raise ScoreOver
        view = None
        if score.phase is ScorePhase.CREATED:
            view = payscore.confirm_view(score.package)
        return Opening(out_order_no=out_order_no, is_confirmed=view is None, view=view)

    async def _create(self, payscore: Payscore, score: Score) -> Score:
        """Raises Unknown, ScoreRefused, ScoreUnavailable, ScoreOver."""
        if store.is_unheard(score, self._db.now()):
            raise ScoreOver
        try:
            found = await payscore.create(_new(score))
        except Refused as refusal:
            return await self._not_created(payscore, score, refusal)
        except Unknown as error:
            await self._wait(score, str(error))
            raise
        except GatewayError as error:
            # The number is used with other data: what it stands for is asked.
            await self._wait(score, str(error), is_stuck=True)
            raise Unknown(str(error)) from error
        return await self._settle(found)

    async def _not_created(self, payscore: Payscore, score: Score, refusal: Refused) -> Score:
        number = refusal.number if isinstance(refusal, RefusedV3) else 0
        if number == NO_PERMISSION and not score.request.needs_confirming:
            score = await self._db.write(store.confirm_instead, score.out_order_no)
            return await self._create(payscore, score)
        if refusal.reaction in {Reaction.RETRY, Reaction.WAIT, Reaction.REPEAT_ORDER}:
            await self._wait(score, str(refusal))
            raise Unknown(str(refusal)) from refusal
        if refusal.reaction is not Reaction.TELL_USER:
            await self._db.write(raise_alert, SETUP, refusal.err_code[:120], str(refusal))
        await self._db.write(store.refuse, score.out_order_no, str(refusal), self._watchers)
        if refusal.reaction is Reaction.TELL_USER:
            raise ScoreRefused(refusal.err_code, refusal.reaction) from refusal
        raise ScoreUnavailable from refusal

    # ---------------------------------------------------------------- looking

    async def score(self, out_order_no: str) -> Score:
        """Raises ScoreNotFound."""
        return await self._db.read(store.load_score, out_order_no)

    async def refresh(self, out_order_no: str) -> Score:
        """Ask WeChat about an order now, for instance when the user comes back from confirming.

        Raises ScoreNotFound, ScoreUnavailable, PaymentUnknown.
        """
        payscore = self.see_available()
        score = await self.score(out_order_no)
        if score.is_over:
            return score
        try:
            return await self._look(payscore, score)
        except GatewayError as error:
            raise PaymentUnknown(out_order_no) from error

    async def _ask(self, out_order_no: str) -> None:
        """As Payments asks about an attempt. Raises GatewayError."""
        await self._look(self.see_available(), await self.score(out_order_no))

    async def _look(self, payscore: Payscore, score: Score) -> Score:
        """What WeChat says of it, taken. Raises GatewayError."""
        found = await payscore.query(score.out_order_no)
        if found is not None:
            return await self._settle(found)
        if score.phase is not ScorePhase.NEW:
            raise Unknown("WeChat does not know an order that it knew")
        return score

    async def _settle(self, found: ServiceOrder) -> Score:
        await self._db.write(store.settle, found, self._rules, self._watchers, source="query")
        return await self.score(found.out_order_no)

    async def detail_view(self, out_order_no: str) -> dict[str, Any]:
        """The arguments of wx.openBusinessView where the user sees the order, and can pay it."""
        payscore = self.see_available()
        await self.score(out_order_no)
        return payscore.detail_view(out_order_no)

    # ---------------------------------------------------------------- doing what is wanted

    async def push_due(self) -> str:
        """Do what is wanted, ask what is open. Nothing moves while the books do not add up."""
        if self._payscore is None:
            return "off"
        if await self._db.read(is_stopped):
            return "stopped"
        numbers = await self._db.read(store.due_scores, most=LOOK_AT)
        pushes = [self._guarded(self._push(self._payscore, number)) for number in numbers]
        outcomes = await asyncio.gather(*pushes, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                # A mistake with one of them: the others are done, and the job says what it was.
                raise outcome
        return f"{len(numbers)} scores"

    async def _guarded(self, push: Awaitable[object]) -> None:
        async with self._calls:
            await push

    async def _push(self, payscore: Payscore, out_order_no: str) -> None:
        score = await self._db.write(store.take_up, out_order_no)
        try:
            if score.phase is ScorePhase.NEW:
                await self._bring(payscore, score)
                return
            if score.tries > 1 or not score.wanted:
                # Perhaps it was done, and only the answer was lost.
                score = await self._look(payscore, score)
            was = None
            while not score.is_over and score.wanted and score.wanted is not was:
                # The fee, then perhaps the lesser fee.
                was = score.wanted
                score = await self._act(payscore, score)
        except Unknown as error:
            log.info("score %s is not settled yet: %s", out_order_no, error)
            await self._wait(score, str(error))
        except GatewayError as error:
            await self._refused(payscore, score, error)

    async def _bring(self, payscore: Payscore, score: Score) -> None:
        """Look whether WeChat has it; create it unless the one it was for has gone."""
        found = await self._look(payscore, score)
        if found.phase is not ScorePhase.NEW:
            return
        if store.is_unheard(score, self._db.now()):
            await self._db.write(store.end_unheard, score.out_order_no, self._watchers)
            return
        try:
            await self._create(payscore, score)
        except (ScoreRefused, ScoreUnavailable, ScoreOver) as refusal:
            log.info("score %s was not created: %s", score.out_order_no, refusal)

    async def _act(self, payscore: Payscore, score: Score) -> Score:
        """Raises GatewayError."""
        number, fee = score.out_order_no, score.fee
        if score.wanted is Wanted.CANCEL:
            return await self._cancel(payscore, score)
        if score.wanted is Wanted.COMPLETE:
            found = await payscore.complete(
                number,
                fees=_items(fee.lines),
                started_at=fee.started_at,
                ended_at=fee.ended_at,
            )
        elif score.wanted is Wanted.LESS:
            found = await payscore.modify(
                number, fees=_items(fee.less_lines), reason=fee.reason[:50] or "金额更正"
            )
        else:
            found = await payscore.sync_paid(number, paid_at=fee.paid_at or self._db.now())
        return await self._settle(found)

    async def _cancel(self, payscore: Payscore, score: Score) -> Score:
        number = score.out_order_no
        outcome = await payscore.cancel(number, reason=score.fee.reason[:30] or "未消费")
        if outcome is Cancelled.LEFT_TO_EXPIRE:
            # Should the user confirm it after all, it can be cancelled then.
            why = "WeChat lets it expire"
            await self._db.write(store.put_off, number, by_ms=REFUSED_PAUSE_MS, why=why)
            return await self._done_for_now(number)
        return await self._db.write(store.cancelled, number, self._rules, self._watchers)

    async def _done_for_now(self, number: str) -> Score:
        score = await self.score(number)
        score.wanted = Wanted.NOTHING
        return score

    async def _refused(self, payscore: Payscore, score: Score, error: GatewayError) -> None:
        """A clear no: perhaps the order is elsewhere in its life than we thought."""
        number = error.number if isinstance(error, RefusedV3) else 0
        if isinstance(error, Refused) and error.reaction is Reaction.WAIT:
            why = f"WeChat is at it: {error}"
            await self._db.write(store.put_off, score.out_order_no, by_ms=DEDUCTING_MS, why=why)
            return
        if number == ENDED_EARLY and score.wanted is Wanted.COMPLETE:
            await self._db.write(store.end_later, score.out_order_no)
            return
        try:
            found = await self._look(payscore, score)
        except GatewayError:
            await self._wait(score, str(error), is_stuck=True)
            return
        if found.wanted is score.wanted and not found.is_over:
            await self._db.write(
                store.put_off,
                score.out_order_no,
                by_ms=REFUSED_PAUSE_MS,
                why=str(error),
                is_stuck=True,
            )

    async def _wait(self, score: Score, why: str, *, is_stuck: bool = False) -> None:
        by_ms = pause_after(score.tries)
        await self._db.write(
            store.put_off, score.out_order_no, by_ms=by_ms, why=why, is_stuck=is_stuck
        )

    # ---------------------------------------------------------------- permissions

    async def ask_permission(self, account_id: int, *, openid: str) -> PermissionAsked:
        """Let the user be asked once and for all. Raises ScoreUnavailable, PaymentUnknown."""
        payscore = self.see_available()
        code = await self._db.write(store.ask_permission, account_id=account_id, openid=openid)
        try:
            token = await payscore.authorize(code)
        except GatewayError as error:
            raise PaymentUnknown(code) from error
        return PermissionAsked(authorization_code=code, view=payscore.permission_view(token))

    async def permission(self, *, openid: str) -> bool:
        """Ask WeChat whether the user lets us open orders. Raises as ask_permission."""
        payscore = self.see_available()
        try:
            found = await payscore.permission(openid=openid)
        except GatewayError as error:
            raise PaymentUnknown("") from error
        if found.is_granted:
            await self._db.write(
                store.note_permission,
                authorization_code=found.authorization_code,
                openid=openid,
                is_granted=True,
                changed_at=self._db.now(),
            )
        else:
            await self._db.write(store.close_permissions, openid)
        return found.is_granted

    async def end_permission(self, *, openid: str, reason: str) -> None:
        """Give the permission back. Raises as ask_permission."""
        payscore = self.see_available()
        try:
            await payscore.revoke_permission(openid=openid, reason=reason)
        except GatewayError as error:
            raise PaymentUnknown("") from error
        await self._db.write(store.close_permissions, openid)

    # ---------------------------------------------------------------- being told

    async def told(self, notice: Notice, told: ScoreTold | PermissionTold) -> str:
        """Take a verified notice, and keep it in the same transaction; its verdict."""
        if isinstance(told, PermissionTold):
            return await self._db.write(_note_permission, notice, told)
        return await self._db.write(
            store.settle,
            told.order,
            self._rules,
            self._watchers,
            source="notify",
            notice=notice,
        )


def _note_permission(tx: Tx, notice: Notice, told: PermissionTold) -> str:
    is_new = store.note_permission(
        tx,
        authorization_code=told.authorization_code,
        openid=told.openid,
        is_granted=told.is_granted,
        changed_at=told.changed_at,
    )
    verdict = "permission" if is_new else "permission.known"
    keep_notices(tx, [Kept(notice=notice, verdict=verdict, number=told.authorization_code)])
    return verdict


def _is_there(score: Score) -> bool:
    """Whether it is at WeChat, and what it is confirmed with is here.

    The package is only in the answer to the creation, which may be repeated.
    """
    if score.phase is ScorePhase.CREATED:
        return bool(score.package)
    return score.phase is not ScorePhase.NEW


def _new(score: Score) -> NewService:
    request = score.request
    return NewService(
        out_order_no=score.out_order_no,
        introduction=request.introduction,
        risk_fund=RiskFund(name=RiskFundName.ESTIMATE_ORDER_COST, amount_fen=request.risk_fen),
        openid=request.openid,
        needs_confirming=request.needs_confirming,
        device_id=request.device_id,
    )


def _items(lines: tuple[ScoreLine, ...]) -> list[Item]:
    asked = lines or (ScoreLine("", 0),)
    return [
        Item(name=GOODS, amount_fen=line.amount_fen, description=line.description) for line in asked
    ]
