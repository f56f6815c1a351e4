"""Making sure: what nobody told us of is asked for, and the day's bill is compared.

Each attempt and refund that is open has the time of its next look in its row. A look first
puts the row off to the time after, so whoever dies in the middle is followed then, and two
processes do not ask at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from payments import store
from payments.asking import Asking
from payments.bills.store import BillReport, compare
from payments.gateway import Gateway, GatewayError
from payments.model import (
    MINUTE_MS,
    Actions,
    Attempt,
    DebtState,
)
from payments.refunds import store as refund_store
from payments.refunds.service import Refunds
from sql.alerts import raise_alert
from sql.database import Database

log = logging.getLogger("callme.payments")

# So many rows a look, and so many calls at a time: WeChat answers slowly, and counts.
LOOK_AT = 100
AT_A_TIME = 8

# When money was found that no notice had told of, all open attempts are asked about every
# minute for half an hour, again and again until notices come.
DEAF_FOR_MS = 30 * MINUTE_MS
DEAF_LATE_MS = 45_000
DEAF_EVERY_MS = 1 * MINUTE_MS


class Reconciler:
    """settle_due is the whole of it; it may run in several processes."""

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        actions: Actions,
        asking: Asking,
        refunds: Refunds,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._actions = actions
        self._asking = asking
        self._refunds = refunds
        self._calls = asyncio.Semaphore(AT_A_TIME)

    async def settle_due(self) -> str:
        """Ask about the attempts and refunds whose time has come; cancel what is out of time."""
        cancelled = await self._cancel_overdue()
        now = self._db.now()
        deaf = await self._db.read(store.is_deaf, since=now - DEAF_FOR_MS, late_ms=DEAF_LATE_MS)
        not_since = now - DEAF_EVERY_MS if deaf else 0
        attempts = await self._db.write(store.claim_attempts, most=LOOK_AT, not_since=not_since)
        refunds = await self._db.write(refund_store.claim_refunds, most=LOOK_AT)
        looks: list[Awaitable[object]] = [self._follow(attempt) for attempt in attempts]
        looks += [self._refunds.push(refund) for refund in refunds]
        outcomes = await asyncio.gather(
            *(self._guarded(look) for look in looks), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                # A mistake with one of them: the others are done, and the job says what it was.
                raise outcome
        return f"{len(attempts)} attempts, {len(refunds)} refunds, {cancelled} cancelled"

    async def _guarded(self, look: Awaitable[object]) -> None:
        """One that cannot be cleared up now keeps its time, and holds no other up."""
        async with self._calls:
            try:
                await look
            except GatewayError as error:
                log.info("not settled yet: %s", error)

    async def _follow(self, attempt: Attempt) -> None:
        debt = await self._db.read(store.load_debt, attempt.debt_id)
        now = self._db.now()
        is_over = debt.state is not DebtState.UNPAID or debt.is_over(now)
        try:
            await self._asking.follow(attempt, is_over=is_over, now=now)
        finally:
            if attempt.next_at is None:
                text = f"WeChat has not ended it since {attempt.expires_at}"
                await self._db.write(raise_alert, "payment.open", attempt.out_trade_no, text)

    async def _cancel_overdue(self) -> int:
        overdue = await self._db.read(store.overdue_debts, most=LOOK_AT)
        for debt_id in overdue:
            await self._db.write(store.cancel_overdue, debt_id, self._actions)
        return len(overdue)

    # The bill

    async def compare_bill(self, day: int) -> BillReport:
        """Compare WeChat's bill of a day (YYYYMMDD) with what we know; nothing is mended.

        What differs is a row for a person, and an alert. May be repeated.
        Raises GatewayError, when the bill cannot be had.
        """
        rows = await self._gateway.bill(day)
        return await self._db.write(compare, day, rows)
