"""The hand behind WeChat Pay: /sim/pay/… pays as the user, spoils, settles and shows the books.

JSON in and out, like the rest of the control API; what does not fit is HTTP 400 {"error": …}.

As the user: pay, fail, cancel, box (wx.requestPayment), scan, score/confirm, score/refuse,
score/permit. As fate: refunds, score/deduct, score/people, faults, settings, certificate,
notify/block, notify/again. To look: state, notices, ledger, introduction; idle waits until all
that is due has happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import msgspec
from tornado.web import RequestHandler

from simulators.clock import utc_text
from simulators.wechat.control import ControlHandler, Strict
from simulators.wechat.pay import scans, signing, v2, v3_common, v3_score
from simulators.wechat.pay.errors import V3Refusal
from simulators.wechat.pay.faults import AnswerFault, NoticeFault, PayFault
from simulators.wechat.pay.merchant import API_V2_KEY, MCH_ID
from simulators.wechat.pay.notifier import Attempt, Notice, NoticeKind
from simulators.wechat.pay.orders import PREPAY_LIFE_S, NotPayable, Order
from simulators.wechat.pay.platform import Stage
from simulators.wechat.pay.refunds import Plan, Refund
from simulators.wechat.pay.score_orders import ScoreOrder
from simulators.wechat.pay.settings import RefundResult, Settings

if TYPE_CHECKING:
    from simulators.wechat.pay.wechatpay import WeChatPay

ENDPOINTS = (*v2.ENDPOINTS, *v3_common.ENDPOINTS, *v3_score.ENDPOINTS)
NOTICES = tuple(f"notify.{kind}" for kind in (*get_args(NoticeKind), "native"))
PATTERNS = ("*", "v3.*", "notify.*")
SHOWN_MAX = 100


class OrderRef(Strict):
    """One of the three names an order."""

    out_trade_no: str = ""
    code_url: str = ""
    prepay_id: str = ""

    def find(self, money: WeChatPay) -> Order:
        """Raises KeyError."""
        orders = money.orders
        found = (
            orders.all.get(self.out_trade_no)
            or (orders.of_code_url(self.code_url) if self.code_url else None)
            or (orders.of_prepay(self.prepay_id) if self.prepay_id else None)
        )
        if found is None:
            raise KeyError(f"no order {self.out_trade_no or self.code_url or self.prepay_id!r}")
        return found


class PayOrder(OrderRef):
    """even_closed: the money comes although the order was closed, as it can."""

    openid: str = ""
    coupon_fee: int = 0
    even_closed: bool = False


class RequestPayment(Strict):
    """What the merchant's page gives to wx.requestPayment, with who holds the phone."""

    appId: str  # noqa: N815
    timeStamp: str  # noqa: N815
    nonceStr: str  # noqa: N815
    package: str
    signType: str  # noqa: N815
    paySign: str  # noqa: N815
    openid: str = ""
    pays: bool = True


class ScanOrder(Strict):
    """pays: false stops at the sight of the amount."""

    url: str
    openid: str = ""
    pays: bool = True


class RefundPlan(Strict):
    """With a number: that refund's result now. Without: the plan for the next refunds to come."""

    result: RefundResult
    out_refund_no: str = ""
    after_s: float = 0.0
    times: int = 1


class AgainOrder(Strict):
    """By notice id, or by what it is about; neither means every one not thanked for yet."""

    id: str = ""
    subject: str = ""


class BlockOrder(Strict):
    blocked: bool


class MoneyControl(ControlHandler):
    @property
    def money(self) -> WeChatPay:
        return self.sim.pay


class Pay(MoneyControl):
    def post(self) -> None:
        asked = self.body_as(PayOrder)
        order = asked.find(self.money)
        self.money.pay(order, asked.openid, asked.coupon_fee, even_closed=asked.even_closed)
        self.say(shown_order(order))


class Fail(MoneyControl):
    """The bank says no; the order can be tried again."""

    def post(self) -> None:
        order = self.body_as(OrderRef).find(self.money)
        if order.is_paid or order.state == "CLOSED":
            raise NotPayable("the order is not open")
        order.state = "PAYERROR"
        self.say(shown_order(order))


class Cancel(MoneyControl):
    """The user closes the pay box: nothing changes, and nobody is told."""

    def post(self) -> None:
        self.say(shown_order(self.body_as(OrderRef).find(self.money)))


