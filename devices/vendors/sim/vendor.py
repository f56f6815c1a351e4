"""The sim vendor behind the port."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn
from urllib.parse import quote

import msgspec

from devices.vendors.link import Answered, Link
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
from devices.vendors.sim import callbacks
from devices.vendors.sim.messages import REASONS, STEPS, Said, millis, text, yuan
from sql.types import Millis

_PAGE: Final = 100


class Sim:
    """A `CabinetVendor`. secrets: any of them in a callback's path is good; addresses: networks
    from which callbacks may come."""

    code = "sim"
    caps = Caps(
        signed=False,
        order_query=True,
        order_list=True,
        session_query=True,
        door_sensor=True,
        multi_door=True,
        params=frozenset({"target_temp_c10", "volume"}),
    )

    def __init__(
        self,
        url: str,
        token: str,
        *,
        secrets: Sequence[str],
        addresses: Sequence[str],
        now: Callable[[], Millis],
        timeout_s: float = 5.0,
    ) -> None:
        self._link = Link(url, timeout_s=timeout_s)
        self._token = token
        self._callers = callbacks.Callers(secrets, addresses)
        self._now = now

    async def close(self) -> None:
        await self._link.close()

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
            "shop": store_code,
            "label": name,
            "hotline": contact_phone,
            "codes": {str(number): text for number, text in doors.items()},
        }
        said = await self._ask("PUT", _cabinet(device_code), body)
        since = millis(said.alive_since)
        return Bound(since or self._now(), tuple(range(1, said.doors + 1)), firmware=said.build)

    async def unbind(self, device_code: str, *, reason: str) -> None:
        await self._ask("DELETE", _cabinet(device_code), {"because": reason})

    async def status(self, device_codes: Sequence[str]) -> list[DeviceFact]:
        found: list[DeviceFact] = []
        for start in range(0, len(device_codes), _PAGE):
            codes = ",".join(device_codes[start : start + _PAGE])
            said = await self._ask("GET", "/cabinets", query={"codes": codes})
            found += [one.fact() for one in said.cabinets]
        return found

    async def put_params(
        self, device_code: str, *, desired: Mapping[str, int], version: int
    ) -> None:
        body: dict[str, Any] = {"number": version}
        if "target_temp_c10" in desired:
            body["wantedCelsius"] = desired["target_temp_c10"] / 10
        if "volume" in desired:
            body["volume"] = desired["volume"]
        await self._ask("PATCH", _cabinet(device_code), body)

    async def reboot(self, device_code: str, *, reason: str) -> None:
        await self._ask("POST", f"{_cabinet(device_code)}/restart", {"because": reason})

    # ------------------------------------------------------------ doors

    async def can_open(self, device_code: str, door_no: int, purpose: Purpose) -> CanOpen:
        _not_offered("can_open")

    async def open_door(self, command: OpenCommand) -> OpenAck:
        if command.expires_at <= self._now():
            return OpenAck(outcome=Outcome.NOT_EXECUTED, reason=Reason.EXPIRED)
        body = {
            "command": command.request_id,
            "visit": command.session_no,
            "for": command.purpose,
            "guest": command.user_ref,
            "pullSeconds": command.pull_ttl_s,
            "openSeconds": command.max_open_s,
            "limit": yuan(command.amount_limit_fen),
            "until": text(command.expires_at),
        }
        path = f"{_cabinet(command.device_code)}/doors/{command.door_no}/open"
        try:
            said = await self._ask("POST", path, body)
        except VendorRefused as refused:
            return OpenAck(outcome=Outcome.NOT_EXECUTED, reason=refused.reason)
        except VendorUnknown:
            return OpenAck(outcome=Outcome.UNKNOWN, reason=Reason.NO_ANSWER)
        return OpenAck(outcome=Outcome.EXECUTED, vendor_order_no=said.bill_no)

    async def cancel_open(self, request_id: str) -> bool:
        return (await self._ask("POST", f"{_command(request_id)}/stop", {})).is_stopped

    async def query_session(self, request_id: str) -> SessionFact:
        said = await self._ask("GET", _command(request_id))
        outcome, state = STEPS.get(said.step, STEPS["none"])
        if said.why:
            reason = REASONS.get(said.why, Reason.OTHER)
        else:
            reason = Reason.SESSION_UNKNOWN if state == "unknown" else Reason.NONE
        return SessionFact(
            outcome=outcome,
            state=state,
            reason=reason,
            opened_at=millis(said.opened),
            closed_at=millis(said.shut),
            vendor_order_no=said.bill_no,
        )

    # ------------------------------------------------------------ orders

    async def query_order(
        self, *, vendor_order_no: str = "", session_no: str = ""
    ) -> OrderFact | None:
        what = {"no": vendor_order_no} if vendor_order_no else {"visit": session_no}
        try:
            said = await self._ask("GET", "/bills", query=what)
        except VendorRefused as refused:
            if refused.reason is Reason.ORDER_UNKNOWN:
                return None
            raise
        return said.bills[0].fact() if said.bills else None

    async def list_orders(self, since: Millis, until: Millis, cursor: str = "") -> OrderPage:
        page = int(cursor or "1")
        query = {"from": text(since), "to": text(until), "page": str(page)}
        said = await self._ask("GET", "/bills", query=query)
        facts = tuple(bill.fact() for bill in said.bills)
        return OrderPage(facts, str(page + 1) if said.has_more else "")

    async def confirm_order(self, result: OrderResult) -> None:
        _not_offered("confirm_order")

    async def request_video(self, vendor_order_no: str, cameras: Sequence[int] = ()) -> None:
        _not_offered("request_video")

    async def video_urls(self, vendor_order_no: str) -> list[VideoSlice]:
        _not_offered("video_urls")

    # ------------------------------------------------------------ goods

    async def put_goods(self, goods: Sequence[Good]) -> list[GoodResult]:
        body = {
            "goods": {
                good.sku: {
                    "ean": good.barcode,
                    "title": good.name,
                    "price": yuan(good.price_fen),
                    "grams": good.weight_g,
                    "pictures": list(good.image_urls),
                    "onSale": good.status == 1,
                }
                for good in goods
            }
        }
        refused = (await self._ask("PATCH", "/goods", body)).refused
        return [
            GoodResult(good.sku, Reason.GOODS_REJECTED, refused[good.sku])
            if good.sku in refused
            else GoodResult(good.sku)
            for good in goods
        ]

    async def put_planogram(
        self, device_code: str, *, version: int, base_version: int, slots: Sequence[Slot]
    ) -> None:
        rows = [
            [slot.door_no, slot.layer, slot.slot, slot.sku, yuan(slot.price_fen), slot.stock,
             slot.capacity, slot.expires_on]
            for slot in slots
        ]  # fmt: skip
        body = {"layout": version, "after": base_version, "slots": rows}
        await self._ask("PUT", f"{_cabinet(device_code)}/layout", body)

    # ------------------------------------------------------------ one request

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Said:
        """Raises VendorUnknown, VendorRefused."""
        content = None if body is None else msgspec.json.encode(body)
        request = self._link.request(method, path, content, query=query)
        request.headers["authorization"] = f"Bearer {self._token}"
        return _judged(path, await self._link.send(request, path))

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
        del headers, path, query, now  # Nothing is signed.
        return self._callers.verify(endpoint_id, raw, address)

    def parse(self, raw: bytes) -> Event:
        return callbacks.parse(raw)

    def acknowledge(self, event_id: str) -> Answer:
        return callbacks.acknowledge(event_id)

    def refuse(self, refusal: BadCallback, *, now: Millis) -> Answer:
        del now
        return callbacks.refuse(refusal)

    def overloaded(self, *, retry_after_s: int) -> Answer:
        return callbacks.overloaded(retry_after_s=retry_after_s)


def _not_offered(call: str) -> NoReturn:
    """`caps` says so; whoever asks all the same is told."""
    raise VendorRefused(Reason.OTHER, detail=f"{call} is not offered")


def _cabinet(code: str) -> str:
    return f"/cabinets/{quote(code, safe='')}"


def _command(request_id: str) -> str:
    return f"/commands/{quote(request_id, safe='')}"


def _judged(path: str, answered: Answered) -> Said:
    if not 200 <= answered.status < 300 and answered.status not in (401, 404, 409):
        raise VendorUnknown(f"{path}: HTTP {answered.status}")
    try:
        said = _said.decode(answered.body)
    except ValueError:
        raise VendorUnknown(f"{path}: HTTP {answered.status}, no answer of its") from None
    if said.error:
        detail = said.error[:200] if said.layout is None else str(said.layout)
        raise VendorRefused(REASONS.get(said.error, Reason.OTHER), detail=detail)
    if answered.status >= 300:
        raise VendorUnknown(f"{path}: HTTP {answered.status} without a reason")
    return said


_said: Final = msgspec.json.Decoder(Said)
