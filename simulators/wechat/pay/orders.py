"""Orders and the money that comes in for them: unifiedorder, orderquery, closeorder, and paying."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from simulators.clock import VirtualClock
from simulators.wechat.logins import Logins
from simulators.wechat.pay import rules, times
from simulators.wechat.pay.errors import Refusal
from simulators.wechat.pay.merchant import APPIDS, MCH_ID, STRANGE_APPID
from simulators.wechat.pay.settings import Settings
from simulators.wechat.pay.signing import SignType

if TYPE_CHECKING:
    from simulators.wechat.pay.refunds import Refund

TradeState = Literal["NOTPAY", "SUCCESS", "REFUND", "CLOSED", "PAYERROR"]
STATE_TEXTS: dict[TradeState, str] = {
    "NOTPAY": "订单未支付",
    "SUCCESS": "支付成功",
    "REFUND": "订单发生过退款，退款详情请查询退款单",
    "CLOSED": "订单已关闭",
    "PAYERROR": "支付失败(其他原因，如银行返回失败)",
}
PREPAY_LIFE_S = 2 * 3600.0
# An order nobody closed and that has no end of its own is closed by the vendor.
ORDER_LIFE_S = 7 * times.DAY_S
EXPIRE_MIN_S = 60.0
CODE_URL = "weixin://wxpay/bizpayurl?pr="


class NotPayable(ValueError):
    """The user's phone says no: closed, too late, paid already."""


class Prepay(msgspec.Struct):
    prepay_id: str
    born_s: float


class Order(msgspec.Struct):
    """`state` is what a query answers; paid_s and transaction_id are set once there is money."""

    out_trade_no: str
    appid: str
    trade_type: str
    total_fee: int
    body: str
    notify_url: str
    sign_type: SignType
    created_s: float
    expires_s: float
    merchant_no: str = ""
    request: dict[str, str] = {}
    attach: str = ""
    device_info: str = ""
    openid: str = ""
    product_id: str = ""
    prepays: list[Prepay] = []
    code_url: str = ""
    state: TradeState = "NOTPAY"
    transaction_id: str = ""
    payer: str = ""
    paid_s: float = 0.0
    coupon_fee: int = 0
    refunds: list[Refund] = []

    @property
    def is_paid(self) -> bool:
        return self.transaction_id != ""

    @property
    def book_no(self) -> str:
        """The number under which the merchant asked for this money."""
        return self.merchant_no or self.out_trade_no

    @property
    def cash_fee(self) -> int:
        return self.total_fee - self.coupon_fee


