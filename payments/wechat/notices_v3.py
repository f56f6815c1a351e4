"""What WeChat tells us unasked in version 3: Payscore's events and ends of refunds.

Order of work: verify the raw bytes, parse, decrypt, compare mchid and appid, then believe. The
reader raises only BadSignature (Probe, Stale, UnknownKey) and BadContent. The status of our answer
decides: ACK_STATUS with no body, or 4xx/5xx with `nack`, and it comes again.

Sources: doc 4012071382 (callbacks), 4012587953 and 4012587960 (Payscore), 4012587976 (refunds).
"""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from payments.gateway import Refunded
from payments.wechat.errors import BadContent
from payments.wechat.facts_v3 import Amounts, refund_state, rfc3339_millis
from payments.wechat.keys import KeyRing
from payments.wechat.payscore_model import OrderMessage, ServiceOrder, order_within
from payments.wechat.secrets import ApiV3Key
from payments.wechat.signing_v3 import Probe, unseal
from sql.types import Millis

ACK_STATUS: Final = 204
NOTICE_MAX_BYTES: Final = 64 << 10

T = TypeVar("T")


class ServiceChanged(msgspec.Struct, frozen=True):
    """The user has confirmed an order, or (more than once, while it goes on) paid for it.

    Order of arrival is not promised: go by the order's phase, never by the event.
    """

    order: ServiceOrder


class PermissionChanged(msgspec.Struct, frozen=True, kw_only=True):
    is_granted: bool
    openid: str
    appid: str
    service_id: str
    authorization_code: str


class RefundChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Signed, so it may be booked without asking back."""

    refund: Refunded
    out_trade_no: str
    transaction_id: str
    total_fen: int


class Echoed(msgspec.Struct, frozen=True):
    """The test of `WeChatPayV3.echo` has come through."""


class Other(msgspec.Struct, frozen=True):
    """Nothing that is of use here; to be stored and acknowledged."""


Event = ServiceChanged | PermissionChanged | RefundChanged | Echoed | Other


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """id: of this notification, the same when it is sent again.

    key: of what it tells, the same when another notification tells the same.
    """

    id: str
    event_type: str
    created_at: Millis
    event: Event
    key: str


class _Resource(msgspec.Struct):
    ciphertext: str
    nonce: str
    algorithm: str = ""
    associated_data: str = ""


class _Envelope(msgspec.Struct):
    id: str
    create_time: str
    event_type: str
    resource: _Resource


class _RefundMessage(msgspec.Struct):
    mchid: str
    out_refund_no: str
    refund_id: str
    refund_status: str
    amount: Amounts
    out_trade_no: str = ""
    transaction_id: str = ""
    success_time: str = ""


class _PermissionMessage(msgspec.Struct):
    mchid: str
    appid: str
    service_id: str
    openid: str = ""
    authorization_code: str = ""


class _Bare(msgspec.Struct):
    """Any object at all."""


class NoticeReader:
    """probes: how many wrong signatures WeChat has sent to try us."""

    def __init__(
        self, keys: KeyRing, api_v3_key: ApiV3Key, *, mch_id: str, appids: frozenset[str]
    ) -> None:
        self.probes = 0
        self._keys = keys
        self._api_v3_key = api_v3_key
        self._mch_id = mch_id
        self._appids = appids

    async def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """body: the raw bytes. Raises BadSignature (Probe: say nothing of it), BadContent.

        A key that is not known is asked for first, so this may take as long as a call.
        """
        if len(body) > NOTICE_MAX_BYTES:
            raise BadContent(f"longer than {NOTICE_MAX_BYTES} bytes")
        try:
            await self._keys.verify(headers, body)
        except Probe:
            self.probes += 1
            raise
        envelope = _decoded(body, _Envelope)
        event, key = self._event(envelope.event_type, self._opened(envelope.resource))
        return Notice(
            id=envelope.id,
            event_type=envelope.event_type,
            created_at=rfc3339_millis(envelope.create_time),
            event=event,
            key=key or envelope.id,
        )

    def _opened(self, resource: _Resource) -> bytes:
        if resource.algorithm != "AEAD_AES_256_GCM":
            raise BadContent("an algorithm that is not known")
        return unseal(
            self._api_v3_key,
            ciphertext=resource.ciphertext,
            nonce=resource.nonce,
            associated_data=resource.associated_data,
        )

    def _event(self, event_type: str, content: bytes) -> tuple[Event, str]:
        family, _, what = event_type.partition(".")
        if event_type in {"PAYSCORE.USER_CONFIRM", "PAYSCORE.USER_PAID"}:
            return self._service(event_type, _decoded(content, OrderMessage))
        if event_type in {"PAYSCORE.USER_OPEN_SERVICE", "PAYSCORE.USER_CLOSE_SERVICE"}:
            return self._permission(what, _decoded(content, _PermissionMessage)), ""
        if family == "REFUND":
            return self._refund(event_type, _decoded(content, _RefundMessage))
        _decoded(content, _Bare)
        return (Echoed() if family == "SECURITY_ECHO" else Other()), ""

    def _service(self, event_type: str, message: OrderMessage) -> tuple[Event, str]:
        self._see_ours(message.mchid, message.appid)
        order = order_within(message)
        # While a fee is being collected USER_PAID may come with each step: the phase and what is
        # paid tell one step from another.
        key = f"{event_type}:{order.out_order_no}:{order.phase}:{order.paid_fen}"
        return ServiceChanged(order), key

    def _permission(self, what: str, message: _PermissionMessage) -> Event:
        self._see_ours(message.mchid, message.appid)
        return PermissionChanged(
            is_granted=what == "USER_OPEN_SERVICE",
            openid=message.openid,
            appid=message.appid,
            service_id=message.service_id,
            authorization_code=message.authorization_code,
        )

    def _refund(self, event_type: str, message: _RefundMessage) -> tuple[Event, str]:
        if message.mchid != self._mch_id:
            raise BadContent("the mchid is not ours")
        refund = Refunded(
            out_refund_no=message.out_refund_no,
            refund_id=message.refund_id,
            state=refund_state(message.refund_status),
            refund_fen=message.amount.refund,
            refunded_at=rfc3339_millis(message.success_time) if message.success_time else None,
        )
        event = RefundChanged(
            refund=refund,
            out_trade_no=message.out_trade_no,
            transaction_id=message.transaction_id,
            total_fen=message.amount.total,
        )
        return event, f"{event_type}:{message.out_refund_no}"

    def _see_ours(self, mch_id: str, appid: str) -> None:
        if mch_id != self._mch_id or appid not in self._appids:
            raise BadContent("the mchid or appid is not ours")


def nack(reason: str) -> bytes:
    """Ask for the notification to come again. reason: for WeChat's logs."""
    return msgspec.json.encode({"code": "FAIL", "message": reason[:64]})


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError):
        raise BadContent("not the JSON that such a message has") from None
