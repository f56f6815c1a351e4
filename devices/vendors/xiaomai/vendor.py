"""Xiaomai behind the port."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from devices.vendors.port import (
    Answer,
    BadCallback,
    Bound,
    CanOpen,
    Caps,
    DeviceFact,
    Event,
    Good,
    GoodResult,
    Item,
    OpenAck,
    OpenCommand,
    OrderFact,
    OrderPage,
    OrderResult,
    Outcome,
    Purpose,
    Reason,
    SessionFact,
    Slot,
    VendorRefused,
    VendorUnknown,
    Verified,
    VideoSlice,
)
from devices.vendors.xiaomai import callbacks
from devices.vendors.xiaomai import messages as wire
from devices.vendors.xiaomai.codes import VERSION_CONFLICT
from devices.vendors.xiaomai.http import Http, Refused, Unclear
from devices.vendors.xiaomai.signing import Key
from sql.types import Millis

STATUS_MAX: Final = 100
GOODS_MAX: Final = 100
ORDERS_MAX: Final = 200

PARAMS: Final = frozenset({"target_temp_c10", "volume", "light", "compressor"})


def _nonce() -> str:
    return secrets.token_hex(16)


class Xiaomai:
    """The platform at url; a `CabinetVendor`.

    endpoints: the secrets of the callbacks' endpoints, by endpoint id; see `Callbacks`.
    """

    code = "xiaomai"
    caps = Caps(
        signed=True,
        order_query=True,
        order_list=True,
        session_query=True,
        can_open=True,
        lock_sensor=True,
        door_sensor=True,
        multi_door=True,
        restock_mode=True,
        video_push=True,
        video_reupload=True,
        pushes_abnormal=True,
        wants_confirm=True,
        params=PARAMS,
        price_push=True,
    )

    def __init__(
        self,
        url: str,
        key: Key,
        *,
        endpoints: Mapping[str, Sequence[str]],
        now: Callable[[], Millis],
        nonce: Callable[[], str] = _nonce,
        timeout_s: float = 5.0,
    ) -> None:
        self._http = Http(url, key, now=now, nonce=nonce, timeout_s=timeout_s)
        self._now = now
        self._callbacks = callbacks.Callbacks(key.app_id, endpoints)

    async def close(self) -> None:
        await self._http.close()

    # ------------------------------------------------------------ devices

    async def bind(
        self,
        device_code: str,
        *,
        store_code: str,
        name: str,
        doors: Mapping[int, str],
        contact_phone: str,
    ) -> Bound:
        body = {
            "device_code": device_code,
            "store_code": store_code,
            "name": name,
            "doors": [{"door_no": number, "qr_token": text} for number, text in doors.items()],
            "contact_phone": contact_phone,
        }
        return (await self._http.ask("/device/bind", body, wire.WireBound)).bound()

    async def unbind(self, device_code: str, *, reason: str) -> None:
        await self._tell("/device/unbind", {"device_code": device_code, "reason": reason})

    async def status(self, device_codes: Sequence[str]) -> list[DeviceFact]:
        found: list[DeviceFact] = []
        for start in range(0, len(device_codes), STATUS_MAX):
            body = {"device_codes": list(device_codes[start : start + STATUS_MAX])}
            try:
                said = await self._http.ask("/device/status", body, list[wire.WireDevice])
            except VendorRefused as refused:
                # It knows none of these; of several it leaves those out that it does not know.
                if refused.reason not in _NOT_THERE:
                    raise
                continue
            found += [one.fact() for one in said]
        return found

    async def put_params(
        self, device_code: str, *, desired: Mapping[str, int], version: int
    ) -> None:
        known = {name: value for name, value in desired.items() if name in PARAMS}
        body = {"device_code": device_code, "desired_version": version, **known}
        await self._tell("/device/params", body)

    async def reboot(self, device_code: str, *, reason: str) -> None:
        await self._tell("/device/reboot", {"device_code": device_code, "reason": reason})

    # ------------------------------------------------------------ doors

    async def can_open(self, device_code: str, door_no: int, purpose: Purpose) -> CanOpen:
        body = {"device_code": device_code, "door_no": door_no, "purpose": purpose}
        return (await self._http.ask("/door/can-open", body, wire.WireCanOpen)).answer()

    async def open_door(self, command: OpenCommand) -> OpenAck:
        if command.expires_at <= self._now():
            return OpenAck(outcome=Outcome.NOT_EXECUTED, reason=Reason.EXPIRED)
        try:
            opened = await self._http.ask(
                "/door/open", msgspec.structs.asdict(command), wire.WireOpened
            )
        except VendorRefused as refused:
            return OpenAck(outcome=Outcome.NOT_EXECUTED, reason=refused.reason)
        except Unclear as unclear:
            return OpenAck(outcome=Outcome.UNKNOWN, reason=unclear.reason)
        except VendorUnknown:
            return OpenAck(outcome=Outcome.UNKNOWN, reason=Reason.NO_ANSWER)
        return OpenAck(
            outcome=Outcome.EXECUTED if opened.accepted else Outcome.NOT_EXECUTED,
            reason=Reason.NONE if opened.accepted else Reason.OTHER,
            vendor_order_no=opened.wheat_order_no or "",
            ack_deadline=opened.device_ack_deadline,
        )

    async def cancel_open(self, request_id: str) -> bool:
        said = await self._http.ask("/door/cancel", {"request_id": request_id}, wire.WireCancelled)
        return said.result == "cancelled"

    async def query_session(self, request_id: str) -> SessionFact:
        try:
            said = await self._http.ask("/door/query", {"request_id": request_id}, wire.WireSession)
        except Unclear as unclear:
            state = _UNCLEAR.get(unclear.reason)
            if state is None:
                raise
            return msgspec.structs.replace(state, reason=unclear.reason)
        except VendorRefused as refused:
            if refused.reason not in _FAILED:
                raise
            return SessionFact(outcome=Outcome.NOT_EXECUTED, state="failed", reason=refused.reason)
        return said.fact()

    # ------------------------------------------------------------ orders

    async def query_order(
        self, *, vendor_order_no: str = "", session_no: str = ""
    ) -> OrderFact | None:
        body = (
            {"wheat_order_no": vendor_order_no} if vendor_order_no else {"session_no": session_no}
        )
        try:
            found = await self._http.ask("/order/query", body, wire.WireOrder)
            # As in a callback: with such a number it is kept for a person, and is no order.
            return found.fact() if found.is_ours else None
        except VendorRefused as refused:
            if refused.reason is Reason.ORDER_UNKNOWN:
                return None
            raise

    async def list_orders(self, since: Millis, until: Millis, cursor: str = "") -> OrderPage:
        body = {
            "from": since,
            "to": until,
            "by": "updated_at",
            "cursor": cursor,
            "limit": ORDERS_MAX,
        }
        said = await self._http.ask("/order/list", body, wire.WireOrders)
        facts = tuple(one.fact() for one in said.orders if one.is_ours)
        return OrderPage(facts, said.next_cursor or "")

    async def confirm_order(self, result: OrderResult) -> None:
        body = {
            "wheat_order_no": result.vendor_order_no,
            "rev": result.rev,
            "result": result.result,
            "due_fen": result.due_fen,
            "net_paid_fen": result.net_paid_fen,
            "items": [_line(item) for item in result.items],
            "order_no": result.order_no,
            "at": result.at,
        }
        await self._tell("/order/confirm", body)

    async def request_video(self, vendor_order_no: str, cameras: Sequence[int] = ()) -> None:
        body = {"wheat_order_no": vendor_order_no, "camera_nos": list(cameras)}
        await self._tell("/order/video/reupload", body)

    async def video_urls(self, vendor_order_no: str) -> list[VideoSlice]:
        body = {"wheat_order_no": vendor_order_no, "camera_nos": []}
        said = await self._http.ask("/order/video/url", body, list[wire.WireSlice])
        return [one.video() for one in said]

    # ------------------------------------------------------------ goods

    async def put_goods(self, goods: Sequence[Good]) -> list[GoodResult]:
        assert len(goods) <= GOODS_MAX
        body = {"goods": [msgspec.structs.asdict(good) for good in goods]}
        said = await self._http.ask("/goods/upsert", body, wire.WireGoodResults)
        return [one.result() for one in said.results]

    async def put_planogram(
        self, device_code: str, *, version: int, base_version: int, slots: Sequence[Slot]
    ) -> None:
        body = {
            "device_code": device_code,
            "version": version,
            "base_version": base_version,
            "slots": [msgspec.structs.asdict(slot) for slot in slots],
        }
        try:
            await self._tell("/planogram/put", body)
        except Refused as refused:
            if refused.number != VERSION_CONFLICT:
                raise
            current = _version_in(refused.data)
            raise VendorRefused(Reason.VERSION_CONFLICT, VERSION_CONFLICT, current) from None

    async def _tell(self, path: str, body: dict[str, Any]) -> None:
        """For calls of whose answer only the code counts."""
        await self._http.ask(path, body, msgspec.Raw)

    # ------------------------------------------------------------ callbacks

    def verify(
        self,
        *,
        endpoint_id: str,
        headers: Mapping[str, str],
        path: str,
        query: str,
        raw: bytes,
        now: Millis,
        address: str,
    ) -> Verified:
        del address  # The signature says who it is.
        return self._callbacks.verify(
            endpoint_id=endpoint_id, headers=headers, path=path, query=query, raw=raw, now=now
        )

    def parse(self, raw: bytes) -> Event:
        return callbacks.parse(raw)

    def acknowledge(self, event_id: str) -> Answer:
        return callbacks.acknowledge(event_id)

    def refuse(self, refusal: BadCallback, *, now: Millis) -> Answer:
        return callbacks.refuse(refusal, now=now)

    def overloaded(self, *, retry_after_s: int) -> Answer:
        return callbacks.overloaded(retry_after_s=retry_after_s)


# What the platform says of a session by refusing to tell of it.
_UNCLEAR: Final = {
    Reason.PENDING: SessionFact(outcome=Outcome.UNKNOWN, state="pending"),
    Reason.NO_ANSWER: SessionFact(outcome=Outcome.UNKNOWN, state="unknown"),
    Reason.NO_RESULT: SessionFact(outcome=Outcome.UNKNOWN, state="unknown"),
    Reason.SESSION_UNKNOWN: SessionFact(outcome=Outcome.UNKNOWN, state="unknown"),
}
_NOT_THERE: Final = frozenset({Reason.DEVICE_UNKNOWN, Reason.DEVICE_NOT_BOUND})
_FAILED: Final = frozenset({Reason.NOT_PULLED, Reason.LOCK_FAILED})


def _line(item: Item) -> dict[str, Any]:
    return {
        "sku": item.sku,
        "qty": item.quantity,
        "price_fen": item.price_fen,
        "barcode": item.barcode,
        "name": item.name,
    }


def _version_in(data: bytes) -> str:
    try:
        return str(msgspec.json.decode(data, type=wire.WireVersion).version)
    except msgspec.DecodeError:
        return ""