class Orders:
    """All orders of the merchant, by out_trade_no."""

    def __init__(self, clock: VirtualClock, logins: Logins, settings: Settings) -> None:
        self._clock = clock
        self._logins = logins
        self._settings = settings
        self.all: dict[str, Order] = {}

    def place(self, fields: Mapping[str, str], sign_type: SignType) -> Order:
        """Raises Refusal; the same number with the same data gives a new prepay_id."""
        self._check(fields)
        known = self.all.get(fields["out_trade_no"])
        order = self._again(known, fields) if known else self._new(fields, sign_type)
        order.prepays.append(self._prepay())
        return order

    def find(self, fields: Mapping[str, str]) -> Order:
        """By transaction_id, else by out_trade_no. Raises Refusal."""
        transaction_id, number = fields.get("transaction_id", ""), fields.get("out_trade_no", "")
        if not transaction_id and not number:
            raise Refusal("LACK_PARAMS", "缺少参数out_trade_no")
        order = self.of_transaction(transaction_id) if transaction_id else self.all.get(number)
        if order is None or order.trade_type == "AUTH":
            raise Refusal("ORDERNOTEXIST")
        return self._aged(order)

    def of_transaction(self, transaction_id: str) -> Order | None:
        return next((o for o in self.all.values() if o.transaction_id == transaction_id), None)

    def of_prepay(self, prepay_id: str) -> Order | None:
        return next(
            (o for o in self.all.values() if prepay_id in {p.prepay_id for p in o.prepays}), None
        )

    def of_code_url(self, code_url: str) -> Order | None:
        return next((o for o in self.all.values() if o.code_url and o.code_url == code_url), None)

    def close(self, order: Order) -> None:
        """Raises Refusal ORDERPAID, ORDERCLOSED, or INVALID_REQUEST within five minutes."""
        if order.is_paid:
            raise Refusal("ORDERPAID")
        if order.state == "CLOSED":
            raise Refusal("ORDERCLOSED")
        if self._clock.now_s() - order.created_s < self._settings.close_min_age_s:
            raise Refusal(
                "INVALID_REQUEST", "订单生成后不能马上调用关单接口，最短调用时间间隔为5分钟"
            )
        order.state = "CLOSED"

    def pay(self, order: Order, *, payer: str, coupon_fee: int, even_closed: bool) -> None:
        """The user confirms with the password. Raises NotPayable."""
        self._check_payable(order, even_closed=even_closed)
        if not 0 <= coupon_fee <= order.total_fee:
            raise NotPayable("a coupon cannot be worth more than the order")
        order.state, order.payer, order.coupon_fee = "SUCCESS", payer, coupon_fee
        order.paid_s = self._clock.now_s()
        order.transaction_id = self.transaction_id()

    def add_paid(self, order: Order) -> None:
        """Money that came in without an order of V2: a Payscore deduction."""
        order.paid_s, order.state = self._clock.now_s(), "SUCCESS"
        order.transaction_id = self.transaction_id()
        self.all[order.out_trade_no] = order

    def transaction_id(self) -> str:
        """28 digits, the day in the middle, as the vendor's."""
        day = times.digits(self._clock.now_s())[:8]
        return f"4200005151{day}{secrets.randbelow(10**10):010d}"

    def _check_payable(self, order: Order, *, even_closed: bool) -> None:
        self._aged(order)
        if order.is_paid:
            raise NotPayable("the order is paid already")
        if even_closed:
            return
        if order.state == "CLOSED":
            raise NotPayable("the order is closed")
        if self._clock.now_s() >= order.expires_s:
            raise NotPayable("the order's time_expire has passed")
        if self._clock.now_s() - order.prepays[-1].born_s >= PREPAY_LIFE_S:
            raise NotPayable("the prepay_id is older than two hours")

    def _aged(self, order: Order) -> Order:
        """An order left alone for seven days is closed, paid or not asked."""
        if not order.is_paid and self._clock.now_s() - order.created_s >= ORDER_LIFE_S:
            order.state = "CLOSED"
        return order

    def _again(self, order: Order, fields: Mapping[str, str]) -> Order:
        self._aged(order)
        if order.is_paid:
            raise Refusal("ORDERPAID")
        if order.state == "CLOSED":
            raise Refusal("ORDERCLOSED")
        if order.request != _kept(fields):
            if self._settings.is_used_as_201:
                raise Refusal("INVALID_REQUEST", "201 商户订单号重复")
            raise Refusal("OUT_TRADE_NO_USED")
        return order

    def _new(self, fields: Mapping[str, str], sign_type: SignType) -> Order:
        now_s = self._clock.now_s()
        ends = fields.get("time_expire", "")
        order = Order(
            out_trade_no=fields["out_trade_no"],
            appid=fields["appid"],
            trade_type=fields["trade_type"],
            total_fee=int(fields["total_fee"]),
            body=fields["body"],
            notify_url=fields["notify_url"],
            sign_type=sign_type,
            created_s=now_s,
            expires_s=times.of_digits(ends) if ends else now_s + ORDER_LIFE_S,
            request=_kept(fields),
            attach=fields.get("attach", ""),
            device_info=fields.get("device_info", ""),
            openid=fields.get("openid", ""),
            product_id=fields.get("product_id", ""),
        )
        if order.trade_type == "NATIVE":
            order.code_url = CODE_URL + secrets.token_urlsafe(6)[:7]
        self.all[order.out_trade_no] = order
        return order

    def _prepay(self) -> Prepay:
        now_s = self._clock.now_s()
        return Prepay(f"wx{times.digits(now_s)}{secrets.token_hex(10)}", now_s)

    def _check(self, fields: Mapping[str, str]) -> None:
        needed = ("body", "out_trade_no", "total_fee", "spbill_create_ip", "notify_url")
        rules.check_fields(fields, (*needed, "trade_type"))
        check_appid(fields)
        rules.check_pattern(fields, "out_trade_no", rules.NUMBER)
        rules.amount_of(fields, "total_fee")
        rules.check_ip(fields["spbill_create_ip"])
        rules.check_notify_url(fields["notify_url"])
        if fields.get("fee_type", "CNY") not in ("", "CNY"):
            raise Refusal("PARAM_ERROR", "invalid fee_type")
        self._check_times(fields)
        self._check_trade(fields)

    def _check_times(self, fields: Mapping[str, str]) -> None:
        for name in ("time_start", "time_expire"):
            try:
                at_s = times.of_digits(fields[name]) if fields.get(name) else None
            except ValueError as error:
                raise Refusal("PARAM_ERROR", f"{name}格式错误") from error
            if name == "time_expire" and at_s is not None:
                self._check_end(fields["out_trade_no"], at_s)

    def _check_end(self, out_trade_no: str, at_s: float) -> None:
        """A new order lives a minute at least; one placed again may be in its last seconds."""
        if out_trade_no not in self.all and at_s - self._clock.now_s() < EXPIRE_MIN_S:
            raise Refusal("PARAM_ERROR", "time_expire时间过短，最短失效时间间隔须大于1分钟")

    def _check_trade(self, fields: Mapping[str, str]) -> None:
        trade_type, openid = fields["trade_type"], fields.get("openid", "")
        if trade_type in ("APP", "MWEB"):
            raise Refusal("NOAUTH")
        if trade_type not in ("JSAPI", "NATIVE"):
            raise Refusal("PARAM_ERROR", "invalid trade_type")
        if trade_type == "JSAPI" and not openid:
            raise Refusal("PARAM_ERROR", "JSAPI支付必须传openid")
        if trade_type == "NATIVE" and not fields.get("product_id"):
            raise Refusal("PARAM_ERROR", "NATIVE支付必须传product_id")
        if openid and self._is_of_another_app(fields["appid"], openid):
            raise Refusal("PARAM_ERROR", "appid and openid not match")

    def _is_of_another_app(self, appid: str, openid: str) -> bool:
        """Whoever never signed in may be anybody; whoever did belongs to where they did."""
        apps = [known for known in self._logins.known if self._logins.knows(known, openid)]
        return bool(apps) and appid not in apps


