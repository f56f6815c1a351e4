"""A seller renews: owes for the months, then pays."""

from __future__ import annotations

from collections.abc import Callable

from payments.gateway import TradeType
from payments.messages import PayRequest
from payments.service import Payments
from queueing.model import Actor
from queueing.renewals import store
from sql.database import Database
from sql.idempotency import fingerprint, once
from sql.types import Millis

# As long as WeChat's code for it is good.
PAY_WITHIN_MS = 2 * 3_600_000


class Renewals:
    """price_fen: of a month."""

    def __init__(
        self, db: Database, payments: Payments, *, now: Callable[[], Millis], price_fen: int
    ) -> None:
        self._db = db
        self._payments = payments
        self._now = now
        self.price_fen = price_fen
        payments.when_paid(store.MONTHS, store.deliver)
        payments.when_refunded(store.MONTHS, store.take_back)

    async def order(
        self,
        stall_id: int,
        by: Actor,
        *,
        months: int,
        trade_type: TradeType,
        openid: str,
        client_ip: str,
        key: str,
    ) -> PayRequest:
        """Owe for months at one's own stall and begin to pay; the same key, the same order.

        Raises StallNotFound, NotYourStall, KeyReused, and what Payments.pay raises.
        """
        mark = fingerprint("renew", stall_id, months, trade_type)
        debt_id = await self._db.write(
            once,
            f"renewal:{by.account_id}",
            key,
            mark,
            store.owe_once,
            stall_id,
            by.account_id,
            months,
            self.price_fen,
            self._now() + PAY_WITHIN_MS,
        )
        return await self._payments.pay(
            int(debt_id), trade_type=trade_type, openid=openid, client_ip=client_ip, key=key
        )
