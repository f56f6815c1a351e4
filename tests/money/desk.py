"""A whole server, the WeChat that pays it, and a seller: all of them over HTTP."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import func, select

from payments.ledger.model import GATEWAY, SUSPENSE, Asset
from payments.ledger.store import balance
from queueing.model import Actor
from server.app import App, start
from server.config import load
from simulators.wechat import WeChat
from simulators.wechat.pay.faults import AnswerFault, NoticeFault, PayFault
from sql.database import Tx
from sql.tables import metadata
from sql.tables.payments import alerts, incidents, receipts, refunds
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

PHONE = "13800000001"
MONTHS = 2
PRICE_FEN = 3000
# Written at times of their own, or for whatever came.
UNWATCHED = {"jobs", "job_runs", "payment_notices", "reports"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Desk:
    """`tokens` by openid. The server asks WeChat only when `settle` is said."""

    app: App

    def __init__(self, settings: Mapping[str, str], clock: Clock, wechat: WeChat) -> None:
        self.settings = dict(settings)
        self.clock = clock
        self.wechat = wechat
        self.tokens: dict[str, str] = {}
        self.keys = (f"key-{number}" for number in itertools.count(1))
        self.http = httpx.AsyncClient(trust_env=False, timeout=60)
        self._codes = itertools.count(1)

    # Its life

    async def open(self) -> None:
        self.app = await start(load(environment=self.settings), self.clock.now)
        # Looks happen when the test says so.
        await self.app.settling.stop()

    async def restart(self) -> None:
        await self.app.stop()
        await self.open()

    async def close(self) -> None:
        await self.http.aclose()
        await self.app.stop()

    async def turn(self, **by: float) -> None:
        """Both clocks; what WeChat has to send again by then, it sends."""
        before = self.clock.now()
        self.clock.advance(**by)
        self.wechat.clock.advance((self.clock.now() - before) / 1000)
        await self.wechat.pay.notifier.idle()

    async def settle(self, minutes: int = 1) -> None:
        """So many minutes of looks, one in ten seconds."""
        for _ in range(minutes * 6):
            await self.turn(seconds=10)
            await self.app.payments.settle_due()
            await self.wechat.pay.notifier.idle()

    # People

    async def sign_in(self, openid: str) -> str:
        opened = await self.app.people.sign_in("seller", f"sim:{openid}:{next(self._codes)}")
        self.tokens[openid] = opened.jwt
        self.account_id = opened.session.account_id
        return opened.jwt

    async def open_stall(self) -> None:
        values = {"name": "兰州拉面", "phone": PHONE}
        made = await self.app.stalls.create(values, months=MONTHS, by=Actor("admin"))
        self.stall_id = made.id
        await self.sign_in("seller-wang")
        await self.app.stalls.sign_up(Actor("seller", self.account_id), phone=PHONE)

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", by: str = "seller-wang"
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[by]}"}
        if key:
            headers["Idempotency-Key"] = key
        url = f"http://127.0.0.1:{self.app.port}/api/v1{path}"
        return await self.http.request(method, url, json=body, headers=headers)

    async def renew(
        self, months: int = 3, *, trade_type: str = "NATIVE", key: str = ""
    ) -> httpx.Response:
        body = {"months": months, "trade_type": trade_type}
        path = f"/stalls/{self.stall_id}/renewals"
        return await self.ask("POST", path, body, key=key or next(self.keys))

    async def order(self, months: int = 3, *, trade_type: str = "NATIVE") -> dict[str, Any]:
        answer = await self.renew(months, trade_type=trade_type)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        return order

    async def paid(self, months: int = 3) -> str:
        """The number of a payment that has come in."""
        order = await self.order(months)
        await self.scan(order["code_url"])
        return str(order["out_trade_no"])

    async def refund(
        self, number: str, fen: int, *, key: str = "", by: str = "admin-li"
    ) -> httpx.Response:
        path, body = f"/admin/payments/{number}/refunds", {"amount_fen": fen, "reason": "closed"}
        return await self.ask("POST", path, body, key=key or next(self.keys), by=by)

    # WeChat's side

    async def sim(self, path: str, body: Any) -> dict[str, Any]:
        answer = await self.http.post(f"{self.wechat.url}/sim/pay/{path}", json=body)
        assert answer.status_code == 200, answer.text
        await self.wechat.pay.notifier.idle()
        said: dict[str, Any] = answer.json()
        return said

    async def scan(self, code_url: str, *, pays: bool = True) -> dict[str, Any]:
        """A phone scans the code and pays; the notice has been answered when this returns.

        What the user saw: an order, or a text.
        """
        return await self.sim("scan", {"url": code_url, "pays": pays})

    def spoil(self, endpoint: str, kind: AnswerFault | NoticeFault, **more: Any) -> None:
        self.wechat.pay.faults.add(PayFault(endpoint, kind, **more))

    def answers_to(self, number: str) -> list[tuple[int, bool, str]]:
        """status, whether it was taken for thanks, and text of what each notice was told."""
        return [
            (attempt.status, attempt.is_thanked, attempt.answer)
            for notice in self.wechat.pay.notifier.all
            if notice.subject == number
            for attempt in notice.attempts
        ]

    # What is there

    async def months(self) -> int:
        answer = await self.ask("GET", "/sellers/me/stall")
        months: int = answer.json()["balance_months"]
        return months

    async def payment(self, number: str) -> dict[str, Any]:
        answer = await self.ask("GET", f"/payments/{number}")
        payment: dict[str, Any] = answer.json()
        return payment

    async def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        return await self.app.db.read(_dump)

    async def kinds(self) -> tuple[list[str], list[str]]:
        """Of the incidents and of the alerts that are open."""
        return await self.app.db.read(_kinds)

    async def agree(self) -> None:
        """Our books hold, are WeChat's, and nothing waits in suspense."""
        assert await self.app.books.check() == []
        ours, gateway, suspense = await self.app.db.read(_books)
        theirs = {
            number: (one.paid_fen, one.refunded_fen)
            for number, one in self.wechat.pay.ledger.sums().items()
        }
        assert ours == theirs
        assert gateway == sum(back - came for came, back in theirs.values())
        assert suspense == 0


def _dump(tx: Tx) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: [tuple(row) for row in tx.execute(select(table).order_by(*table.primary_key))]
        for table in metadata.sorted_tables
        if table.name not in UNWATCHED
    }


def _kinds(tx: Tx) -> tuple[list[str], list[str]]:
    open_ones = select(alerts.c.kind).where(alerts.c.open == 1)
    return (
        sorted(tx.execute(select(incidents.c.kind)).scalars()),
        sorted(tx.execute(open_ones).scalars()),
    )


def _books(tx: Tx) -> tuple[dict[str, tuple[int, int]], int, int]:
    came = select(receipts.c.out_trade_no, func.sum(receipts.c.amount_fen).label("fen"))
    went = select(refunds.c.out_trade_no, func.sum(refunds.c.amount_fen).label("fen"))
    went = went.where(refunds.c.status == "success")
    back = {
        row.out_trade_no: int(row.fen) for row in tx.execute(went.group_by(refunds.c.out_trade_no))
    }
    ours = {
        row.out_trade_no: (int(row.fen), back.get(row.out_trade_no, 0))
        for row in tx.execute(came.group_by(receipts.c.out_trade_no))
    }
    return ours, balance(tx, GATEWAY, Asset.CNY), balance(tx, SUSPENSE, Asset.CNY)
