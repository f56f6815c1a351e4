"""A cabinet's till on real tables, and the simulated WeChat Pay over real HTTP, both ways.

Both read the simulator's clock, which stands still until a test turns it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select, text
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from accounts.audit.model import By
from payments import store as payment_store
from payments.gateway import PaymentFact
from payments.ledger.model import GATEWAY, SUSPENSE, Asset
from payments.ledger.store import balance
from payments.model import Debt, Refund
from payments.scores import store
from payments.scores.model import Score, ScoreLine, ScorePhase
from payments.scores.service import Scores
from payments.service import Payments
from payments.wechat.errors import BadMessage
from server.config import load
from server.wechatpay import WeChatPay
from simulators.wechat import DINER_APPID, SELLER_APPID, WeChat
from simulators.wechat.pay.faults import PayFault
from simulators.wechat.pay.score_orders import ScoreOrder
from sql.alerts import open_alerts
from sql.database import Database, Tx, open_database
from sql.tables import metadata
from tests.payments.core.kills import Killed

DINER, OPENID = 7, "o-diner"
CLERK = By("staff", 11, "10.0.0.11")
DOOR, CHARGE = "door", "cabinet.order"
RISK_FEN, FEE_FEN = 5_000, 1_200
LINES = (ScoreLine("可乐 330ml", 700, 2), ScoreLine("薯片", 500))
LESS = (ScoreLine("可乐 330ml", 700, 2),)


def pay_settings(wechat: WeChat) -> dict[str, str]:
    """WeChat Pay is the simulated one, with everything it grants."""
    told = wechat.pay.introduction(wechat.url)
    names = ("mch_id", "api_v2_key", "api_v3_key", "merchant_key_file", "merchant_cert_file",
             "platform_keys_dir", "payscore_service_id")  # fmt: skip
    return {
        **{f"CALLME_WECHATPAY__{name.upper()}": str(told[name]) for name in names},
        "CALLME_WECHATPAY__URL": wechat.url,
        "CALLME_WECHATPAY__ALLOW_SIMULATOR": "true",
        "CALLME_WECHAT__DINER_APPID": DINER_APPID,
        "CALLME_WECHAT__SELLER_APPID": SELLER_APPID,
        "CALLME_SERVER__SECRET": "a secret of the tests, long enough to sign with",
    }


class Market:
    """One process; `start()` again is another that knows only what the database has."""

    def __init__(self, url: str, wechat: WeChat, folder: Path) -> None:
        self.url = url
        self.wechat = wechat
        self.folder = folder
        self.score_settings: dict[str, str] = {}
        self.verdicts: Counter[str] = Counter()
        self.raises: Exception | None = None

    def now(self) -> int:
        return int(self.wechat.clock.now_s() * 1000)

    async def open(self) -> None:
        self._door = HTTPServer(Application([("/.*", _Door, {"market": self})]))
        sockets = bind_sockets(0, "127.0.0.1")
        self._door.add_sockets(sockets)
        base = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        settings = {
            **pay_settings(self.wechat),
            "CALLME_WECHATPAY__NOTIFY_BASE": base,
            "CALLME_DATABASE__URL": self.url,
            **self.score_settings,
        }
        self.pay = WeChatPay(load(environment=settings), now=self.now)
        self.db: Database = await open_database(self.url, now=self.now)
        self.start()

    def start(self, *, db: Any = None, payscore: Any = None) -> None:
        self.payments = Payments(
            db or self.db,
            self.pay.gateway,
            merchant=self.pay.who_we_are,
            readers=self.pay.readers,
        )
        self.scores = Scores(db or self.db, self.payments, payscore or self.pay.payscore)
        self.payments.when_paid(CHARGE, self._paid)
        self.payments.when_refunded(CHARGE, self._refunded)
        self.payments.when_cancelled(CHARGE, lambda tx, debt: note(tx, "cancelled", debt.subject))
        self.scores.when_confirmed(DOOR, lambda tx, biz_id: note(tx, "confirmed", biz_id))
        self.scores.when_over(DOOR, lambda tx, biz_id, phase: note(tx, f"over {phase}", biz_id))

    def _paid(self, tx: Tx, debt: Debt, fact: PaymentFact) -> None:
        if self.raises is not None:
            raise self.raises
        note(tx, f"paid {fact.amount_fen}", debt.subject)

    def _refunded(self, tx: Tx, debt: Debt, refund: Refund) -> None:
        note(tx, f"back {refund.amount_fen}", debt.subject)

    async def close(self) -> None:
        self._door.stop()
        await self._door.close_all_connections()
        await self.pay.close()
        await self.db.close()

    async def notes(self, subject: int = 0) -> Counter[str]:
        """What was committed, of one door or of all."""
        found = await self.db.read(read_notes)
        return Counter(what for what, whose in found if subject in (0, whose))

    # ------------------------------------------------------------ what people do

    async def begin(self, biz_id: int = 1, **values: Any) -> str:
        given: dict[str, Any] = {
            "biz": DOOR,
            "biz_id": biz_id,
            "account_id": DINER,
            "openid": OPENID,
            "risk_fen": RISK_FEN,
            "introduction": "智能柜购物",
            "device_id": "SIM-1",
            **values,
        }
        return await self.db.write(store.begin, **given)

    async def running(self, biz_id: int = 1) -> str:
        """An order that the user has confirmed, a minute ago."""
        number = await self.begin(biz_id)
        await self.scores.open(number)
        await self.confirm(number)
        await self.pass_time(60)
        return number

    async def collecting(self, biz_id: int = 1, fee_fen: int = FEE_FEN) -> str:
        """An order whose fee cannot be deducted for the next hours."""
        number = await self.running(biz_id)
        self.wechat.pay.score.failures_planned = 1000
        await self.complete(number, fee_fen)
        await self.scores.push_due()
        assert (await self.score(number)).phase is ScorePhase.COLLECTING
        return number

    async def paid(self, biz_id: int = 1) -> str:
        number = await self.running(biz_id)
        await self.complete(number)
        await self.scores.push_due()
        await self.idle()
        assert (await self.score(number)).phase is ScorePhase.PAID
        return number

    async def complete(self, number: str, fee_fen: int = FEE_FEN, **values: Any) -> Debt | None:
        lines = LINES if fee_fen == FEE_FEN else (ScoreLine("可乐", fee_fen),)
        score = await self.score(number)
        given: dict[str, Any] = {
            "fee_fen": fee_fen,
            "lines": lines,
            "started_at": score.created_at,
            "ended_at": self.now(),
            "kind": CHARGE,
            "subject": score.biz_id,
            "payer_id": DINER,
            **values,
        }
        return await self.db.write(store.want_complete, number, **given)

    async def less(self, number: str, fee_fen: int = 700) -> bool:
        lines = LESS if fee_fen == 700 else (ScoreLine("可乐", fee_fen),)
        return await self.db.write(store.want_less, number, fee_fen, lines, "少拿了一件")

    async def confirm(self, number: str, openid: str = OPENID) -> None:
        order = self.at_wechat(number)
        self.wechat.pay.score.confirm(order, openid)
        await self.idle()

    async def running_unheard(self, biz_id: int = 1) -> str:
        """As running, where no notice comes through."""
        number = await self.begin(biz_id)
        await self.scores.open(number)
        await self.confirm(number)
        await self.scores.refresh(number)
        await self.pass_time(60)
        return number

    async def control(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the user's phone does, as the demo does it."""
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{self.wechat.url}/sim/pay/{path}", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def permit(self) -> None:
        """The user lets us open orders without confirming each."""
        asked = await self.scores.ask_permission(DINER, openid=OPENID)
        permissions = self.wechat.pay.permissions
        token = asked.view["extraData"]["apply_permissions_token"]
        permission = permissions.of_token(token)
        permissions.grant(permission, OPENID)
        self.wechat.pay.permission_told(permission)
        await self.idle()

    # ------------------------------------------------------------ fate

    def fault(self, endpoint: str, kind: Any, **values: Any) -> None:
        self.wechat.pay.faults.add(PayFault(endpoint=endpoint, kind=kind, **values))

    def deaf(self) -> None:
        """No notice reaches us."""
        self.wechat.pay.settings.is_blocked = True

    async def pass_time(self, seconds: float) -> None:
        self.wechat.clock.advance(seconds)
        await self.idle()

    async def idle(self) -> None:
        """Until nothing is on its way."""
        await self.wechat.pay.notifier.idle()
        await asyncio.sleep(0)

    async def settle(self, *, times: int = 8, seconds: float = 1_800) -> None:
        """Let every watch look again and again."""
        for _ in range(times):
            await self.scores.push_due()
            await self.payments.settle_due()
            await self.pass_time(seconds)

    def deducts(self) -> None:
        """From now on deductions succeed."""
        score = self.wechat.pay.score
        score.failures_planned = 0
        for order in score.all.values():
            order.deduct_failures = 0

    # ------------------------------------------------------------ what there is

    def at_wechat(self, number: str) -> ScoreOrder:
        return self.wechat.pay.score.all[number]

    async def score(self, number: str) -> Score:
        return await self.db.read(store.load_score, number)

    async def debt(self, number: str) -> Debt:
        attempt = await self.db.read(payment_store.find_attempt, number)
        return await self.db.read(payment_store.load_debt, attempt.debt_id)

    async def attempt(self, number: str) -> Any:
        return await self.db.read(payment_store.find_attempt, number)

    async def kinds(self) -> list[str]:
        return sorted({alert.kind for alert in await self.db.read(open_alerts)})

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return await self.db.read(read_rows, table)

    def money(self) -> int:
        """What WeChat has of ours."""
        entries = self.wechat.pay.ledger.entries
        return sum(e.amount_fen if e.direction == "in" else -e.amount_fen for e in entries)

    async def agrees(self, money_fen: int) -> None:
        """Books in order, nothing in suspense, and just this money at WeChat as here."""
        assert await self.payments.check_books() == []
        assert await self.db.read(balance, SUSPENSE, Asset.CNY) == 0
        assert -await self.db.read(balance, GATEWAY, Asset.CNY) == self.money() == money_fen


