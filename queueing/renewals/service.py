"""A seller renews: owes for the months, then pays. Or somebody scans the stall's code."""

from __future__ import annotations

from collections.abc import Callable

from payments.gateway import TradeType
from payments.messages import PayRequest
from payments.model import Debt
from payments.scans.model import product_id
from payments.service import Payments
from queueing.model import Actor, NotYourStall, StallNotFound
from queueing.renewals import store
from queueing.renewals.messages import StandingCode
from queueing.store import load_stalls
from sql.database import Database, Tx
from sql.idempotency import fingerprint, once
from sql.types import Millis

# As long as WeChat's code for it is good.
PAY_WITHIN_MS = 2 * 3_600_000

# What a standing code sells: `stall-7-3` is three months for stall 7.
PRODUCT = "stall"


class Renewals:
    """price_fen: of a month."""

    def __init__(
        self, db: Database, payments: Payments, *, now: Callable[[], Millis], price_fen: int
    ) -> None:
        self._db = db
        self._payments = payments
        self._now = now
        self.price_fen = price_fen
        payments.when_paid_together(store.MONTHS, store.deliver)
        payments.when_refunded(store.MONTHS, store.take_back)
        payments.scans.sells(PRODUCT, self._sell)

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

    async def standing_code(self, stall_id: int, by: Actor, *, months: int) -> StandingCode:
        """A code for a stall's months that may be printed; each scan of it owes anew.

        For the stall's seller, and for those who see all stalls. Raises StallNotFound,
        NotYourStall, PaymentsUnavailable.
        """
        stall = (await self._db.read(load_stalls, [stall_id])).get(stall_id)
        if stall is None:
            raise StallNotFound
        if by.kind != "admin" and by.account_id not in stall.sellers:
            raise NotYourStall
        product = product_id(PRODUCT, stall_id, months)
        return StandingCode(
            product_id=product,
            months=months,
            amount_fen=months * self.price_fen,
            code_url=self._payments.scans.code(product),
        )

    def _sell(self, tx: Tx, numbers: tuple[int, ...]) -> Debt:
        return store.owe_scanned(
            tx, numbers, price_fen=self.price_fen, expires_at=tx.now + PAY_WITHIN_MS
        )
