"""Asking WeChat about an attempt, and closing one: what is not known is found out, not guessed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from payments import store
from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    Gateway,
    PaymentFact,
    Queried,
    Reaction,
    Refused,
    TradeState,
    Unknown,
)
from payments.model import Actions, Applied, Attempt, AttemptState, Outcome
from sql.database import Database
from sql.types import Millis

Apply = Callable[[PaymentFact], Awaitable[Applied]]

SETTLED = frozenset({Outcome.PAID, Outcome.REPEATED, Outcome.LATE})
"""The attempt has had its money, whatever became of that."""


class Asking:
    """ask and close may be repeated. Both raise Unknown and Refused."""

    def __init__(self, db: Database, gateway: Gateway, actions: Actions, apply: Apply) -> None:
        self._db = db
        self._gateway = gateway
        self._actions = actions
        self._apply = apply

    async def ask(self, attempt: Attempt) -> TradeState:
        """What WeChat says of it; applied, if it is paid or closed."""
        found = await self._gateway.query(attempt.out_trade_no, appid=attempt.appid)
        if found.state is TradeState.PAID:
            await self._apply(_fact(found))
        if found.state is TradeState.CLOSED:
            await self.end(attempt, AttemptState.CLOSED)
        return found.state

    async def close(self, attempt: Attempt) -> bool:
        """Close it at WeChat, then here; False when it is paid, which is then applied."""
        try:
            await self._gateway.close(attempt.out_trade_no, appid=attempt.appid)
        except AlreadyPaid:
            return await self._see_paid(attempt)
        except AlreadyClosed:
            pass
        except Refused as refusal:
            # WeChat has never heard of the order: nobody can pay it.
            if refusal.reaction is not Reaction.REPEAT_ORDER:
                raise
        await self.end(attempt, AttemptState.CLOSED)
        return True

    async def _see_paid(self, attempt: Attempt) -> bool:
        state = await self.ask(attempt)
        if state is TradeState.CLOSED:
            return True
        if state is not TradeState.PAID:
            raise Unknown("WeChat said that it was paid, and does not say so any more")
        return False

    async def end(self, attempt: Attempt, to: AttemptState, *, failure: str = "") -> None:
        """Close or fail it here."""
        await self._db.write(store.end_attempt, attempt.id, to, self._actions, failure=failure)

    async def follow(self, attempt: Attempt, *, is_over: bool, now: Millis) -> None:
        """Ask about it, and close it when nobody is to pay it any more.

        is_over: its debt is paid, cancelled or out of time. Never sooner than WeChat allows.
        """
        state = await self.ask(attempt)
        if state in {TradeState.PAID, TradeState.CLOSED}:
            return
        if (is_over or now >= attempt.expires_at) and now >= attempt.closable_at:
            await self.close(attempt)


def _fact(found: Queried) -> PaymentFact:
    if found.fact is None:
        raise Unknown("WeChat says that it is paid, and not what")
    return found.fact