class PayBox(MoneyControl):
    """wx.requestPayment: the second signature is checked as the phone checks it."""

    def post(self) -> None:
        asked = self.body_as(RequestPayment)
        prepay_id = asked.package.removeprefix("prepay_id=")
        order = OrderRef(prepay_id=prepay_id).find(self.money)
        self._check(asked, order)
        if asked.pays:
            self.money.pay(order, asked.openid)
        self.say(shown_order(order))

    def _check(self, asked: RequestPayment, order: Order) -> None:
        if not asked.package.startswith("prepay_id="):
            raise ValueError("package does not begin with prepay_id=")
        if not asked.timeStamp.isdigit() or len(asked.timeStamp) != 10:
            raise ValueError("timeStamp is no text of ten digits")
        if asked.appId != order.appid:
            raise ValueError("appId is not the order's")
        if asked.openid and order.openid and asked.openid != order.openid:
            raise ValueError("the order was placed for another openid")
        if asked.signType == "RSA":
            self._check_rsa(asked)
        elif asked.signType != order.sign_type:
            raise ValueError("signType is not the order's")
        else:
            self._check_v2(asked, order)

    def _check_v2(self, asked: RequestPayment, order: Order) -> None:
        fields: dict[str, str] = {
            "appId": asked.appId,
            "timeStamp": asked.timeStamp,
            "nonceStr": asked.nonceStr,
            "package": asked.package,
            "signType": asked.signType,
        }
        if asked.paySign != signing.sign_v2(fields, API_V2_KEY, order.sign_type):
            raise ValueError("paySign is wrong")

    def _check_rsa(self, asked: RequestPayment) -> None:
        message = signing.lines(asked.appId, asked.timeStamp, asked.nonceStr, asked.package)
        if not signing.is_signed_v3(message, asked.paySign, self.money.platform.merchant.public):
            raise ValueError("paySign is wrong")


class Scan(MoneyControl):
    async def post(self) -> None:
        asked = self.body_as(ScanOrder)
        openid = asked.openid or "o-somebody"
        seen = await scans.scan(self.money, asked.url, openid)
        if seen.order is not None and asked.pays:
            self.money.pay(seen.order, openid)
        order = None if seen.order is None else shown_order(seen.order)
        self.say({"order": order, "text": seen.text})


class RefundResults(MoneyControl):
    def get(self) -> None:
        self.say({"refunds": [shown_refund(r) for r in self.money.refunds.all.values()]})

    def post(self) -> None:
        asked, refunds = self.body_as(RefundPlan), self.money.refunds
        if asked.out_refund_no:
            refunds.settle(refunds.all[asked.out_refund_no], asked.result)
        else:
            refunds.plans += [Plan(asked.result, asked.after_s) for _ in range(asked.times)]
        self.say({"plans": refunds.plans})


class Faults(MoneyControl):
    def get(self) -> None:
        self.say({"faults": self.money.faults.waiting})

    def post(self) -> None:
        fault = self.body_as(PayFault)
        if fault.endpoint not in (*ENDPOINTS, *NOTICES, *PATTERNS):
            known = ", ".join((*ENDPOINTS, *NOTICES, *PATTERNS))
            raise ValueError(f"no endpoint {fault.endpoint!r}; there are {known}")
        is_notice = fault.endpoint.startswith("notify.")
        kinds = get_args(NoticeFault if is_notice else AnswerFault)
        if fault.kind not in kinds:
            raise ValueError(f"{fault.endpoint} has no fault {fault.kind!r}")
        self.money.faults.add(fault)
        self.say({"faults": self.money.faults.waiting})

    def delete(self) -> None:
        """?endpoint= clears that one's faults only."""
        self.money.faults.clear(self.get_query_argument("endpoint", None))
        self.say({"faults": self.money.faults.waiting})


class SettingsHandler(MoneyControl):
    def get(self) -> None:
        self.say(self.money.settings)

    def post(self) -> None:
        """Any of the settings; those not named stay as they are."""
        settings = self.money.settings
        named = msgspec.json.decode(self.request.body)
        if not isinstance(named, dict):
            raise ValueError("an object of settings is wanted")
        whole = msgspec.convert({**msgspec.to_builtins(settings), **named}, Settings)
        for name in named:
            setattr(settings, name, getattr(whole, name))
        self.say(settings)


class Notices(MoneyControl):
    """?subject= and ?kind= choose."""

    def get(self) -> None:
        subject = self.get_query_argument("subject", "")
        kind = self.get_query_argument("kind", "")
        chosen = [
            shown_notice(notice)
            for notice in self.money.notifier.all
            if subject in ("", notice.subject) and kind in ("", notice.kind)
        ]
        self.say({"notices": chosen, "scans": self.money.scans})


