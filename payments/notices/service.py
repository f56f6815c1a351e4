"""Taking WeChat's notices: each is verified, kept as it came, and told to those it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, TypeVar

import msgspec

from payments.apply import Money
from payments.gateway import PaymentFact
from payments.model import MINUTE_MS, Applied, PaymentNotFound
from payments.notices.store import Kept, Notice, keep_bad, keep_notices, notice_of, sweep_bad
from payments.refunds.store import look_at_refund
from payments.wechat.errors import BadMessage
from payments.wechat.payscore_model import ServiceOrder
from sql.alerts import raise_alert
from sql.database import Database, ListVerb, Tx
from sql.errors import DatabaseError
from sql.types import Millis

T = TypeVar("T")

DAY_MS = 24 * 60 * MINUTE_MS
# So many notices a day that are not WeChat's are kept for a person to look at.
BAD_A_DAY = 200
KEEP_BAD_MS = 30 * DAY_MS


class RefundTold(msgspec.Struct, frozen=True):
    """A notice says that something has become of a refund; what, is asked for."""

    out_refund_no: str


class OtherTold(msgspec.Struct, frozen=True):
    """A notice that is WeChat's, and about something that is not settled here."""

    what: str
    number: str = ""


class ScoreTold(msgspec.Struct, frozen=True):
    """A signed notice tells what a service order of Payscore is now."""

    order: ServiceOrder


class PermissionTold(msgspec.Struct, frozen=True, kw_only=True):
    """A user lets us open service orders, or does not any more, since changed_at."""

    authorization_code: str
    openid: str
    is_granted: bool
    changed_at: Millis


Told: TypeAlias = PaymentFact | RefundTold | ScoreTold | PermissionTold | OtherTold
Reader: TypeAlias = Callable[[bytes, Mapping[str, str]], Awaitable[Told]]
"""Verifies and reads a notice. Raises BadMessage."""


class Inbox:
    """readers: by path. apply: the list verb that applies facts, with their notices.

    score_told: takes what is told of Payscore; payments/scores sets it.
    """

    def __init__(
        self, db: Database, readers: Mapping[str, Reader], apply: ListVerb[Money, Applied]
    ) -> None:
        self._db = db
        self._readers = dict(readers)
        self._apply = apply
        self._full_until: Millis = 0
        self.counts: dict[str, int] = {}
        self.score_told: Callable[[Notice, ScoreTold | PermissionTold], Awaitable[str]] | None
        self.score_told = None

    async def receive(self, raw: bytes, headers: Mapping[str, str], path: str) -> str:
        """Take a notice as it came: verify it, keep it, apply it; its verdict.

        When this returns all is stored and the notice need not come again. Raises BadMessage
        for one that is not WeChat's; PaymentNotFound where no notices come to that path.
        """
        reader = self._readers.get(path)
        if reader is None:
            raise PaymentNotFound
        notice = notice_of(raw, headers, path)
        try:
            told = await reader(raw, headers)
        except BadMessage as error:
            await self.refuse(notice, error)
            raise
        verdict = await self._told(notice, told)
        self.count(verdict)
        return verdict

    async def _told(self, notice: Notice, told: Told) -> str:
        if isinstance(told, PaymentFact):
            return await self._paid(notice, told)
        if isinstance(told, RefundTold):
            return await self._db.write(_note_refund, notice, told.out_refund_no)
        if isinstance(told, ScoreTold) and self.score_told is not None:
            number = told.order.out_order_no
            return await self._settled(notice, number, self.score_told(notice, told))
        if isinstance(told, PermissionTold) and self.score_told is not None:
            return await self.score_told(notice, told)
        other = told if isinstance(told, OtherTold) else OtherTold("score.off")
        kept = Kept(notice=notice, verdict=other.what, number=other.number)
        await self._db.write(keep_notices, [kept])
        return other.what

    async def _paid(self, notice: Notice, fact: PaymentFact) -> str:
        applied = self._db.write(self._apply, Money(fact, notice))
        return (await self._settled(notice, fact.out_trade_no, applied)).outcome

    async def _settled(self, notice: Notice, number: str, settled: Awaitable[T]) -> T:
        try:
            return await settled
        except DatabaseError:
            raise
        except Exception:
            # A mistake of ours: WeChat sends it again, and a person should know before.
            await self._db.write(_note_failed, notice, number)
            raise

    async def refuse(self, notice: Notice, error: BadMessage) -> None:
        """Keep what is not WeChat's for a person to look at; a flood is counted only."""
        why = type(error).__name__
        self.count(why)
        now = self._db.now()
        if now < self._full_until <= now + DAY_MS:
            return
        kept = Kept(notice=notice, verdict=why, is_verified=False)
        has_room = await self._db.write(keep_bad, kept, since=now - DAY_MS, most=BAD_A_DAY)
        self._full_until = 0 if has_room else now + 60 * MINUTE_MS

    def count(self, verdict: str) -> None:
        self.counts[verdict] = self.counts.get(verdict, 0) + 1

    async def sweep(self) -> int:
        """Forget old notices that were not WeChat's."""
        older_than = self._db.now() - KEEP_BAD_MS
        swept = 0
        while count := await self._db.write(sweep_bad, older_than=older_than):
            swept += count
        return swept


def _note_refund(tx: Tx, notice: Notice, out_refund_no: str) -> str:
    is_ours = look_at_refund(tx, out_refund_no)
    verdict = "refund" if is_ours else "refund.unknown"
    keep_notices(tx, [Kept(notice=notice, verdict=verdict, number=out_refund_no)])
    return verdict


def _note_failed(tx: Tx, notice: Notice, out_trade_no: str) -> None:
    keep_notices(tx, [Kept(notice=notice, verdict="failed", number=out_trade_no)])
    raise_alert(tx, "payment.failed", out_trade_no, "a verified payment could not be applied")
