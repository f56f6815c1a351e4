"""The payment side of the simulated WeChat: what it knows, and how money moves through it."""

from __future__ import annotations

import itertools
import secrets
import ssl
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from simulators.agenda import Agenda
from simulators.clock import VirtualClock
from simulators.wechat.logins import Logins
from simulators.wechat.pay import keys, posts, times
from simulators.wechat.pay.faults import PayFault, PayFaultBook
from simulators.wechat.pay.ledger import Ledger
from simulators.wechat.pay.merchant import (
    API_V2_KEY,
    API_V3_KEY,
    APPIDS,
    MCH_ID,
    SERVICE_ID,
)
from simulators.wechat.pay.notifier import Attempt, Notice, NoticeKind, Notifier, new_id
from simulators.wechat.pay.orders import Order, Orders, common, paid_fields
from simulators.wechat.pay.permissions import Permission, Permissions
from simulators.wechat.pay.platform import Platform
from simulators.wechat.pay.posts import Event
from simulators.wechat.pay.refunds import Refund, Refunds
from simulators.wechat.pay.score import Score, Told
from simulators.wechat.pay.score_orders import ScoreOrder
from simulators.wechat.pay.settings import Settings
from simulators.wechat.pay.v3_common import refund_event

CALLS_MAX = 2000
SUMMARIES = {
    "USER_CONFIRM": "用户确认成功",
    "USER_PAID": "用户支付成功",
    "USER_OPEN_SERVICE": "用户开启服务",
    "USER_CLOSE_SERVICE": "用户关闭服务",
}


class PayCall(msgspec.Struct, frozen=True):
    """One call of the merchant's: outcome is SUCCESS, an err_code, or null when not done."""

    number: int
    endpoint: str
    at_s: float
    outcome: str | None
    fault: str | None


