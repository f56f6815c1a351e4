"""Payscore: use first, pay later. Create, confirm, complete; WeChat deducts by itself.

`complete` is the call about money, one for each order. Every call may be repeated with the same
data; what the front end returns is no proof of anything: query, or wait for the callback.

Sources: doc 4012587900, 4012587902, 4012587955, 4012587957; the API description of /v3/payscore.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from payments.gateway import Reaction, Refused, Unknown
from payments.wechat.errors import BadContent
from payments.wechat.errors_v3 import CANCELLED_ALREADY, NOT_CONFIRMED, NOT_THERE, RefusedV3
from payments.wechat.facts import compact
from payments.wechat.payscore_model import OrderMessage, ServiceOrder, order_within
from payments.wechat.secrets import ApiV2Key
from payments.wechat.signing import SignType, signed
from payments.wechat.v2 import random_nonce
from payments.wechat.v3 import WeChatPayV3
from sql.types import Millis

_ORDERS: Final = "/v3/payscore/serviceorder"
_PERMISSIONS: Final = "/v3/payscore/permissions"
# WeChat refuses a service that ends after the call that says so; the clocks may differ a little.
CLOCK_MARGIN_MS: Final = 5_000

_OUT_ORDER_NO = re.compile(r"[0-9A-Za-z_\-|*]{1,32}")


class RiskFundName(StrEnum):
    """What the limit is called: a deposit that is waived, or an estimate of the fee."""

    DEPOSIT = "DEPOSIT"
    ADVANCE = "ADVANCE"
    CASH_DEPOSIT = "CASH_DEPOSIT"
    ESTIMATE_ORDER_COST = "ESTIMATE_ORDER_COST"


class RiskFund(msgspec.Struct, frozen=True, kw_only=True):
    """amount_fen: at most what the service allows, and the most that may be asked for later."""

    name: RiskFundName
    amount_fen: int
    description: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A fee, or a discount. count: 1 to 100, 0 to leave it out."""

    name: str
    amount_fen: int
    description: str = ""
    count: int = 0


class NewService(msgspec.Struct, frozen=True, kw_only=True):
    """starts_at: None starts when the user confirms. openid: must be given to need no confirming.

    notify_url, "" for the service's own. fees: what is foreseen. device_id: of a machine nobody
    attends.
    """

    out_order_no: str
    introduction: str
    risk_fund: RiskFund
    starts_at: Millis | None = None
    openid: str = ""
    needs_confirming: bool = True
    fees: Sequence[Item] = ()
    discounts: Sequence[Item] = ()
    location: str = ""
    device_id: str = ""
    attach: str = ""