def check_appid(fields: Mapping[str, str]) -> None:
    """Raises Refusal APPID_NOT_EXIST, APPID_MCHID_NOT_MATCH. The merchant was checked before."""
    if fields["appid"] == STRANGE_APPID:
        raise Refusal("APPID_MCHID_NOT_MATCH")
    if fields["appid"] not in APPIDS:
        raise Refusal("APPID_NOT_EXIST")


def common(appid: str) -> dict[str, str]:
    """What every understood V2 answer begins with; the sign comes when the rest is known."""
    return {
        "return_code": "SUCCESS",
        "return_msg": "OK",
        "appid": appid,
        "mch_id": MCH_ID,
        "nonce_str": secrets.token_hex(16),
    }


def paid_fields(order: Order) -> dict[str, str]:
    """What a query and a notification both say of money that came in."""
    fields = {
        "openid": order.payer,
        "is_subscribe": "N",
        "trade_type": order.trade_type,
        "bank_type": "OTHERS",
        "total_fee": str(order.total_fee),
        "fee_type": "CNY",
        "cash_fee": str(order.cash_fee),
        "transaction_id": order.transaction_id,
        "out_trade_no": order.out_trade_no,
        "attach": order.attach,
        "time_end": times.digits(order.paid_s),
    }
    if order.device_info:
        fields["device_info"] = order.device_info
    if order.coupon_fee:
        fields |= {
            "settlement_total_fee": str(order.cash_fee),
            "coupon_fee": str(order.coupon_fee),
            "coupon_count": "1",
            "coupon_type_0": "NO_CASH",
            "coupon_id_0": "5151000001",
            "coupon_fee_0": str(order.coupon_fee),
        }
    return fields


def _kept(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name not in ("nonce_str", "sign")}