class WeChatPay:
    """`start()` lets time pass in it; `reset()` forgets everything but the keys."""

    def __init__(
        self, clock: VirtualClock, keys_dir: Path | None = None, native_notify_url: str = ""
    ) -> None:
        self.clock = clock
        self._native_notify_url = native_notify_url
        self.agenda = Agenda(clock)
        self.notifier = Notifier(clock, self.agenda)
        self._keys_dir = keys_dir
        self._keys: keys.KeyFolder | None = None

    @property
    def keys(self) -> keys.KeyFolder:
        if self._keys is None:
            self._keys = keys.KeyFolder(self._keys_dir) if self._keys_dir else keys.of_process()
        return self._keys

    def reset(self, logins: Logins) -> None:
        self.agenda.clear()
        self.settings = Settings(native_notify_url=self._native_notify_url)
        self.faults = PayFaultBook()
        self.ledger = Ledger(self.clock)
        self.orders = Orders(self.clock, logins, self.settings)
        self.refunds = Refunds(self.clock, self.agenda, self.settings, self._refund_done)
        self.notifier.begin(self.faults, self.settings)
        self.score = Score(
            self.clock, self.agenda, self.settings, self._score_told, self._score_paid
        )
        self.permissions = Permissions(self.clock)
        self.nonces: dict[str, float] = {}
        # By token: until when, and the file.
        self.downloads: dict[str, tuple[float, bytes]] = {}
        self.short_urls: dict[str, str] = {}
        self.scans: list[Attempt] = []
        self.calls: list[PayCall] = []
        self._numbers = itertools.count(1)
        self._platform: Platform | None = None

    @property
    def platform(self) -> Platform:
        """Made when V3 is first spoken: keys take time to make."""
        if self._platform is None:
            self._platform = Platform(self.keys)
        return self._platform

    @property
    def tls_certificate_file(self) -> Path:
        """What a caller has to trust to speak TLS with us."""
        return self.keys.pair("tls").cert_file

    def tls_context(self) -> ssl.SSLContext:
        """A server that takes the merchant's certificate, and callers who show none."""
        own, merchant = self.keys.pair("tls"), self.keys.pair("merchant")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=merchant.cert_file)
        context.load_cert_chain(own.cert_file, own.key_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    @property
    def tls_merchant_der(self) -> bytes:
        """The certificate a merchant shows over TLS."""
        return self.keys.pair("merchant").certificate.public_bytes(Encoding.DER)

    def start(self) -> None:
        self.agenda.start()

    async def stop(self) -> None:
        self.agenda.stop()
        await self.notifier.stop()

    def introduction(self, url: str) -> dict[str, object]:
        """What a merchant configures; makes the keys where they are not there yet."""
        merchant = self.platform.merchant
        return {
            "url": url,
            "mch_id": MCH_ID,
            "appids": list(APPIDS),
            "api_v2_key": API_V2_KEY,
            "api_v3_key": API_V3_KEY,
            "merchant_key_file": str(merchant.key_file),
            "merchant_cert_file": str(merchant.cert_file),
            "merchant_serial": merchant.serial,
            "platform_keys_dir": str(self.keys.platform_keys_dir),
            "public_key_id": self.platform.public.pub_key_id,
            "payscore_service_id": SERVICE_ID,
        }

    def note_call(self, endpoint: str, outcome: str | None, fault: str | None) -> None:
        number, now_s = next(self._numbers), self.clock.now_s()
        self.calls.append(PayCall(number, endpoint, now_s, outcome, fault))
        del self.calls[:-CALLS_MAX]

    def pay(
        self, order: Order, openid: str = "", coupon_fee: int = 0, *, even_closed: bool = False
    ) -> None:
        """The user pays. Raises NotPayable."""
        payer = openid or order.openid or "o-somebody"
        self.orders.pay(order, payer=payer, coupon_fee=coupon_fee, even_closed=even_closed)
        self.ledger.money_in(order.out_trade_no, order.transaction_id, order.total_fee)
        fields = common(order.appid) | paid_fields(order)
        del fields["return_msg"]
        write = posts.v2_pay(fields, order.sign_type)
        self.tell("pay", order.out_trade_no, order.notify_url, write)

    def tell(
        self, kind: NoticeKind, subject: str, url: str, write: posts.Writer, event_type: str = ""
    ) -> None:
        """Notify of something that V2 notifies of."""
        notice_id, now_s = new_id(self.clock), self.clock.now_s()
        self.notifier.tell(Notice(notice_id, kind, event_type, subject, url, now_s, write))

    def tell_v3(self, kind: NoticeKind, subject: str, url: str, event: Event) -> None:
        notice_id, now_s = new_id(self.clock), self.clock.now_s()
        pair = self.platform.of_notice(notice_id, self.settings.public_key_share)
        write = posts.v3(event, notice_id, self.platform, pair, self.clock)
        notice = Notice(notice_id, kind, event.event_type, subject, url, now_s, write)
        self.notifier.tell(notice)

    def _refund_done(self, refund: Refund) -> None:
        if refund.state == "SUCCESS":
            self.ledger.money_out(
                refund.book_no,
                refund.transaction_id,
                refund.refund_fee,
                refund.out_refund_no,
            )
        if not refund.notify_url:
            return
        if refund.version == "V2":
            write = posts.v2_refund(_refund_facts(refund), refund.appid)
            self.tell("refund", refund.out_refund_no, refund.notify_url, write)
        else:
            event = refund_event(refund)
            self.tell_v3("v3_refund", refund.out_refund_no, refund.notify_url, event)

    def _score_told(self, order: ScoreOrder, what: Told) -> None:
        event = Event(f"PAYSCORE.{what}", SUMMARIES[what], "payscore", "transaction", order.shown())
        self.tell_v3("payscore", order.number, order.created.notify_url, event)

    def permission_told(self, permission: Permission) -> None:
        """Somebody opened the service to the merchant, or closed it."""
        what = permission.event()["user_service_status"]
        event = Event(
            f"PAYSCORE.{what}", SUMMARIES[what], "payscore", "transaction", permission.event()
        )
        if url := permission.applied.notify_url:
            self.tell_v3("payscore", permission.applied.authorization_code, url, event)

    def _score_paid(self, score: ScoreOrder) -> None:
        """A deduction is an order of its own kind, under a number of the vendor's."""
        now_s, created = self.clock.now_s(), score.created
        number = f"wxzff{times.digits(now_s)}{secrets.randbelow(10**9):09d}"
        order = Order(
            out_trade_no=number,
            appid=created.appid,
            trade_type="AUTH",
            total_fee=score.paid_fen,
            body=created.service_introduction,
            notify_url=created.notify_url,
            sign_type="HMAC-SHA256",
            created_s=now_s,
            expires_s=now_s,
            merchant_no=score.number,
            attach=f"wxzff|{score.order_id}|{score.number}",
            payer=score.openid,
        )
        self.orders.add_paid(order)
        score.transaction_id = order.transaction_id
        self.ledger.money_in(score.number, order.transaction_id, order.total_fee)

    def strike(self, endpoint: str) -> PayFault | None:
        return self.faults.strike(endpoint)


def _refund_facts(refund: Refund) -> dict[str, str]:
    facts = {
        "transaction_id": refund.transaction_id,
        "out_trade_no": refund.out_trade_no,
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
        "total_fee": str(refund.total_fee),
        "settlement_total_fee": str(refund.total_fee),
        "refund_fee": str(refund.refund_fee),
        "settlement_refund_fee": str(refund.refund_fee),
        "refund_status": refund.state,
        "refund_recv_accout": "支付用户零钱",
        "refund_account": "REFUND_SOURCE_UNSETTLED_FUNDS",
        "refund_request_source": "API",
    }
    if refund.state == "SUCCESS":
        facts["success_time"] = times.spaced(refund.done_s)
    return facts