class NotifyAgain(MoneyControl):
    """Waits for the answers, so that what they changed can be looked at."""

    async def post(self) -> None:
        asked = self.body_as(AgainOrder)
        chosen = [n for n in self.money.notifier.all if _is_meant(n, asked)]
        for notice in chosen:
            self.money.notifier.again(notice)
        await self.money.notifier.idle()
        self.say({"notices": [shown_notice(notice) for notice in chosen]})


def _is_meant(notice: Notice, asked: AgainOrder) -> bool:
    if asked.id or asked.subject:
        return notice.id == asked.id or notice.subject == (asked.subject or None)
    return notice.state != "delivered"


class Block(MoneyControl):
    def post(self) -> None:
        self.money.settings.is_blocked = self.body_as(BlockOrder).blocked
        self.say({"blocked": self.money.settings.is_blocked})


class ScoreRef(Strict):
    out_order_no: str = ""
    package: str = ""

    def find(self, money: WeChatPay) -> ScoreOrder:
        """Raises KeyError."""
        orders = money.score.all
        by_package = (o for o in orders.values() if self.package and o.package == self.package)
        found = orders.get(self.out_order_no) or next(by_package, None)
        if found is None:
            raise KeyError(f"no Payscore order {self.out_order_no or self.package!r}")
        return found


class ScoreConfirm(ScoreRef):
    """extra_data: what the page gave to wx.openBusinessView; its sign is checked when given."""

    openid: str = "o-somebody"
    extra_data: dict[str, str] | None = None


class Permit(Strict):
    """The token opens the service to the merchant; is_closed closes what it opened."""

    token: str
    openid: str = "o-somebody"
    is_closed: bool = False


class DeductOrder(Strict):
    """fails: how often the deduction fails, of one order or of the next to be completed."""

    fails: int
    out_order_no: str = ""


class FitnessOrder(Strict):
    openid: str
    is_unfit: bool = False
    is_overdue: bool = False


class StageOrder(Strict):
    stage: Stage


BUSINESS_FIELDS = {"mch_id", "package", "timestamp", "nonce_str", "sign_type", "sign"}


class ConfirmScore(MoneyControl):
    """The user confirms; a refusal of the phone's is answered as its text."""

    def post(self) -> None:
        asked = self.body_as(ScoreConfirm)
        extra = asked.extra_data
        ref = ScoreRef(package=extra.get("package", "")) if extra is not None else asked
        order = ref.find(self.money)
        if extra is not None:
            self._check(extra)
        try:
            self.money.score.confirm(order, asked.openid)
        except V3Refusal as refusal:
            raise NotPayable(refusal.message) from refusal
        self.say({**order.shown(), "query_id": order.query_id})

    @staticmethod
    def _check(extra: dict[str, str]) -> None:
        if set(extra) != BUSINESS_FIELDS:
            raise ValueError(f"extraData must have {', '.join(sorted(BUSINESS_FIELDS))}")
        if extra["mch_id"] != MCH_ID or extra["sign_type"] != "HMAC-SHA256":
            raise ValueError("extraData names another merchant or sign_type")
        if not signing.is_signed_v2(extra, API_V2_KEY, "HMAC-SHA256"):
            raise ValueError("extraData's sign is wrong")


class RefuseScore(MoneyControl):
    """The user turns away: nothing changes, and nobody is told."""

    def post(self) -> None:
        self.say(self.body_as(ScoreRef).find(self.money).shown())


class PermitScore(MoneyControl):
    def post(self) -> None:
        asked, permissions = self.body_as(Permit), self.money.permissions
        permission = permissions.of_token(asked.token)
        try:
            if asked.is_closed:
                permissions.end(permission, "用户关闭")
            else:
                permissions.grant(permission, asked.openid)
        except V3Refusal as refusal:
            raise NotPayable(refusal.message) from refusal
        self.money.permission_told(permission)
        self.say(permission.shown())


class Deduct(MoneyControl):
    def post(self) -> None:
        asked, score = self.body_as(DeductOrder), self.money.score
        if asked.out_order_no:
            score.all[asked.out_order_no].deduct_failures = asked.fails
        else:
            score.failures_planned = asked.fails
        self.say({"fails": asked.fails})