def note(tx: Tx, what: str, subject: int) -> None:
    tx.execute(
        text(
            "INSERT INTO incidents (kind, subject, text, raw, at)"
            " VALUES ('test', :subject, :text, '', 0)"
        ),
        {"subject": str(subject), "text": what},
    )


def read_notes(tx: Tx) -> list[tuple[str, int]]:
    query = text("SELECT text, subject FROM incidents WHERE kind = 'test' ORDER BY id")
    return [(row.text, int(row.subject)) for row in tx.execute(query)]


def read_rows(tx: Tx, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.execute(select(metadata.tables[table])).mappings()]


class _Door(RequestHandler):
    """As the server's own: by status alone WeChat hears whether to come again."""

    def initialize(self, market: Market) -> None:
        self.market = market

    async def post(self) -> None:
        path, body = self.request.path, self.request.body
        try:
            verdict = await self.market.payments.receive(body, self.request.headers, path)
        except BadMessage as error:
            self.market.verdicts[type(error).__name__] += 1
            # Written by hand: of a status from 400 on, Tornado writes a line into the log.
            self.detach().write(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
            return
        except Killed:
            # Nobody is there to answer.
            self.detach().close()
            return
        self.market.verdicts[verdict] += 1
        if path.endswith("v3"):
            self.set_status(204)
            return
        self.finish("<xml><return_code>SUCCESS</return_code><return_msg>OK</return_msg></xml>")
