"""Somebody holds a phone before a standing code and waits: an order, or a word why not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from payments import store
from payments.gateway import TradeType
from payments.model import (
    DebtCancelled,
    DebtExpired,
    DebtPaid,
    PaymentError,
    PaymentNotFound,
    PaymentsStopped,
    PaymentsUnavailable,
)
from payments.notices.service import Inbox
from payments.notices.store import Kept, Notice, keep_notices, notice_of
from payments.paying import Paying
from payments.scans.model import Codes, NotForSale, Sell, product_of
from payments.wechat.errors import BadMessage
from payments.wechat.notices_v2 import Scan
from sql.database import Database, Tx
from sql.idempotency import KeyReused, fingerprint, once

# WeChat waits five seconds for the whole way there and back.
BUDGET_S: Final = 3.5

# What the phone shows.
LATER: Final = "系统繁忙，请稍后再试"
WORDS: Final[Mapping[type[PaymentError], str]] = {
    DebtPaid: "已经支付过了",
    DebtCancelled: "订单已取消",
    DebtExpired: "已超时，请重新扫码",
    PaymentsStopped: "暂停收款，请稍后再试",
    PaymentsUnavailable: "暂时不能收款",
}


class Scans:
    """codes: None where WeChat Pay is not set up; then there are no scans either."""

    def __init__(
        self,
        db: Database,
        inbox: Inbox,
        paying: Paying,
        codes: Codes | None,
        *,
        budget_s: float = BUDGET_S,
    ) -> None:
        self._db = db
        self._inbox = inbox
        self._paying = paying
        self._codes = codes
        self._budget_s = budget_s
        self._products: dict[str, Sell] = {}

    def sells(self, kind: str, sell: Sell) -> None:
        """sell(tx, numbers) runs once for each scan of a product of that kind."""
        self._products[kind] = sell

    def code(self, product_id: str) -> str:
        """The text of a code that may be printed: it is good for ever.

        Raises PaymentsUnavailable.
        """
        if self._codes is None:
            raise PaymentsUnavailable
        return self._codes.text(product_id, now=self._db.now())

    async def receive(
        self, raw: bytes, headers: Mapping[str, str], path: str, client_ip: str
    ) -> bytes:
        """The answer to a scan, in time; the same scan told again is no other one.

        client_ip: the phone's is not known, so whoever tells stands for it. Raises BadMessage for
        a scan that is not WeChat's; PaymentNotFound where there are none.
        """
        if self._codes is None:
            raise PaymentNotFound
        notice = notice_of(raw, headers, path)
        try:
            scan = self._codes.read(raw)
        except BadMessage as error:
            await self._inbox.refuse(notice, error)
            raise
        try:
            async with asyncio.timeout(self._budget_s):
                prepay_id = await self._order(notice, scan, client_ip)
        except (PaymentError, KeyReused, TimeoutError) as error:
            kept = Kept(notice=notice, verdict="scan.refused", number=scan.product_id)
            await self._db.write(keep_notices, [kept])
            self._inbox.count("scan.refused")
            return self._codes.refuse(scan, _words(error))
        self._inbox.count("scan")
        return self._codes.accept(scan, prepay_id)

    async def _order(self, notice: Notice, scan: Scan, client_ip: str) -> str:
        kind, numbers = product_of(scan.product_id)
        sell = self._products.get(kind)
        if sell is None:
            raise NotForSale("没有这个商品")
        debt_id = await self._db.write(_owe, notice, scan, sell, numbers)
        wanted = store.Wanted(
            debt_id=debt_id,
            trade_type=TradeType.NATIVE,
            openid="",
            client_ip=client_ip,
            key="",
            out_trade_no="",
            product_id=scan.product_id,
        )
        request = await self._paying.pay(wanted)
        attempt = await self._db.read(store.find_attempt, request.out_trade_no)
        return attempt.prepay_id


def _owe(tx: Tx, notice: Notice, scan: Scan, sell: Sell, numbers: tuple[int, ...]) -> int:
    """The debt of this scan, which its nonce tells from every other; the scan is kept with it."""
    mark = fingerprint("scan", scan.product_id, scan.openid)
    debt_id = once(tx, "payments.scan", scan.nonce_str, mark, _sold, sell, numbers)
    keep_notices(tx, [Kept(notice=notice, verdict="scan", number=scan.product_id)])
    return int(debt_id)


def _sold(tx: Tx, sell: Sell, numbers: tuple[int, ...]) -> str:
    return str(sell(tx, numbers).id)


def _words(error: Exception) -> str:
    if isinstance(error, NotForSale):
        return str(error)
    return next((text for kind, text in WORDS.items() if isinstance(error, kind)), LATER)