class Fitness(MoneyControl):
    """Who may not use Payscore: by assessment, or for an unpaid order elsewhere."""

    def post(self) -> None:
        asked, score = self.body_as(FitnessOrder), self.money.score
        (score.unfit.add if asked.is_unfit else score.unfit.discard)(asked.openid)
        (score.overdue.add if asked.is_overdue else score.overdue.discard)(asked.openid)
        self.say({"unfit": sorted(score.unfit), "overdue": sorted(score.overdue)})


class Certificate(MoneyControl):
    """Turn the platform's certificate over, one step at a time."""

    def post(self) -> None:
        platform = self.money.platform
        platform.turn(self.body_as(StageOrder).stage)
        given = [pair.serial for pair in platform.certificates]
        self.say({"given": given, "signing": platform.signing.serial})


class Idle(MoneyControl):
    """Answers when nothing is under way and nothing is due."""

    async def post(self) -> None:
        await self.money.notifier.idle()
        self.say({})


class Books(MoneyControl):
    def get(self) -> None:
        self.say({"orders": self.money.ledger.sums(), "entries": self.money.ledger.entries})


class Introduction(MoneyControl):
    def get(self) -> None:
        self.say(self.money.introduction(self.sim.url))


class MoneyState(MoneyControl):
    def get(self) -> None:
        self.say(state_of(self.money))


def state_of(money: WeChatPay) -> dict[str, Any]:
    """Everything there is to see, newest last."""
    return {
        "is_simulator": True,
        "settings": money.settings,
        "orders": [shown_order(o) for o in list(money.orders.all.values())[-SHOWN_MAX:]],
        "refunds": [shown_refund(r) for r in list(money.refunds.all.values())[-SHOWN_MAX:]],
        "score_orders": [
            {**order.shown(), "package": order.package}
            for order in list(money.score.all.values())[-SHOWN_MAX:]
        ],
        "permissions": [
            {"token": p.token, **p.shown()} for p in list(money.permissions.all.values())
        ],
        "notices": [shown_notice(n) for n in money.notifier.all[-SHOWN_MAX:]],
        "scans": money.scans[-SHOWN_MAX:],
        "ledger": money.ledger.sums(),
        "faults": money.faults.waiting,
        "calls": money.calls[-SHOWN_MAX:],
    }


def shown_order(order: Order) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: getattr(order, name)
        for name in (
            *("out_trade_no", "appid", "trade_type", "total_fee", "body", "attach", "openid"),
            *("product_id", "code_url", "state", "transaction_id", "payer", "coupon_fee"),
            *("sign_type", "notify_url"),
        )
    }
    return fields | {
        "prepay_id": order.prepays[-1].prepay_id if order.prepays else "",
        "prepay_dies_at": utc_text(order.prepays[-1].born_s + PREPAY_LIFE_S)
        if order.prepays
        else None,
        "created_at": utc_text(order.created_s),
        "expires_at": utc_text(order.expires_s),
        "paid_at": utc_text(order.paid_s) if order.is_paid else None,
        "refunded_fee": sum(r.refund_fee for r in order.refunds if r.state == "SUCCESS"),
    }


def shown_refund(refund: Refund) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(refund)
    return fields | {"created_at": utc_text(refund.created_s)}


def shown_notice(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "kind": notice.kind,
        "event_type": notice.event_type,
        "subject": notice.subject,
        "url": notice.url,
        "state": notice.state,
        "tries": notice.tries,
        "attempts": [shown_attempt(attempt) for attempt in notice.attempts],
    }


def shown_attempt(attempt: Attempt) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(attempt)
    return fields | {"at": utc_text(attempt.at_s)}


HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/sim/pay/pay", Pay),
    (r"/sim/pay/fail", Fail),
    (r"/sim/pay/cancel", Cancel),
    (r"/sim/pay/box", PayBox),
    (r"/sim/pay/scan", Scan),
    (r"/sim/pay/refunds", RefundResults),
    (r"/sim/pay/faults", Faults),
    (r"/sim/pay/settings", SettingsHandler),
    (r"/sim/pay/notices", Notices),
    (r"/sim/pay/notify/again", NotifyAgain),
    (r"/sim/pay/notify/block", Block),
    (r"/sim/pay/score/confirm", ConfirmScore),
    (r"/sim/pay/score/refuse", RefuseScore),
    (r"/sim/pay/score/permit", PermitScore),
    (r"/sim/pay/score/deduct", Deduct),
    (r"/sim/pay/score/people", Fitness),
    (r"/sim/pay/certificate", Certificate),
    (r"/sim/pay/idle", Idle),
    (r"/sim/pay/ledger", Books),
    (r"/sim/pay/introduction", Introduction),
    (r"/sim/pay/state", MoneyState),
]