class Cancelled(StrEnum):
    """LEFT_TO_EXPIRE: WeChat keeps an unconfirmed order; it ends by itself, without money."""

    NOW = "now"
    BEFORE = "before"
    LEFT_TO_EXPIRE = "left_to_expire"


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the user lets us open services without confirming each."""

    is_granted: bool
    openid: str = ""
    authorization_code: str = ""


class _PermissionAnswer(msgspec.Struct):
    authorization_state: str
    openid: str = ""
    authorization_code: str = ""


class _PermissionToken(msgspec.Struct):
    apply_permissions_token: str


class PayscoreService(msgspec.Struct, frozen=True, kw_only=True):
    """The service as it was granted. appid: the same one in all calls of an order.

    view_key: signs what opens WeChat's own pages (the key of version 2, by WeChat's choice).
    """

    service_id: str
    appid: str
    notify_url: str
    view_key: ApiV2Key


class Payscore:
    """One service of Payscore."""

    def __init__(
        self,
        client: WeChatPayV3,
        service: PayscoreService,
        *,
        now: Callable[[], Millis],
        nonce: Callable[[], str] = random_nonce,
    ) -> None:
        self._client = client
        self._service = service
        self._now = now
        self._nonce = nonce
        self._ours = {"appid": service.appid, "service_id": service.service_id}

    # ---------------------------------------------------------------- an order's life

    async def create(self, new: NewService) -> ServiceOrder:
        """Its package is confirmed with `confirm_view`. Raises NumberUsed, Refused, Unknown.

        Refused with TELL_USER: WeChat does not trust this user now; a deposit is what is left.
        """
        return await self._order("create", "POST", _ORDERS, new.out_order_no, self._body(new))

    async def query(self, out_order_no: str) -> ServiceOrder | None:
        """None: WeChat does not know it; `create` may be repeated. Raises Refused, Unknown."""
        query = urlencode({**self._ours, "out_order_no": out_order_no})
        try:
            return await self._order("query", "GET", f"{_ORDERS}?{query}", out_order_no, None)
        except RefusedV3 as error:
            if error.number == NOT_THERE or error.err_code in {
                "RESOURCE_NOT_EXISTS",
                "ORDER_NOT_EXIST",
            }:
                return None
            raise

    async def complete(
        self,
        out_order_no: str,
        *,
        fees: Sequence[Item],
        discounts: Sequence[Item] = (),
        started_at: Millis | None = None,
        ended_at: Millis,
    ) -> ServiceOrder:
        """Ask for the fee, which may be 0: then the order is done. Repeat with the same data.

        started_at: where known, so that a short service does not end before its start.
        Raises WrongState, NumberUsed (asked for another fee before), Refused, Unknown.
        """
        ended_at -= CLOCK_MARGIN_MS
        if started_at is not None:
            ended_at = max(ended_at, started_at + 1_000)
        body = self._fee(fees, discounts) | {"time_range": {"end_time": compact(ended_at)}}
        return await self._order(
            "complete", "POST", _path(out_order_no, "complete"), out_order_no, body
        )

    async def modify(
        self,
        out_order_no: str,
        *,
        fees: Sequence[Item],
        discounts: Sequence[Item] = (),
        reason: str,
    ) -> ServiceOrder:
        """Ask for less than before, down to 0, while the fee is not paid.

        Raises WrongState, Refused, Unknown.
        """
        _see(0 < len(reason) <= 50, "a reason of 1 to 50 characters")
        body = self._fee(fees, discounts) | {"reason": reason}
        return await self._order(
            "modify", "POST", _path(out_order_no, "modify"), out_order_no, body
        )

    async def sync_paid(self, out_order_no: str, *, paid_at: Millis) -> ServiceOrder:
        """The user has paid the fee otherwise: WeChat stops deducting.

        Raises WrongState, Refused (WAIT while a deduction is under way), Unknown.
        """
        body = self._ours | {"type": "Order_Paid", "detail": {"paid_time": compact(paid_at)}}
        return await self._order("sync", "POST", _path(out_order_no, "sync"), out_order_no, body)

    async def cancel(self, out_order_no: str, *, reason: str) -> Cancelled:
        """Repeat with the same reason. Raises WrongState (a fee was asked for), Refused, Unknown.

        What was reserved for the user may be let go whichever way this ends.
        """
        _see(0 < len(reason) <= 30, "a reason of 1 to 30 characters")
        body = self._ours | {"reason": reason}
        try:
            await self._client.tell("cancel", _path(out_order_no, "cancel"), body)
        except RefusedV3 as error:
            if error.number == CANCELLED_ALREADY:
                return Cancelled.BEFORE
            if error.number == NOT_CONFIRMED:
                return Cancelled.LEFT_TO_EXPIRE
            raise
        return Cancelled.NOW

    # ---------------------------------------------------------------- permissions

    async def authorize(self, authorization_code: str) -> str:
        """The token for `permission_view`. authorization_code: a number of ours, unique.

        Raises Refused, Unknown.
        """
        body = self._ours | {
            "authorization_code": authorization_code,
            "notify_url": self._service.notify_url,
        }
        answer = await self._client.call(
            "permissions", "POST", _PERMISSIONS, _PermissionToken, body=body
        )
        return answer.apply_permissions_token

    async def permission(self, *, authorization_code: str = "", openid: str = "") -> Permission:
        """By one of the two; not granted where WeChat knows of none. Raises Refused, Unknown."""
        path = _permission_path(authorization_code, openid)
        # By code the service is enough; by openid the app belongs to it.
        query = {"service_id": self._service.service_id} if authorization_code else self._ours
        try:
            answer = await self._client.call(
                "permissions", "GET", f"{path}?{urlencode(query)}", _PermissionAnswer
            )
        except RefusedV3 as error:
            if error.err_code == "RESOURCE_NOT_EXISTS":
                return Permission(is_granted=False)
            raise
        return Permission(
            is_granted=answer.authorization_state == "AVAILABLE",
            openid=answer.openid,
            authorization_code=answer.authorization_code,
        )

    async def revoke_permission(
        self, *, authorization_code: str = "", openid: str = "", reason: str
    ) -> None:
        """By one of the two. Raises Refused, Unknown."""
        path = _permission_path(authorization_code, openid)
        body = {"service_id": self._service.service_id, "reason": reason}
        if openid:
            body["appid"] = self._service.appid
        await self._client.tell("permissions", f"{path}/terminate", body)

    # ---------------------------------------------------------------- WeChat's own pages

    def confirm_view(self, package: str) -> dict[str, Any]:
        """The arguments of `wx.openBusinessView` with which the user confirms an order."""
        return self._view("wxpayScoreUse", {"package": package})

    def detail_view(self, out_order_no: str) -> dict[str, Any]:
        """The arguments of `wx.openBusinessView` that show the user an order."""
        number = {"service_id": self._service.service_id, "out_order_no": out_order_no}
        return self._view("wxpayScoreDetail", number)

    def permission_view(self, token: str) -> dict[str, Any]:
        """The arguments of `wx.openBusinessView` with which the user grants a permission."""
        return {
            "businessType": "wxpayScoreEnable",
            "extraData": {"apply_permissions_token": token},
        }

    def _view(self, business_type: str, fields: Mapping[str, str]) -> dict[str, Any]:
        data = {
            "mch_id": self._client.mch_id,
            **fields,
            "timestamp": str(self._now() // 1000),
            "nonce_str": self._nonce(),
            "sign_type": "HMAC-SHA256",
        }
        return {
            "businessType": business_type,
            "extraData": signed(data, self._service.view_key, SignType.HMAC_SHA256),
        }

    # ---------------------------------------------------------------- bodies and answers

    async def _order(
        self,
        call: str,
        method: str,
        target: str,
        out_order_no: str,
        body: dict[str, Any] | None,
    ) -> ServiceOrder:
        _see_number(out_order_no)
        answer = await self._client.call(
            f"payscore {call}", method, target, OrderMessage, body=body
        )
        try:
            order = order_within(answer)
        except BadContent as error:
            raise Unknown(f"payscore {call}: {error}") from None
        if (order.out_order_no, order.mch_id) != (out_order_no, self._client.mch_id):
            raise Unknown(f"payscore {call}: the answer is about another order")
        return order

    def _body(self, new: NewService) -> dict[str, Any]:
        _see_complete(new)
        start = "OnAccept" if new.starts_at is None else compact(new.starts_at)
        body: dict[str, Any] = self._ours | {
            "out_order_no": new.out_order_no,
            "service_introduction": new.introduction,
            "time_range": {"start_time": start},
            "risk_fund": _given(
                name=str(new.risk_fund.name),
                amount=new.risk_fund.amount_fen,
                description=new.risk_fund.description,
            ),
            "notify_url": self._service.notify_url,
            "need_user_confirm": new.needs_confirming,
        }
        body |= _given(
            openid=new.openid,
            attach=new.attach,
            post_payments=[_item(item) for item in new.fees],
            post_discounts=[_item(item) for item in new.discounts],
            location=_given(start_location=new.location),
            device=_given(start_device_id=new.device_id),
        )
        return body

    def _fee(self, fees: Sequence[Item], discounts: Sequence[Item]) -> dict[str, Any]:
        _see_items(fees, discounts)
        total = sum(item.amount_fen for item in fees) - sum(d.amount_fen for d in discounts)
        _see(len(fees) > 0 and total >= 0, "fees, and no more discount than fees")
        return self._ours | {
            "post_payments": [_item(item) for item in fees],
            **_given(post_discounts=[_item(item) for item in discounts]),
            "total_amount": total,
        }


def _given(**fields: Any) -> dict[str, Any]:
    """Without what is empty; an amount of 0 is not."""
    return {name: value for name, value in fields.items() if value or value == 0}


def _item(item: Item) -> dict[str, Any]:
    fields = _given(name=item.name, amount=item.amount_fen, description=item.description)
    return fields | ({"count": item.count} if item.count else {})


def _path(out_order_no: str, act: str) -> str:
    return f"{_ORDERS}/{quote(out_order_no, safe='')}/{act}"


def _permission_path(authorization_code: str, openid: str) -> str:
    _see(bool(authorization_code) != bool(openid), "an authorization_code or an openid")
    by = "authorization-code" if authorization_code else "openid"
    return f"{_PERMISSIONS}/{by}/{quote(authorization_code or openid, safe='')}"


def _see_complete(new: NewService) -> None:
    _see(0 < len(new.introduction) <= 20, "an introduction of 1 to 20 characters")
    _see(new.risk_fund.amount_fen > 0, "a limit above 0")
    _see(len(new.risk_fund.description) <= 30, "a limit described in 30 characters")
    _see(len(new.attach) <= 256, "an attach of at most 256 characters")
    _see(new.needs_confirming or bool(new.openid), "an openid where nothing is confirmed")
    _see_items(new.fees, new.discounts)


def _see_items(fees: Sequence[Item], discounts: Sequence[Item]) -> None:
    _see(len(fees) <= 100 and len(discounts) <= 30, "at most 100 fees and 30 discounts")
    for item in [*fees, *discounts]:
        _see(0 < len(item.name) <= 20, "a name of 1 to 20 characters")
        _see(len(item.description) <= 30, "an item described in 30 characters")
        _see(item.amount_fen >= 0 and 0 <= item.count <= 100, "an amount and count that can be")


def _see_number(out_order_no: str) -> None:
    _see(bool(_OUT_ORDER_NO.fullmatch(out_order_no)), "an out_order_no of WeChat's letters")


def _see(holds: bool, what: str) -> None:
    """Raises Refused for what no WeChat would take: the mistake is ours."""
    if not holds:
        raise Refused("PARAM_ERROR", f"Payscore asks for {what}", Reaction.BUG)
