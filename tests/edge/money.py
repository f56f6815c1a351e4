"""What the people of the world owe, have paid and are given back, at the simulated WeChat."""

from __future__ import annotations

import msgspec
from sqlalchemy import insert

from accounts.audit.model import By
from payments.gateway import PaymentFact, Refunded, RefundState
from payments.model import Actions, Debt
from payments.refunds import store as refund_store
from payments.store import owe
from server.app import App
from simulators.wechat import WeChat
from sql.alerts import open_alerts, raise_alert
from sql.database import Tx
from sql.tables.payments import bill_differences

# Nothing is done about a debt of this kind.
KIND = "edge"
FEN = 90_000
# So that a second person must decide.
MUCH_FEN = 60_000
REASON = "the oven broke"


def pay_settings(wechat: WeChat) -> dict[str, str]:
    """WeChat Pay is the simulated one."""
    told = wechat.pay.introduction(wechat.url)
    names = ("mch_id", "api_v2_key", "api_v3_key", "merchant_key_file", "merchant_cert_file",
             "platform_keys_dir")  # fmt: skip
    chosen = {f"CALLME_WECHATPAY__{name.upper()}": str(told[name]) for name in names}
    return {
        **chosen,
        "CALLME_WECHATPAY__URL": wechat.url,
        "CALLME_WECHATPAY__ALLOW_SIMULATOR": "true",
    }


class Money(msgspec.Struct):
    app: App
    serial: int = 0

    async def order(self, payer_id: int) -> str:
        """What can be paid by whoever scans its code; its number."""
        debt = await self.app.db.write(_owe, payer_id)
        request = await self.app.payments.pay(
            debt.id, trade_type="NATIVE", openid="", client_ip="127.0.0.1", key=""
        )
        return request.out_trade_no

    async def payment(self, payer_id: int) -> str:
        """As an order, paid."""
        out_trade_no = await self.order(payer_id)
        await self.pay_again(out_trade_no)
        return out_trade_no

    async def pay_again(self, out_trade_no: str) -> None:
        """Money comes in for it; the second time it is too much."""
        merchant = self.app.wechatpay.who_we_are
        fact = PaymentFact(
            out_trade_no=out_trade_no,
            transaction_id=f"42{self._next():026d}",
            amount_fen=FEN,
            currency="CNY",
            appid=next(iter(merchant.appids)),
            mch_id=merchant.mch_id,
            openid="",
            paid_at=self.app.now(),
            source="query",
        )
        await self.app.payments.apply(fact)

    async def refund(self, payer_id: int, by: int, *, is_failed: bool = False) -> str:
        """One that waits for a second person, or that WeChat will not send."""
        asked = await self.app.payments.refund(
            await self.payment(payer_id),
            amount_fen=1 if is_failed else MUCH_FEN,
            reason=REASON,
            by=By("staff", by),
            key=f"refund {self._next()}",
        )
        if is_failed:
            await self.app.db.write(refund_store.fail, asked.out_refund_no, "closed")
        return asked.out_refund_no

    async def send_back(self, out_refund_no: str) -> None:
        """Another one approves it, and WeChat says that the money has gone."""
        refund = await self.app.payments.approve_refund(
            out_refund_no, by=By("system"), reason="seen"
        )
        sent = Refunded(
            out_refund_no=out_refund_no, state=RefundState.SUCCESS, refund_fen=refund.amount_fen
        )
        await self.app.db.write(refund_store.settle, out_refund_no, sent, Actions())

    async def difference(self) -> int:
        """Something in WeChat's bill that the books do not know; its id."""
        return await self.app.db.write(_differ, f"42{self._next():026d}")

    async def alert(self, kind: str) -> int:
        """Something somebody must look at; its id."""
        return await self.app.db.write(_raise, kind, f"42{self._next():026d}")

    def _next(self) -> int:
        self.serial += 1
        return self.serial


def _owe(tx: Tx, payer_id: int) -> Debt:
    return owe(
        tx, kind=KIND, subject=1, payer_id=payer_id, amount_fen=FEN, description="a month or so"
    )


def _raise(tx: Tx, kind: str, subject: str) -> int:
    raise_alert(tx, kind, subject, "1 CNY from notify")
    return next(alert.id for alert in open_alerts(tx, kind) if alert.subject == subject)


def _differ(tx: Tx, number: str) -> int:
    row = {
        "day": 20261119, "kind": "missing_here", "number": number, "here_fen": 0,
        "there_fen": FEN, "found_at": tx.now, "explained_at": None, "explained_by": 0,
        "explanation": "",
    }  # fmt: skip
    key = tx.execute(insert(bill_differences), row).inserted_primary_key
    assert key is not None
    return int(key[0])
